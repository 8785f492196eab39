import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import {
  hostLeaf,
  type KeyAndCertificate,
  openAuthorities,
  temporaryDirectory,
  userLeaf,
} from './authorities.fixture.ts';
import type { Authorities } from './authorities.ts';
import {
  clientTlsOptions,
  type PeerVerdict,
  serverTlsOptions,
  type TlsTrust,
  verifyPeer,
  verifyTlsCertificate,
} from './tls-options.ts';

interface TestServer {
  readonly port: number;
  readonly verdicts: PeerVerdict[];
  /** Looks at each connection first; what it answers is done before the connection ends. */
  look?: (socket: TLSSocket) => () => Promise<void>;
}

/** Says what it made of its peer: `ok`, or the reason. */
async function listen(
  t: TestContext,
  authorities: Authorities,
  roles: HostRole[] = ['auth'],
): Promise<TestServer> {
  const { keyPem, certPem } = await hostLeaf(authorities, { roles });
  const chain = `${certPem}${authorities.active('host').tls.certificatePem}`;
  const verdicts: PeerVerdict[] = [];
  const options = serverTlsOptions({ keyPem, certPem: chain, trust: authorities.trust(), alpn: ['x'] });
  const result: TestServer = { port: 0, verdicts };
  const server = createServer(options, (socket) => {
    socket.on('error', () => undefined);
    const more = result.look?.(socket);
    // Trust is asked for anew at each connection, as it must be through a rotation.
    const verdict = verifyPeer(socket, { trust: authorities.trust(), now: new Date() });
    verdicts.push(verdict);
    void (more?.() ?? Promise.resolve()).then(() => socket.end(verdict.ok ? 'ok' : verdict.reason));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return Object.assign(result, { port: (server.address() as AddressInfo).port });
}

interface DialOptions {
  readonly identity?: KeyAndCertificate;
  readonly trust: TlsTrust;
  readonly expect?: HostRole[];
  readonly session?: Buffer | undefined;
}

async function dial(port: number, { identity, trust, expect = ['auth'], session }: DialOptions) {
  const options = clientTlsOptions({ ...identity, trust, expect, alpn: ['x'] });
  const resumed = session === undefined ? {} : { session };
  const socket: TLSSocket = connect({ ...options, ...resumed, host: '127.0.0.1', port });
  let ticket: Buffer | undefined;
  let reused = false;
  socket.on('secureConnect', () => {
    reused = socket.isSessionReused();
  });
  socket.on('session', (bytes) => {
    ticket = bytes;
  });
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return { answer: Buffer.concat(chunks).toString(), reused, ticket };
}

test('two hosts of a cluster know each other over TLS 1.3', async (t) => {
  const authorities = await openAuthorities(t);
  const server = await listen(t, authorities);
  const identity = await hostLeaf(authorities, { roles: ['node'] });
  const { answer } = await dial(server.port, { identity, trust: authorities.trust() });
  assert.equal(answer, 'ok');
  const [verdict] = server.verdicts;
  assert.ok(verdict?.ok && verdict.identity.kind === 'host');
  assert.deepEqual(verdict.identity.roles, ['node']);
});

test('a user is known as a user, nobody as nobody', async (t) => {
  const authorities = await openAuthorities(t);
  const server = await listen(t, authorities);
  const trust = authorities.trust();
  assert.equal((await dial(server.port, { identity: await userLeaf(authorities), trust })).answer, 'ok');
  assert.equal((await dial(server.port, { trust })).answer, 'the peer showed no certificate');
  const [user, nobody] = server.verdicts;
  assert.ok(user?.ok && user.identity.kind === 'user' && user.identity.user === 'alice@example.com');
  assert.ok(nobody?.ok === false && nobody.anonymous);
});

test('a client refuses a server of another authority, of another role, and one that shows a user certificate', async (t) => {
  const authorities = await openAuthorities(t);
  const other = await openAuthorities(t);
  const trust = authorities.trust();
  const server = await listen(t, authorities, ['node']);
  await assert.rejects(dial(server.port, { trust: other.trust() }), { code: /SELF_SIGNED|UNABLE_TO/ });
  await assert.rejects(dial(server.port, { trust, expect: ['auth', 'proxy'] }), {
    code: 'ca.wrong_server',
    message: 'The certificate is of a host (node), expected: auth or proxy.',
  });
  await assert.rejects(
    dial(server.port, { trust: { ...trust, cluster_name: 'staging' }, expect: ['node'] }),
    {
      code: 'ca.wrong_server',
      message: /of cluster "prod", not of "staging"/,
    },
  );
});

test('certificates that do not hold are refused, each with its reason', async (t) => {
  const authorities = await openAuthorities(t);
  const other = await openAuthorities(t);
  const server = await listen(t, authorities);
  const trust = authorities.trust();
  const answer = async (identity: KeyAndCertificate) => (await dial(server.port, { identity, trust })).answer;
  const past = {
    validAfter: new Date('2020-01-01T00:00:00Z'),
    validBefore: new Date('2020-01-02T00:00:00Z'),
  };
  assert.equal(
    await answer(await userLeaf(authorities, past)),
    'the certificate expired at 2020-01-02T00:00:00.000Z',
  );
  const future = { validAfter: new Date(Date.now() + 60_000), validBefore: new Date(Date.now() + 120_000) };
  assert.match(await answer(await userLeaf(authorities, future)), /not valid before/);
  assert.equal(
    await answer(await userLeaf(other)),
    'the certificate is not signed by a user CA this cluster trusts',
  );
  assert.equal(
    await answer(await hostLeaf(other)),
    'the certificate is not signed by a host CA this cluster trusts',
  );
  assert.match(
    await answer(await userLeaf(authorities, { cluster: 'staging' })),
    /of cluster "staging", not of "prod"/,
  );
});

test('a user authority cannot make hosts, nor a host authority users', async (t) => {
  const authorities = await openAuthorities(t);
  const swapped = {
    active: (type: 'host' | 'user') => authorities.active(type === 'host' ? 'user' : 'host'),
    clusterName: authorities.clusterName,
  } as Authorities;
  const check = (pem: string) =>
    verifyTlsCertificate(new X509Certificate(pem), { trust: authorities.trust(), now: new Date() });
  const host = check((await hostLeaf(swapped, { roles: ['auth'] })).certPem);
  assert.ok(!host.ok && host.reason === 'the certificate is not signed by a host CA this cluster trusts');
  const user = check((await userLeaf(swapped)).certPem);
  assert.ok(!user.ok && user.reason === 'the certificate is not signed by a user CA this cluster trusts');
});

test('who is expected may be narrowed', async (t) => {
  const authorities = await openAuthorities(t);
  const certificate = new X509Certificate((await hostLeaf(authorities, { roles: ['node'] })).certPem);
  const expectation = { trust: authorities.trust(), now: new Date() };
  assert.ok(verifyTlsCertificate(certificate, { ...expectation, expect: ['proxy', 'node'] }).ok);
  const verdict = verifyTlsCertificate(certificate, { ...expectation, expect: ['user'] });
  assert.ok(!verdict.ok && verdict.reason === 'the certificate is of a host (node), expected: user');
});

test('a certificate that was changed after it was signed is refused', async (t) => {
  const authorities = await openAuthorities(t);
  const { raw } = new X509Certificate((await userLeaf(authorities)).certPem);
  const changed = Buffer.from(
    raw.toString('latin1').replaceAll('alice@', 'admin@').replaceAll('alice%', 'admin%'),
    'latin1',
  );
  const verdict = verifyTlsCertificate(new X509Certificate(changed), {
    trust: authorities.trust(),
    now: new Date(),
  });
  assert.ok(!verdict.ok && !verdict.anonymous && verdict.claimed?.kind === 'user');
  assert.equal(verdict.claimed.user, 'admin@example.com', 'it does claim so');
  assert.equal(verdict.reason, 'the certificate is not signed by a user CA this cluster trusts');
});

test('on a connection that lives on, a rotation and the end of its life are seen at the next look', async (t) => {
  const authorities = await openAuthorities(t);
  const server = await listen(t, authorities);
  const identity = await userLeaf(authorities);
  const looks: PeerVerdict[] = [];
  server.look = (socket) => {
    const look = (now = new Date()) => looks.push(verifyPeer(socket, { trust: authorities.trust(), now }));
    look();
    look();
    look(new Date(Date.now() + 2 * 3_600_000));
    looks.push(verifyPeer(socket, { trust: authorities.trust(), now: new Date(), expect: ['node'] }));
    return async () => {
      for (const phase of ['init', 'update_clients', 'update_servers', 'standby'] as const) {
        await authorities.rotate('user', phase);
      }
      look();
    };
  };
  await dial(server.port, { identity, trust: authorities.trust() });
  const reasons = looks.map((verdict) => (verdict.ok ? 'ok' : verdict.reason));
  assert.deepEqual(reasons.slice(0, 2), ['ok', 'ok']);
  assert.match(reasons[2] ?? '', /expired at/);
  assert.equal(reasons[3], 'the certificate is of a user, expected: node');
  assert.equal(reasons[4], 'the certificate is not signed by a user CA this cluster trusts');
});

test('a certificate of ours that a forged authority of the same name signed is refused', async (t) => {
  const authorities = await openAuthorities(t);
  const forger = await openAuthorities(t);
  const server = await listen(t, authorities);
  const identity = await hostLeaf(forger, { roles: ['auth'] });
  const { answer } = await dial(server.port, { identity, trust: authorities.trust() });
  assert.match(answer, /not signed by a host CA/);
});

test('a session resumed after its authority was retired is refused', async (t) => {
  const authorities = await openAuthorities(t);
  const server = await listen(t, authorities);
  const identity = await userLeaf(authorities);
  const trust = authorities.trust();
  const first = await dial(server.port, { identity, trust });
  assert.equal(first.answer, 'ok');
  const second = await dial(server.port, { identity, trust, session: first.ticket });
  assert.deepEqual([second.answer, second.reused], ['ok', true]);
  for (const phase of ['init', 'update_clients', 'update_servers', 'standby'] as const) {
    await authorities.rotate('user', phase);
  }
  const third = await dial(server.port, { identity, trust, session: second.ticket ?? first.ticket });
  assert.equal(third.answer, 'the certificate is not signed by a user CA this cluster trusts');
});

test('openssl s_client gets in with our certificate over TLS 1.3 only', async (t) => {
  const authorities = await openAuthorities(t);
  const server = await listen(t, authorities);
  const directory = await temporaryDirectory(t);
  const identity = await hostLeaf(authorities);
  await writeFile(join(directory, 'key.pem'), identity.keyPem, { mode: 0o600 });
  await writeFile(join(directory, 'cert.pem'), identity.certPem);
  await writeFile(join(directory, 'ca.pem'), authorities.trust().tls_host_cas.join(''));
  const client = async (...more: string[]) => {
    const files = ['-key', 'key.pem', '-cert', 'cert.pem', '-CAfile', 'ca.pem', '-verify_return_error'];
    const arguments_ = ['s_client', '-connect', `127.0.0.1:${server.port}`, ...files, ...more];
    const child = spawn('openssl', arguments_, { cwd: directory, stdio: ['pipe', 'pipe', 'pipe'] });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(child, 'close');
    return Buffer.concat(chunks).toString();
  };
  const printed = await client('-alpn', 'x');
  assert.match(printed, /Verification: OK/);
  assert.match(printed, /TLSv1\.3/);
  assert.match(printed, /ALPN protocol: x/);
  assert.equal(server.verdicts[0]?.ok, true);
  assert.match(await client('-tls1_2'), /alert protocol version/);
});
