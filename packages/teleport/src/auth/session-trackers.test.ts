import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import type { RoleDocument } from '@sallyport/contracts/api/resources.ts';
import type { SessionReport } from '@sallyport/contracts/api/session-trackers.ts';
import {
  addUser,
  admin,
  type Cluster,
  call,
  joinHost,
  newHost,
  openCluster,
  person,
} from './auth-service.fixture.ts';
import { trackerTtlMs } from './session-trackers.ts';

const report = (owner: string, more: Partial<SessionReport> = {}): SessionReport => ({
  sid: randomUUID(),
  state: 'running',
  login: 'root',
  owner,
  owner_roles: ['access'],
  started: '2026-03-01T12:00:00.000Z',
  participants: [{ user: owner, mode: 'owner', joined: '2026-03-01T12:00:00.000Z' }],
  ...more,
});

async function openNodes(t: TestContext) {
  const cluster = await openCluster(t);
  const [one, two] = [newHost('web-1'), newHost('web-2')];
  const token = 'static-secret';
  for (const host of [one, two]) await joinHost(cluster, host, token);
  const tell = (host: typeof one, live: SessionReport[], over: string[] = []) =>
    cluster.service.handlers.reportSessions(call({ live, over }), cluster.as(host.caller));
  const list = async (caller = admin) =>
    (await cluster.service.handlers.listSessions(call(undefined), cluster.as(caller))).sessions;
  return { cluster, one, two, tell, list };
}

async function putRole(cluster: Cluster, name: string, allow: NonNullable<RoleDocument['spec']>['allow']) {
  const body: RoleDocument = { kind: 'role', metadata: { name }, spec: { allow } };
  const params = { kind: 'role' as const, name };
  await cluster.service.handlers.putResource({ params, query: { mode: 'create' }, body }, cluster.as(admin));
}

test('a session is listed with the node that reported it, until that says it is over', async (t) => {
  const { one, tell, list } = await openNodes(t);
  const session = report('ana');
  await tell(one, [session]);
  const [tracker] = await list();
  assert.deepEqual(
    [tracker?.metadata.name, tracker?.spec.hostname, tracker?.spec.server_id, tracker?.spec.owner],
    [session.sid, 'web-1', one.local.hostUuid, 'ana'],
  );
  await tell(one, [{ ...session, state: 'paused' }]);
  assert.equal((await list())[0]?.spec.state, 'paused');
  await tell(one, [], [session.sid]);
  assert.deepEqual(await list(), []);
});

test('the sessions of a node that reports no more go away by themselves', async (t) => {
  const { cluster, one, tell, list } = await openNodes(t);
  const session = report('ana');
  await tell(one, [session]);
  cluster.advance(trackerTtlMs - 1_000);
  await tell(one, [session]);
  cluster.advance(trackerTtlMs - 1_000);
  assert.equal((await list()).length, 1);
  cluster.advance(2_000);
  assert.deepEqual(await list(), []);
});

test('a node can neither take nor end a session of another', async (t) => {
  const { one, two, tell, list } = await openNodes(t);
  const session = report('ana');
  await tell(one, [session]);
  await tell(two, [{ ...session, owner: 'eve' }], []);
  await tell(two, [], [session.sid]);
  assert.deepEqual(
    (await list()).map(({ spec }) => [spec.owner, spec.hostname]),
    [['ana', 'web-1']],
  );
});

test('people see their own sessions and those they may join, auditors all, and nobody else any', async (t) => {
  const { cluster, one, tell, list } = await openNodes(t);
  await putRole(cluster, 'helper', {
    join_sessions: [{ name: 'x', roles: ['access'], kinds: ['ssh'], modes: ['peer', 'observer'] }],
  });
  for (const [name, roles] of [
    ['ana', ['access']],
    ['pete', ['helper']],
    ['otto', ['auditor']],
    ['eve', ['access']],
  ] as const) {
    await addUser(cluster, name, [...roles]);
  }
  const session = report('ana');
  await tell(one, [session]);
  const modes = async (name: string) => (await list(person(name))).map(({ spec }) => spec.join_modes);
  assert.deepEqual(await modes('ana'), [['observer', 'peer']]);
  assert.deepEqual(await modes('pete'), [['observer', 'peer']]);
  assert.deepEqual(await modes('otto'), [[]]);
  assert.deepEqual(await modes('eve'), []);
  const get = (name: string) =>
    cluster.service.handlers.getSession(
      { params: { sid: session.sid }, query: undefined, body: undefined },
      cluster.as(person(name)),
    );
  assert.equal((await get('pete')).spec.owner, 'ana');
  await assert.rejects(get('eve'), { code: 'auth.no_session' });
});

test('a role whose filter cannot be read is refused, with the place and the column', async (t) => {
  const cluster = await openCluster(t);
  const policy = { name: 'x', filter: 'contains(user.spec.roles, "a"', kinds: ['ssh' as const] };
  await assert.rejects(
    putRole(cluster, 'watched', { require_session_join: [{ ...policy, modes: ['moderator'], count: 1 }] }),
    /spec.allow.require_session_join\[0\].filter: column 30: expected \)/,
  );
});

test('whoever may only join sessions gets a certificate with no login but the one for that', async (t) => {
  const cluster = await openCluster(t);
  await putRole(cluster, 'helper', {
    join_sessions: [{ name: 'x', roles: ['access'], kinds: ['ssh'], modes: ['peer'] }],
  });
  await addUser(cluster, 'pete', ['helper'], []);
  const key = newHost().local.sshPublicKey.toString('base64');
  const { logins } = await cluster.service.handlers.issueCertificates(
    { params: { name: 'pete' }, query: undefined, body: { ssh_public_key: key } },
    cluster.as(admin),
  );
  assert.deepEqual(logins, []);
  assert.deepEqual((cluster.last('TC000I')['identity'] as { principals: string[] }).principals, [
    '-teleport-internal-join',
  ]);
});
