import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:https';
import { createServer } from 'node:net';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import type { ClusterStatus } from '@sallyport/contracts/api/auth-routes.ts';
import { webRoutes } from '@sallyport/contracts/api/web-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import fc from 'fast-check';
import { newTlsAuthority, tlsLeaf } from '../identity.fixture.ts';
import { silentLog } from '../log.fixture.ts';
import { WebCertificate } from '../web-certificate.ts';
import { ClusterSettings } from './cluster-settings.ts';
import { upgradeChannels } from './upgrade-channels.ts';
import { webApi } from './web-api.ts';
import { addressGroup, createWebServer, type WebApp } from './web-server.ts';

const run = promisify(execFile);
const version = '3.4.5';
const status: ClusterStatus = {
  cluster_name: 'test.example',
  version,
  min_client_version: '2.0.0',
  ca_pins: [],
  auth: { type: 'local', second_factor: 'on', webauthn_rp_id: 'proxy.test' },
  session_recording: 'node',
};

/** Auth as this room sees it: it answers, refuses or is away. */
const auth = {
  away: false,
  pings: 0,
  bodies: [] as unknown[],
  ping: async () => {
    auth.pings++;
    if (auth.away) throw new AppError('unavailable', 'api.unreachable', 'Auth cannot be reached.');
    return status;
  },
  mfaChallenge: async (request: { body: unknown }) => {
    auth.bodies.push(request.body);
    return { otp: true };
  },
  passkeyChallenge: async (request: { body: unknown }) => {
    auth.bodies.push(request.body);
    return { webauthn: { challenge: 'x' } };
  },
  logIn: async (request: { body: unknown }): Promise<never> => {
    auth.bodies.push(request.body);
    throw new AppError('denied', 'auth.bad_credentials', 'User, password or second factor is wrong.');
  },
  beginBrowserLogIn: async (request: { body: unknown }) => {
    auth.bodies.push(request.body);
    return { id: 'abc', code: 'ABCD-2345', expires: '2026-03-01T12:05:00.000Z' };
  },
  results: [] as { state: 'waiting' }[],
  browserLogInResult: async () => {
    const next = auth.results.shift();
    return next ?? { state: 'refused' as const, message: 'No role.' };
  },
};

const clock = { ms: Date.parse('2026-03-01T12:00:00Z') };

async function start(limits: { requestsPerMinute?: number; attemptsPerMinute?: number } = {}) {
  const authority = await newTlsAuthority();
  const certificate = await WebCertificate.open(
    [],
    await tlsLeaf(authority, ['localhost', '127.0.0.1']),
    silentLog,
  );
  const settings = new ClusterSettings({
    api: auth,
    proxy: {
      enabled: true,
      webListenAddr: { host: '0.0.0.0', port: 3080 },
      listenAddr: { host: '0.0.0.0', port: 3023 },
      tunnelListenAddr: { host: '0.0.0.0', port: 3024 },
      publicAddrs: ['proxy.example.com:443'],
      httpsKeypairs: [],
      acme: { enabled: false, email: undefined },
      packages: { dir: '/nonexistent', mirror: undefined, keyFile: undefined },
    },
    addresses: () => ({
      web: { host: '0.0.0.0', port: 3080 },
      ssh: { host: '0.0.0.0', port: 3023 },
      tunnel: { host: '0.0.0.0', port: 3024 },
    }),
    version,
    now: () => new Date(clock.ms),
  });
  const broken = (app: WebApp) =>
    app.get('/broken', async () => {
      throw new Error('secret detail');
    });
  const web = await createWebServer({
    certificate,
    strictTransport: false,
    version,
    requestsPerMinute: 600,
    attemptsPerMinute: 30,
    log: silentLog,
    routes: [webApi({ api: auth, settings, version }), upgradeChannels(version), broken],
    ...limits,
  });
  const server = createServer({ allowHalfOpen: true }, (socket) => web.accept(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  after(async () => {
    server.close();
    await web.close();
  });
  const { port } = server.address() as { port: number };
  /** Body, status and headers as curl received them. */
  return async (path: string, ...args: string[]) => {
    const url = `https://127.0.0.1:${port}${path}`;
    const { stdout } = await run('curl', ['-sik', '-w', '\n%{http_code}', ...args, url]);
    const [start, end] = [stdout.indexOf('\r\n\r\n'), stdout.lastIndexOf('\n')];
    const [headers, body] = [stdout.slice(0, start), stdout.slice(start + 4, end)];
    return { headers, body, status: Number(stdout.slice(end + 1)), url };
  };
}
const curl = await start({ attemptsPerMinute: 1_000 });

const json = ['-H', 'content-type: application/json', '--data'];
const message = (body: string): string => JSON.parse(body).error.message;

test('curl and jq learn the version on every documented path', async () => {
  for (const path of ['/webapi/ping', '/v1/webapi/ping', '/webapi/find', '/v1/webapi/find']) {
    const { url } = await curl(path);
    const { stdout } = await run('sh', ['-c', `curl -sk ${url} | jq -r .server_version`]);
    assert.equal(stdout, '3.4.5\n');
  }
});

test('ping and find have the shapes of the contract, with the public address', async () => {
  const ping = webRoutes.ping.result.parse(JSON.parse((await curl('/v1/webapi/ping')).body));
  assert.equal(ping.auth.second_factor, 'on');
  assert.equal(ping.auth.webauthn?.rp_id, 'proxy.test');
  assert.equal(ping.proxy.ssh.public_addr, 'proxy.example.com:443');
  assert.equal(ping.proxy.ssh.ssh_public_addr, 'proxy.example.com:3023');
  const find = webRoutes.find.result.parse(JSON.parse((await curl('/webapi/find')).body));
  assert.equal(find.cluster_name, 'test.example');
});

test('ping names the identity providers, and the one that is used when none is named', async () => {
  const corp = { kind: 'oidc' as const, name: 'corp', display: 'Corporate' };
  const github = { kind: 'github' as const, name: 'github', display: 'GitHub' };
  const before = status.auth;
  Object.assign(status, {
    auth: { ...before, connectors: [corp, github], connector_name: 'corp', local: false },
  });
  clock.ms += 60_000;
  const { auth: told } = webRoutes.ping.result.parse(JSON.parse((await curl('/webapi/ping')).body));
  Object.assign(status, { auth: before });
  clock.ms += 60_000;
  assert.deepEqual(told.oidc, { name: 'corp', display: 'Corporate' });
  assert.deepEqual([told.github, told.local], [undefined, undefined]);
  assert.deepEqual(
    told.connectors?.map(({ name }) => name),
    ['corp', 'github'],
  );
});

test('a poll waits for its browser, and ends with what came of it', async () => {
  auth.results.push({ state: 'waiting' }, { state: 'waiting' });
  const { body } = await curl('/webapi/cli/requests/abc/result', ...json, '{"secret":"x"}');
  assert.deepEqual(JSON.parse(body), { state: 'refused', message: 'No role.' });
});

test('auth is asked once in a while, and its last answer stands while it is away', async () => {
  clock.ms += 60_000;
  const before = auth.pings;
  await Promise.all([curl('/webapi/find'), curl('/webapi/find'), curl('/webapi/find')]);
  assert.equal(auth.pings, before + 1);
  auth.away = true;
  clock.ms += 60_000;
  assert.equal((await curl('/webapi/find')).status, 200);
  assert.equal((await curl('/webapi/find')).status, 200);
  assert.equal(auth.pings, before + 2, 'auth is not asked again with every request');
  auth.away = false;
});

test('a proxy that never reached auth says so', async () => {
  auth.away = true;
  const fresh = await start();
  const { status, body } = await fresh('/webapi/ping');
  auth.away = false;
  assert.equal(status, 503);
  assert.equal(message(body), 'Auth cannot be reached.');
});

test('an updater learns version and urgency of its channel as text', async () => {
  const channel = '/v1/webapi/automaticupgrades/channel';
  assert.equal((await curl(`${channel}/default/version`)).body, 'v3.4.5');
  assert.equal((await curl(`${channel}/stable/cloud/version`)).body, 'v3.4.5');
  assert.equal((await curl(`${channel}/default/critical`)).body, 'no');
  assert.equal((await curl(`/webapi/automaticupgrades/channel/default/version`)).body, 'v3.4.5');
  assert.equal((await curl(`${channel}/default/other`)).status, 404);
  assert.equal((await curl(`${channel}/..%2F..%2Fx/version`)).status, 404);
});

test('a log-in goes to auth with the address and program of the person', async () => {
  const answer = await curl(
    '/v1/webapi/ssh/certs',
    '-A',
    'tsh/3.4.5',
    ...json,
    JSON.stringify({
      proof: { user: 'ana', password: 'p' },
      ssh_public_key: 'AAAA',
      tls_public_key: 'x',
    }),
  );
  assert.equal(answer.status, 403);
  assert.equal(message(answer.body), 'User, password or second factor is wrong.');
  assert.deepEqual(auth.bodies.at(-1), {
    proof: { user: 'ana', password: 'p' },
    ssh_public_key: 'AAAA',
    tls_public_key: 'x',
    remote_addr: '127.0.0.1',
    user_agent: 'tsh/3.4.5',
  });
});

test('the second factor is asked for by name', async () => {
  const { body } = await curl('/webapi/mfa/login/begin', ...json, '{"user":"ana"}');
  assert.deepEqual(JSON.parse(body), { otp: true });
});

test('every error is {"error":{"message"}} with the request id, and no more', async () => {
  const malformed = await curl('/webapi/mfa/login/begin', ...json, '{"user":');
  assert.equal(malformed.status, 400);
  const wrong = await curl('/webapi/mfa/login/begin', ...json, '{"user":"-x","more":1}');
  assert.equal(wrong.status, 400);
  assert.match(message(wrong.body), /body\.user: must be 1 to 128 letters/);
  const large = await curl('/webapi/mfa/login/begin', ...json, JSON.stringify({ user: 'a'.repeat(70_000) }));
  assert.equal(large.status, 429);
  const none = await curl('/v1/webapi/nothing');
  assert.equal(none.status, 404);
  const form = await curl('/webapi/mfa/login/begin', '--data', 'user=ana');
  assert.equal(form.status, 400);
  const broken = await curl('/broken');
  assert.equal(broken.status, 500);
  assert.doesNotMatch(broken.body, /secret detail/);
  for (const { headers, body } of [malformed, wrong, large, none, form, broken]) {
    const id = /^x-request-id: (\S+)/im.exec(headers)?.[1];
    assert.equal(JSON.parse(body).error.request_id, id);
  }
});

test('no body makes the server fail, and none reaches auth that is not of the shape', async () => {
  const before = auth.bodies.length;
  const url = (await curl('/webapi/find')).url.replace('/webapi/find', '');
  const agent = new Agent({ keepAlive: true, rejectUnauthorized: false, maxSockets: 4 });
  const post = (path: string, body: string): Promise<number> => {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const headers = { 'content-type': 'application/json' };
    const outgoing = request(`${url}${path}`, { method: 'POST', agent, headers }, (answer) => {
      answer.resume().once('end', () => resolve(answer.statusCode ?? 0));
    });
    outgoing.once('error', reject);
    outgoing.end(body);
    return promise;
  };
  const bodies = fc.oneof(
    fc.string(),
    fc.json(),
    fc.json().map((json) => `{"user":${json},"proof":${json}}`),
  );
  const paths = fc.constantFrom('/webapi/mfa/login/begin', '/v1/webapi/ssh/certs');
  await fc.assert(
    fc.asyncProperty(paths, bodies, async (path, body) => {
      const status = await post(path, body);
      assert.ok(status === 200 || (status >= 400 && status < 500), `${status} for ${body}`);
    }),
    { numRuns: 150 },
  );
  agent.destroy();
  for (const body of auth.bodies.slice(before)) assert.match(JSON.stringify(body), /"user":"[A-Za-z0-9]/);
});

test('a client more than one major version apart is told so, and can still ask for the version', async () => {
  const old = ['-H', 'x-sallyport-version: 1.9.0'];
  const refused = await curl('/webapi/mfa/login/begin', ...old, ...json, '{"user":"ana"}');
  assert.equal(refused.status, 501);
  assert.match(message(refused.body), /client is version 1\.9\.0, the cluster is version 3\.4\.5/);
  assert.equal((await curl('/webapi/ping', ...old)).status, 200);
  const near = ['-H', 'x-sallyport-version: 2.0.0'];
  assert.equal((await curl('/webapi/mfa/login/begin', ...near, ...json, '{"user":"ana"}')).status, 200);
});

test('answers cannot be framed, sniffed or kept, and other sites cannot post', async () => {
  const { headers } = await curl('/webapi/ping');
  for (const line of [
    /^content-security-policy: default-src 'none'/im,
    /^x-content-type-options: nosniff/im,
    /^x-frame-options: DENY/im,
    /^cache-control: no-store/im,
  ]) {
    assert.match(headers, line);
  }
  const foreign = await curl(
    '/webapi/mfa/login/begin',
    '-H',
    'sec-fetch-site: cross-site',
    ...json,
    '{"user":"a"}',
  );
  assert.equal(foreign.status, 403);
});

test('one address that asks too much is told to wait, log-ins sooner than the rest', async () => {
  const limited = await start({ requestsPerMinute: 8, attemptsPerMinute: 2 });
  const attempt = (path: string) => limited(path, ...json, '{"user":"ana"}');
  const statuses = [];
  for (const prefix of ['', '/v1', ''])
    statuses.push((await attempt(`${prefix}/webapi/mfa/login/begin`)).status);
  assert.deepEqual(statuses, [200, 200, 429]);
  const answer = await attempt('/webapi/mfa/login/begin');
  assert.match(answer.headers, /^retry-after: \d+/im);
  assert.equal(message(answer.body), 'Too many requests from your address.');
  let ok = 0;
  while ((await limited('/webapi/find')).status === 200) ok++;
  assert.ok(ok <= 8);
});

test('limits count an IPv6 network as one, and an IPv4 address as itself', () => {
  assert.equal(addressGroup('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2');
  assert.equal(addressGroup('2001:db8::6'), '2001:db8:0:0');
  assert.equal(addressGroup('::1'), '0:0:0:0');
  assert.equal(addressGroup('::ffff:192.0.2.7'), '192.0.2.7');
  assert.equal(addressGroup('192.0.2.7'), '192.0.2.7');
});
