import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { createClient } from '@sallyport/contracts/api/client.ts';
import type { NodeDocument } from '@sallyport/contracts/api/resources.ts';
import { openHostKeys } from '../ca/host-keys.ts';
import { AuthStub, collectLog, makeMember, type TestMember, until } from './auth-stub.fixture.ts';
import { Backoff, pause } from './backoff.ts';
import { startHeartbeat } from './heartbeat.ts';
import { HostMember } from './host-member.ts';
import { type Membership, memberTransport, startMembership } from './membership.ts';

const renewCall = 'POST /v1/hosts/renew';
const beatCall = 'PUT /v1/hosts/self/node';
const nodeDocument: NodeDocument = {
  kind: 'node',
  metadata: { name: 'n' },
  spec: { hostname: 'web-1', tunnel: false, labels: {}, version: '1.2.3' },
};

interface Live {
  readonly membership: Membership;
  readonly host: TestMember;
}

async function live(
  t: TestContext,
  stub: AuthStub,
  { names = ['web-1'], lifeMs = 3_600_000 } = {},
): Promise<Live> {
  const host = await makeMember(t, stub.authorities, { lifeMs });
  const membership = await startMembership({
    dataDir: host.dataDir,
    member: host.member,
    upstream: { kind: 'auth', addresses: [stub.address] },
    kinds: ['cert_authority', 'proxy'],
    principals: () => names,
    version: '1.2.3',
    now: () => new Date(),
    log: collectLog(),
  });
  t.after(() => membership.close());
  return { membership, host };
}

/** What auth does at each phase: everybody is told at once. */
async function rotate(
  stub: AuthStub,
  phase: Parameters<AuthStub['authorities']['rotate']>[1],
): Promise<void> {
  await stub.authorities.rotate('all', phase);
  await stub.retrust();
  for (const resource of stub.authorities.documents()) stub.tell({ type: 'put', resource });
}

test('certificates are renewed at half of their life, and everything goes on with the new ones', async (t) => {
  const stub = await AuthStub.start(t);
  stub.lifeMs = 3_600_000;
  const { membership, host } = await live(t, stub, { names: [], lifeMs: 2_000 });
  const { cert } = host.member.tls;
  await until('it has renewed', () => host.member.tls.cert !== cert);
  assert.equal(stub.count(renewCall), 1);
  assert.ok(host.member.life.validBefore.getTime() > Date.now() + 3_000_000);
  await until(
    'the watch is up with the new certificate',
    () => stub.watchers.size === 1 && membership.cluster.state.connected,
  );
  const reopened = await HostMember.open({
    dataDir: host.dataDir,
    keys: await openHostKeys(host.dataDir),
    hostUuid: host.member.hostUuid,
  });
  assert.equal(reopened?.tls.cert, host.member.tls.cert, 'and they are on disk');
});

test('a new name asks for new certificates, once', async (t) => {
  const stub = await AuthStub.start(t);
  const names = ['web-1'];
  const { membership } = await live(t, stub, { names });
  await until('web-1 is certified', () => stub.count(renewCall) === 1);
  membership.renewal.check();
  names.push('web-1.example.com');
  membership.renewal.check();
  await until('the second name is certified', () => stub.count(renewCall) === 2);
  for (let round = 0; round < 5; round++) membership.renewal.check();
  names.push('third.example.com');
  membership.renewal.check();
  await until('the third name is certified', () => stub.count(renewCall) >= 3);
  assert.equal(stub.count(renewCall), 3, 'the checks in between asked for nothing');
});

test('through a whole rotation a member stays a member, renews once for it, and knows only the new authority at its end', async (t) => {
  const stub = await AuthStub.start(t);
  const { membership, host } = await live(t, stub, { names: [] });
  const { member } = host;
  await until('it is synced', () => membership.cluster.synced);
  await rotate(stub, 'init');
  await until('both authorities are trusted', () => member.trust.tls_host_cas.length === 2);
  await rotate(stub, 'update_clients');
  assert.equal(stub.count(renewCall), 0);
  await rotate(stub, 'update_servers');
  await until('it has renewed', () => stub.count(renewCall) === 1 && member.signedByActive);
  await until('the watch is up again', () => membership.cluster.state.connected);
  await rotate(stub, 'standby');
  await until('one authority is trusted', () => member.trust.tls_host_cas.length === 1);
  assert.ok(member.signedByActive);
  await membership.client.joinChallenge();
  assert.deepEqual(member.trust, stub.authorities.trust());
  assert.equal(stub.count(renewCall), 1);
});

test('a rotation that is rolled back brings the old authority back', async (t) => {
  const stub = await AuthStub.start(t);
  const { membership, host } = await live(t, stub, { names: [] });
  await until('it is synced', () => membership.cluster.synced);
  for (const phase of ['init', 'update_clients', 'update_servers'] as const) await rotate(stub, phase);
  await until('it has renewed', () => stub.count(renewCall) === 1 && host.member.signedByActive);
  await until('the watch is up again', () => membership.cluster.state.connected);
  await rotate(stub, 'rollback');
  await until('it has gone back', () => stub.count(renewCall) === 2 && host.member.signedByActive);
  await until('the watch is up again', () => membership.cluster.state.connected);
  await rotate(stub, 'standby');
  await until('one authority is trusted', () => host.member.trust.tls_host_cas.length === 1);
  await membership.client.joinChallenge();
});

test('while auth is away a renewal is tried again and again, and its problem is told', async (t) => {
  const stub = await AuthStub.start(t);
  await stub.stop();
  const { membership, host } = await live(t, stub, { names: [], lifeMs: 4_000 });
  await until('its problem shows', () => /nothing listens there/.test(membership.renewal.problem ?? ''));
  await stub.listen();
  membership.renewal.check();
  await until('it has renewed', () => host.member.life.validBefore.getTime() > Date.now() + 3_000_000);
  await until('no problem is left', () => membership.renewal.problem === undefined);
});

test('heartbeats come well before the resource expires, at once after a change, and after a failure', async (t) => {
  const stub = await AuthStub.start(t);
  const { member } = await makeMember(t, stub.authorities);
  const transport = memberTransport(member, [stub.address]);
  t.after(() => transport.close());
  const log = collectLog();
  let labels: Record<string, string> = {};
  stub.handlers.set(beatCall, () => ({ expires: new Date(Date.now() + 60_000).toISOString() }));
  const heartbeat = startHeartbeat({
    client: createClient(authRoutes, transport),
    document: () => ({ ...nodeDocument, spec: { ...nodeDocument.spec, labels } }),
    now: () => new Date(),
    log,
    backoff: new Backoff({ firstMs: 5, maxMs: 20 }),
  });
  t.after(() => heartbeat.close());
  await until('the first has arrived', () => heartbeat.healthy);
  assert.equal(stub.count(beatCall), 1);
  labels = { env: 'prod' };
  heartbeat.beat();
  await until('the second has arrived', () => stub.count(beatCall) === 2);
  assert.match(JSON.stringify(stub.calls.at(-1)?.body), /"env":"prod"/);
  await stub.stop();
  heartbeat.beat();
  await until('the failure shows', () => /nothing listens there/.test(heartbeat.problem ?? ''));
  await stub.listen();
  await until('it is well again', () => heartbeat.healthy);
  assert.equal(log.lines.filter(({ level }) => level === 'warn').length, 1);
});

test('waits grow to their bound, never beyond, and end with an abort', async () => {
  const backoff = new Backoff({ firstMs: 100, maxMs: 1_000, random: () => 0.999_999 });
  const waits = Array.from({ length: 40 }, () => backoff.next());
  assert.deepEqual(waits.slice(0, 5), [100, 200, 400, 800, 1_000]);
  assert.equal(Math.max(...waits), 1_000);
  backoff.reset();
  assert.equal(backoff.next(), 100);
  assert.equal(new Backoff({ firstMs: 100, maxMs: 1_000, random: () => 0 }).next(), 0);
  assert.equal(await pause(60_000, AbortSignal.abort()), false);
  assert.equal(await pause(0, new AbortController().signal), true);
});
