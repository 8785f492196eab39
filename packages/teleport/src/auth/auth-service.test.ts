// The handlers behind the API's own checks and shapes: what arrives is parsed, what goes out fits its schema.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { createClient } from '@sallyport/contracts/api/client.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Caller } from './api/handler.ts';
import { inProcessTransport } from './api/in-process.ts';
import {
  admin,
  anyone,
  type Cluster,
  joinBody,
  logInBody,
  newHost,
  openCluster,
  password,
  person,
  proxy,
  setUpUser,
} from './auth-service.fixture.ts';

const silent = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

function clientOf(cluster: Cluster, caller: Caller) {
  const absent = async () => {
    throw new Error('not part of this test');
  };
  const handlers = { ...cluster.service.handlers, emitEvents: absent, searchEvents: absent };
  const rules = cluster.service;
  return createClient(
    authRoutes,
    inProcessTransport({ routes: authRoutes, handlers, rules, caller, log: silent }),
  );
}

test('a cluster from its first user to a node in the list, each answer of the shape the contract has', async (t: TestContext) => {
  const cluster = await openCluster(t);
  const root = clientOf(cluster, admin);
  const gate = clientOf(cluster, proxy);
  const status = await clientOf(cluster, anyone).ping();
  assert.deepEqual(
    [status.cluster_name, status.version, status.min_client_version],
    ['test', '1.2.3', '0.0.0'],
  );
  assert.equal(status.ca_pins.length, 1);

  const params = { kind: 'user' as const, name: 'ana' };
  const spec = { roles: ['access', 'editor'], traits: { logins: ['root'] } };
  await root.putResource({ params, body: { kind: 'user', metadata: { name: 'ana' }, spec } });
  const invite = await root.createInvite({ params: { name: 'ana' }, body: { purpose: 'invite' } });
  const setup = await gate.readInvite({ body: { token: invite.token, remote_addr: '::1' } });
  assert.ok(setup.totp && setup.webauthn);
  const { code } = await setUpUser(cluster, 'ana');
  cluster.advance(30_000);
  const challenge = await gate.mfaChallenge({ body: { user: 'ana', remote_addr: '::1' } });
  assert.equal(challenge.otp, true);
  const { body } = logInBody({ user: 'ana', password, otp: await code() });
  const certificates = await gate.logIn({ body });
  assert.deepEqual(certificates.trust, await clientOf(cluster, anyone).trust());

  const host = newHost('web-1');
  const { token } = await root.createToken({ body: { roles: ['node'], ttl_ms: 300_000 } });
  const joining = clientOf(cluster, anyone);
  const joined = await joining.join({ body: await joinBody(cluster, host, token) });
  assert.equal(joined.trust.tls_host_cas.length, 1);
  const node = clientOf(cluster, host.caller);
  await node.heartbeat({
    params: { kind: 'node' },
    body: {
      kind: 'node',
      metadata: { name: host.local.hostUuid },
      spec: { hostname: 'web-1', tunnel: true, labels: {}, version: '1.2.3' },
    },
  });
  const ana = clientOf(cluster, person('ana'));
  assert.equal((await ana.listResources({ params: { kind: 'node' } })).resources.length, 1);
  for (const kind of ['role', 'user', 'token', 'lock', 'proxy', 'cert_authority'] as const)
    await ana.listResources({ params: { kind }, query: { secrets: 'true' } });

  const lines = [];
  for await (const line of gate.watch({ query: { kinds: 'role,node,proxy,lock,cert_authority' } })) {
    lines.push(line.type);
    if (line.type === 'synced') break;
  }
  assert.deepEqual(lines.at(-1), 'synced');

  const signed = await root.issueCertificates({
    params: { name: 'ana' },
    body: { ssh_public_key: body.ssh_public_key, ttl_ms: 90 * 3600_000 },
  });
  assert.deepEqual([signed.capped, signed.tls_certificate], [true, undefined]);
});

test('what the listener refuses reaches the log as well', async (t) => {
  const cluster = await openCluster(t);
  await cluster.service.tellRefused({
    call: 'POST /v1/tokens',
    caller: undefined,
    remoteAddress: '192.0.2.1',
    requestId: 'r1',
    reason: new AppError('denied', 'api.bad_certificate', 'the certificate has expired'),
  });
  const told = cluster.last('TAP00W');
  assert.deepEqual(
    [told['call'], told['error'], told['user']],
    ['POST /v1/tokens', 'the certificate has expired', undefined],
  );
});
