import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { createClient } from '@sallyport/contracts/api/client.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { Registry } from 'prom-client';
import { until } from '../../until.fixture.ts';
import {
  collectedLog,
  type TestCertificates,
  type TestCounters,
  testCertificates,
  testHandlers,
  testRoutes,
  testRules,
  testTransport,
} from './api.fixture.ts';
import type { ApiLimits } from './api-limits.ts';
import { apiMetrics } from './api-metrics.ts';
import { type ApiServer, startApiServer } from './api-server.ts';
import type { RefusedCall } from './call.ts';
import type { Caller } from './handler.ts';

/** The common name of a test's certificate → who it is. */
const people: Readonly<Record<string, Caller>> = {
  alice: { kind: 'user', user: 'alice', roles: ['editor'], traits: {} },
  bob: { kind: 'user', user: 'bob', roles: ['viewer'], traits: {} },
  mallory: { kind: 'user', user: 'mallory', roles: ['editor'], traits: {} },
  node: { kind: 'host', hostUuid: '1048a649-8f3f-4431-9529-0c53339b65a5', roles: ['node'] },
  proxy: { kind: 'host', hostUuid: '2048a649-8f3f-4431-9529-0c53339b65a5', roles: ['proxy'] },
};

function callerOf(socket: TLSSocket): Caller {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return { kind: 'anyone' };
  const caller = people[/CN=(.*)/.exec(certificate.subject)?.[1] ?? ''];
  if (!socket.authorized || caller === undefined)
    throw new AppError(
      'denied',
      'test.certificate',
      'The certificate of this connection is not accepted: expired.',
    );
  return caller;
}

describe('the API server over TLS', () => {
  let certificates: TestCertificates;
  before(() => {
    certificates = testCertificates();
  });
  after(() => certificates.cleanUp());

  async function start(t: TestContext, limits: Partial<ApiLimits> = {}) {
    const counters: TestCounters = { sources: 0, lines: 0, aborted: 0 };
    const log = collectedLog();
    const registry = new Registry();
    const refused: RefusedCall[] = [];
    const server = await startApiServer({
      routes: testRoutes,
      handlers: testHandlers(counters),
      rules: testRules,
      version: '3.1.0',
      log,
      limits,
      metrics: apiMetrics(registry),
      onRefused: (call) => refused.push(call),
      listen: {
        host: '127.0.0.1',
        port: 0,
        tls: { ...certificates.server, ca: certificates.ca },
        callerOf,
      },
    });
    t.after(() => server.close(0));
    const transportOf = (name?: string) => {
      const own = name === undefined ? {} : certificates.client(name);
      const tls = { ca: certificates.ca, ...own, checkServerIdentity: () => undefined };
      const transport = testTransport({ ...tcp(server), tls });
      t.after(() => transport.close());
      return transport;
    };
    const as = (name?: string, headers?: Record<string, string>) =>
      createClient(testRoutes, transportOf(name), headers);
    return { server, counters, log, registry, refused, transportOf, as };
  }

  const tcp = (server: ApiServer) => server.address as { host: string; port: number };

  it('knows the caller by the certificate, and anyone by its absence', async (t) => {
    const { as } = await start(t);
    const hello = (name?: string) => as(name).hello({ params: { name: 'x' } });
    assert.equal((await hello('alice')).caller, 'user alice');
    assert.equal((await hello('node')).caller, 'host');
    assert.equal((await hello()).caller, 'anyone');
  });

  it('refuses who may not call, says why, and tells the audit', async (t) => {
    const { as, refused, registry } = await start(t);
    const put = (name?: string) => as(name).put({ params: { id: 'a' }, body: { list: [] } });
    assert.deepEqual(await put('alice'), { count: 0 });
    assert.deepEqual(await put('node'), { count: 0 });
    await assert.rejects(put('bob'), {
      kind: 'denied',
      code: 'api.not_allowed',
      message: 'No role allows it.',
    });
    await assert.rejects(put('proxy'), {
      code: 'api.not_allowed',
      message: /only a host with the role node may/,
    });
    await assert.rejects(put('mallory'), {
      code: 'api.not_admitted',
      message: /is locked: left the company/,
    });
    await assert.rejects(put(), { code: 'api.no_certificate' });
    assert.deepEqual(
      refused.map(({ call, reason }) => [call, reason.code]),
      [
        ['PUT /v1/things/:id', 'api.not_allowed'],
        ['PUT /v1/things/:id', 'api.not_allowed'],
        ['PUT /v1/things/:id', 'api.not_admitted'],
        ['PUT /v1/things/:id', 'api.no_certificate'],
      ],
    );
    assert.match(await registry.metrics(), /sallyport_api_refused_total\{reason="rights"\} 4/);
    assert.match(await registry.metrics(), /sallyport_api_requests_total\{route="put",status="403"\} 4/);
  });

  it('tells whoever has a bad certificate why, and lets them call what anyone may', async (t) => {
    const { as, refused } = await start(t);
    const stranger = as('eve');
    assert.equal((await stranger.hello({ params: { name: 'x' } })).caller, 'anyone');
    await assert.rejects(stranger.put({ params: { id: 'a' }, body: { list: [] } }), {
      kind: 'denied',
      message: /not accepted: expired/,
    });
    assert.equal(refused[0]?.caller, undefined);
    assert.equal(refused[0]?.reason.code, 'test.certificate');
  });

  it('speaks no version of TLS below 1.3, and resumes no session', async (t) => {
    const { server } = await start(t);
    const options = { ...tcp(server), ca: certificates.ca, checkServerIdentity: () => undefined };
    const old = tlsConnect({ ...options, maxVersion: 'TLSv1.2' });
    await new Promise((resolve) => old.once('error', resolve));
    const sessions: Buffer[] = [];
    const first = tlsConnect(options);
    first.on('session', (session: Buffer) => sessions.push(session));
    await new Promise((resolve) => first.once('secureConnect', resolve));
    first.write('GET /v1/hello/a HTTP/1.1\r\nHost: a\r\n\r\n');
    await new Promise((resolve) => first.once('data', resolve));
    first.destroy();
    for (const session of sessions) {
      const again = tlsConnect({ ...options, session });
      await new Promise((resolve) => again.once('secureConnect', resolve));
      assert.equal(again.isSessionReused(), false);
      again.destroy();
    }
  });

  it('meets new connections with a new certificate while old calls go on', async (t) => {
    const { server, as, counters } = await start(t);
    const lines = as('node')
      .count({ query: { to: '3', after: 'quiet' } })
      [Symbol.asyncIterator]();
    await lines.next();
    const fresh = certificates.client('renewed');
    server.replaceTls({ ...fresh, ca: certificates.ca });
    const socket = tlsConnect({ ...tcp(server), ca: certificates.ca, checkServerIdentity: () => undefined });
    await new Promise((resolve) => socket.once('secureConnect', resolve));
    assert.match(socket.getPeerX509Certificate()?.subject ?? '', /CN=renewed/);
    socket.destroy();
    assert.equal((await lines.next()).value.n, 1);
    assert.equal(counters.sources, 1);
    await lines.return?.(undefined);
  });

  it('names the field of a bad request', async (t) => {
    const { transportOf } = await start(t);
    const transport = transportOf('alice');
    const complaint = async (body: unknown, path = '/v1/things/a') => {
      const answer = await transport({
        method: 'PUT',
        path,
        headers: { 'content-type': 'application/json' },
        body: typeof body === 'string' ? body : JSON.stringify(body),
        signal: undefined,
      });
      assert.equal(answer.status, 400);
      return JSON.parse(await answer.text()).error.message as string;
    };
    assert.match(
      await complaint({ list: [{ n: 1 }, { n: 'two' }] }),
      /^body\.list\[1\]\.n: .*expected number/,
    );
    assert.match(await complaint({}), /^body\.list: .*expected array/);
    assert.match(await complaint({ list: [], choice: { b: { c: 'x' } } }), /^body\.choice\.b\.c: /);
    assert.match(await complaint({ list: [], '\u001b[2J': 1 }), /^body: unrecognized key: "\?\[2J"/);
    assert.match(await complaint('{'), /must be JSON/);
    assert.match(await complaint('{"__proto__":{}}'), /must be JSON/);
  });

  it('takes no body larger than the route says, and none it would not look at', async (t) => {
    const { transportOf } = await start(t);
    const send = (name: string, body: string) =>
      transportOf(name)({
        method: 'PUT',
        path: '/v1/things/a',
        headers: { 'content-type': 'application/json' },
        body,
        signal: undefined,
      });
    const large = JSON.stringify({ list: [], pad: 'x'.repeat(5000) });
    const answer = await send('alice', large);
    assert.equal(JSON.parse(await answer.text()).error.code, 'api.body_too_large');
    assert.equal((await send('bob', large)).status, 403);
  });

  it('answers every error in one form, with the id of the request, which the log has too', async (t) => {
    const { transportOf, log } = await start(t);
    const fail = async (how: string, id: string) => {
      const answer = await transportOf('bob')({
        method: 'POST',
        path: '/v1/fail',
        headers: { 'content-type': 'application/json', 'x-request-id': id },
        body: JSON.stringify({ how }),
        signal: undefined,
      });
      return { status: answer.status, id: answer.header('x-request-id'), text: await answer.text() };
    };
    const thrown = await fail('throw', 'call-0001');
    assert.equal(thrown.status, 500);
    assert.equal(thrown.id, 'call-0001');
    assert.deepEqual(JSON.parse(thrown.text), {
      error: {
        message: 'An internal error occurred.',
        code: 'internal.unexpected',
        kind: 'internal',
        request_id: 'call-0001',
      },
    });
    assert.equal(log.errors[0]?.fields['request_id'], 'call-0001');
    assert.match(String(log.errors[0]?.fields['err']), /secret detail/);
    assert.equal((await fail('reject', 'call-0002')).status, 500);
    const taken = await fail('app', 'no');
    assert.equal(taken.status, 409);
    assert.match(taken.id ?? '', /^[0-9a-f-]{36}$/, 'an ill-formed id was taken over');
    assert.equal(JSON.parse(taken.text).error.hint, 'Take another.');
    const lost = await transportOf()({
      method: 'GET',
      path: '/v9',
      headers: {},
      body: undefined,
      signal: undefined,
    });
    assert.equal(lost.status, 404);
    assert.equal(JSON.parse(await lost.text()).error.code, 'api.no_route');
  });

  it('gives up a handler that hangs, and tells it', async (t) => {
    const { as, counters } = await start(t, { handlerMs: 30 });
    await assert.rejects(as('bob').fail({ body: { how: 'hang' } }), {
      kind: 'unavailable',
      code: 'api.timeout',
    });
    assert.equal(counters.aborted, 1);
  });

  it('tells a handler that its caller hung up', async (t) => {
    const { as, counters } = await start(t);
    const hangUp = new AbortController();
    const call = as('bob').fail({ body: { how: 'hang' } }, { signal: hangUp.signal });
    setTimeout(() => hangUp.abort(), 50);
    await assert.rejects(call);
    await until('the handler was told', () => counters.aborted === 1, 5_000);
  });

  it('answers no more calls at once than its bound', async (t) => {
    const { as } = await start(t, { calls: 2, handlerMs: 200 });
    const bob = as('bob');
    const calls = Array.from({ length: 5 }, () => bob.fail({ body: { how: 'hang' } }));
    const codes = (await Promise.allSettled(calls)).map(
      (call) => call.status === 'rejected' && call.reason.code,
    );
    assert.deepEqual(codes.toSorted(), ['api.busy', 'api.busy', 'api.busy', 'api.timeout', 'api.timeout']);
  });

  it('refuses a client more than one major version apart, but tells anyone its own', async (t) => {
    const { as, transportOf } = await start(t);
    const call = (version: string) =>
      as('alice', { 'x-sallyport-version': version }).put({ params: { id: 'a' }, body: { list: [] } });
    for (const version of ['2.9.9', '3.0.0', 'v4.0.0-dev', 'curl']) await call(version);
    await assert.rejects(call('1.9.9'), {
      kind: 'unsupported',
      code: 'api.version',
      hint: 'Upgrade the client to version 3 of Sallyport.',
    });
    await assert.rejects(call('5.0.0'), {
      code: 'api.version',
      hint: 'Downgrade the client to version 3 of Sallyport.',
    });
    const headers = { 'x-sallyport-version': '1.0.0' };
    const answer = await transportOf()({
      method: 'GET',
      path: '/v1/hello/a',
      headers,
      body: undefined,
      signal: undefined,
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.header('x-sallyport-version'), '3.1.0');
  });

  it('slows who is nobody, by address, and never a host', async (t) => {
    const { as, transportOf, registry } = await start(t, { anonymousRate: { burst: 3, perSecond: 0.1 } });
    const anyone = transportOf();
    const hello = () =>
      anyone({ method: 'GET', path: '/v1/hello/a', headers: {}, body: undefined, signal: undefined });
    const answers = [];
    for (let n = 0; n < 5; n++) answers.push(await hello());
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 200, 429, 429],
    );
    assert.equal(answers[4]?.header('retry-after'), '10');
    const node = as('node');
    for (let n = 0; n < 10; n++) await node.hello({ params: { name: 'a' } });
    assert.match(await registry.metrics(), /sallyport_api_refused_total\{reason="rate"\} 2/);
  });

  it('slows log-ins by the address of the person, not of the proxy', async (t) => {
    const { as } = await start(t, { logInRate: { burst: 2, perSecond: 0.1 } });
    const proxy = as('proxy');
    const logIn = (remote_addr: string) => proxy.logIn({ body: { remote_addr } });
    await logIn('203.0.113.1');
    await logIn('::ffff:203.0.113.1');
    await assert.rejects(logIn('203.0.113.1'), {
      kind: 'limit',
      code: 'api.too_fast',
      hint: 'Try again in 10 s.',
    });
    await logIn('203.0.113.2');
    await logIn('2001:db8::1');
    await logIn('2001:db8:0:0:1::1');
    await assert.rejects(logIn('2001:0DB8:0:0:ffff::2'), { code: 'api.too_fast' });
  });

  it('streams lines until the source ends', async (t) => {
    const { as } = await start(t);
    const seen: number[] = [];
    for await (const line of as('node').count({ query: { to: '500', after: 'end' } }))
      if (line.type === 'n') seen.push(line.n);
    assert.deepEqual(
      seen,
      Array.from({ length: 500 }, (_, n) => n),
    );
  });

  it('refuses a stream as it refuses a call, and cuts one that breaks', async (t) => {
    const { as, log } = await start(t);
    const read = async (after: 'refuse' | 'throw') => {
      let lines = 0;
      for await (const _ of as('node').count({ query: { to: '2', after } })) lines++;
      return lines;
    };
    await assert.rejects(read('refuse'), { kind: 'not_found', code: 'test.none' });
    await assert.rejects(read('throw'), (error: Error) => !(error instanceof assert.AssertionError));
    assert.match(String(log.errors[0]?.fields['err']), /broke in the middle/);
  });

  it('says alive while a stream is quiet, and lets go of its source when the reader leaves', async (t) => {
    const { as, counters, registry } = await start(t, { aliveMs: 20 });
    const seen: string[] = [];
    for await (const line of as('node').count({ query: { to: '1', after: 'quiet' } })) {
      seen.push(line.type);
      if (seen.length === 4) break;
    }
    assert.deepEqual(seen, ['n', 'alive', 'alive', 'alive']);
    await until('the source ended', () => counters.sources === 0, 5_000);
    assert.match(await registry.metrics(), /sallyport_api_streams 0/);
  });

  it('makes no lines for a reader that does not read, and cuts it after a while', async (t) => {
    const { server, counters } = await start(t, { stalledMs: 300 });
    const { key, cert } = certificates.client('node');
    const socket = tlsConnect({
      ...tcp(server),
      key,
      cert,
      ca: certificates.ca,
      checkServerIdentity: () => undefined,
    });
    const cut = new Promise<void>((resolve) => socket.once('error', () => {}).once('close', () => resolve()));
    await new Promise((resolve) => socket.once('secureConnect', resolve));
    socket.pause();
    socket.write('GET /v1/count?to=9999999&after=end HTTP/1.1\r\nHost: a\r\n\r\n');
    await until('it began', () => counters.lines > 0, 5_000);
    await until('the source was let go of', () => counters.sources === 0, 5_000);
    assert.ok(counters.lines < 50_000, `${counters.lines} lines of 1 kB were made for nobody`);
    socket.resume();
    await cut;
  });

  it('hangs up on who sends a request too slowly, or none', async (t) => {
    const { server } = await start(t, { requestMs: 200 });
    const open = (): Promise<TLSSocket> =>
      new Promise((resolve) => {
        const socket = tlsConnect({
          ...tcp(server),
          ca: certificates.ca,
          checkServerIdentity: () => undefined,
        });
        socket.once('secureConnect', () => resolve(socket));
        socket.on('error', () => {});
      });
    const closed = (socket: Socket) => new Promise((resolve) => socket.resume().once('close', resolve));
    const slow = await open();
    slow.write('GET /v1/hello/a HTTP/1.1\r\nHost:');
    const silent = await open();
    await Promise.all([closed(slow), closed(silent)]);
  });

  it('keeps no more connections than its bounds, of which few without a certificate', async (t) => {
    const { server, as } = await start(t, { anonymousConnections: 2 });
    const sockets = Array.from({ length: 4 }, () =>
      tlsConnect({ ...tcp(server), ca: certificates.ca, checkServerIdentity: () => undefined }).on(
        'error',
        () => {},
      ),
    );
    await until(
      'two were cut',
      () => sockets.filter((socket) => socket.destroyed || socket.readableEnded).length === 2,
      5_000,
    );
    assert.equal((await as('alice').hello({ params: { name: 'a' } })).hello, 'a');
    for (const socket of sockets) socket.destroy();
  });

  it('closes: streams end, calls on their way are answered', async (t) => {
    const { server, as, counters } = await start(t, { handlerMs: 100 });
    const lines = as('node')
      .count({ query: { to: '1', after: 'quiet' } })
      [Symbol.asyncIterator]();
    await lines.next();
    const call = as('bob').fail({ body: { how: 'hang' } });
    await Promise.all([
      new Promise((resolve) => setTimeout(resolve, 20)).then(() => server.close()),
      assert.rejects(call, { code: 'api.timeout' }),
      assert.doesNotReject(async () => assert.equal((await lines.next()).done, true)),
    ]);
    assert.equal(counters.sources, 0);
  });
});

describe('the API server on a socket file', () => {
  async function start(t: TestContext) {
    const dir = await mkdtemp(join(tmpdir(), 'sallyport-api-'));
    t.after(() => rm(dir, { recursive: true }));
    const socketPath = join(dir, 'auth.sock');
    const listen = () =>
      startApiServer({
        routes: testRoutes,
        handlers: testHandlers({ sources: 0, lines: 0, aborted: 0 }),
        rules: testRules,
        version: '3.1.0',
        log: collectedLog(),
        listen: { socketPath },
      });
    return { socketPath, listen };
  }

  it('is open to its owner only, who is the administrator, by the name that is told', async (t) => {
    const { socketPath, listen } = await start(t);
    const server = await listen();
    t.after(() => server.close(0));
    assert.equal((await stat(socketPath)).mode & 0o777, 0o600);
    const transport = testTransport({ socketPath });
    t.after(() => transport.close());
    const hello = async (headers: Record<string, string>) =>
      (await createClient(testRoutes, transport, headers).hello({ params: { name: 'x' } })).caller;
    assert.equal(await hello({}), 'admin root');
    assert.equal(await hello({ 'x-sallyport-operator': 'alice@auth-1' }), 'admin alice@auth-1');
    assert.equal(await hello({ 'x-sallyport-operator': 'a b\tc' }), 'admin root');
    assert.deepEqual(
      await createClient(testRoutes, transport).put({ params: { id: 'a' }, body: { list: [{ n: 1 }] } }),
      { count: 1 },
    );
  });

  it('replaces what a killed daemon left, never a living one, and takes its file along', async (t) => {
    const { socketPath, listen } = await start(t);
    await writeFile(socketPath, '');
    const server = await listen();
    await assert.rejects(listen(), { code: 'api.socket_in_use', kind: 'conflict' });
    await new Promise<void>((resolve) =>
      connect(socketPath).once('connect', function (this: Socket) {
        this.destroy();
        resolve();
      }),
    );
    await server.close(0);
    await assert.rejects(stat(socketPath), { code: 'ENOENT' });
  });
});
