import assert from 'node:assert/strict';
import { test } from 'node:test';
import { issuedAt } from '@sallyport/contracts/api/lock.ts';
import type { ResourceDocument, ResourceDocumentKind } from '@sallyport/contracts/api/resources.ts';
import { readTlsIdentity } from '../ca/tls-identity.ts';
import type { Caller } from './api/handler.ts';
import {
  addUser,
  admin,
  type Cluster,
  joinHost,
  logInBody,
  newHost,
  openCluster,
  password,
  person,
  proxy,
  setUpUser,
  type TestHost,
} from './auth-service.fixture.ts';
import { pickNode } from './presence.ts';

type Mode = 'create' | 'upsert' | 'update';

const put = (cluster: Cluster, body: ResourceDocument, mode?: Mode, caller: Caller = admin) =>
  cluster.service.handlers.putResource(
    {
      params: { kind: body.kind, name: body.metadata.name },
      query: mode === undefined ? {} : { mode },
      body,
    },
    cluster.as(caller),
  );
const get = (cluster: Cluster, kind: ResourceDocumentKind, name: string, caller: Caller = admin) =>
  cluster.service.handlers.getResource(
    { params: { kind, name }, query: {}, body: undefined },
    cluster.as(caller),
  );
const list = async (cluster: Cluster, kind: ResourceDocumentKind, caller: Caller = admin) =>
  (
    await cluster.service.handlers.listResources(
      { params: { kind }, query: {}, body: undefined },
      cluster.as(caller),
    )
  ).resources;
const remove = (cluster: Cluster, kind: ResourceDocumentKind, name: string, caller: Caller = admin) =>
  cluster.service.handlers.deleteResource(
    { params: { kind, name }, query: undefined, body: undefined },
    cluster.as(caller),
  );
const namesOf = (resources: readonly ResourceDocument[]) => resources.map(({ metadata }) => metadata.name);

const role = (
  name: string,
  spec: Extract<ResourceDocument, { kind: 'role' }>['spec'] = {},
): ResourceDocument => ({
  kind: 'role',
  metadata: { name },
  spec,
});
const lock = (
  name: string,
  target: { user: string } | { node: string },
  expires?: string,
): ResourceDocument => ({
  kind: 'lock',
  metadata: expires === undefined ? { name } : { name, expires },
  spec: { target },
});

async function announce(
  cluster: Cluster,
  host: TestHost,
  labels: Record<string, string> = {},
  addr?: string,
) {
  const spec = { hostname: host.local.nodename, tunnel: addr === undefined, labels, version: '1.2.3' };
  const body: ResourceDocument = {
    kind: 'node',
    metadata: { name: host.local.hostUuid },
    spec: addr === undefined ? spec : { ...spec, addr },
  };
  return cluster.service.handlers.heartbeat(
    { params: { kind: 'node' }, query: undefined, body },
    cluster.as(host.caller),
  );
}

test('what is written is read back with its description, labels and a revision', async (t) => {
  const cluster = await openCluster(t);
  const document = role('ops', {
    allow: { logins: ['root'], node_labels: { env: ['prod'] } },
    options: { max_session_ttl: '8h' },
  });
  document.metadata.description = 'operators';
  document.metadata.labels = { team: 'x' };
  const written = await put(cluster, document, 'create');
  assert.ok(written.metadata.revision);
  const read = await get(cluster, 'role', 'ops');
  assert.deepEqual(read, written);
  const { revision: _, ...metadata } = read.metadata;
  assert.deepEqual({ ...read, metadata }, document);
});

test('create, update and upsert find what they expect or say what they found', async (t) => {
  const cluster = await openCluster(t);
  await assert.rejects(put(cluster, role('ops'), 'update'), { kind: 'not_found' });
  const first = await put(cluster, role('ops'), 'create');
  await assert.rejects(put(cluster, role('ops'), 'create'), { code: 'auth.already_exists' });
  await put(cluster, first, 'update');
  await assert.rejects(put(cluster, first, 'update'), { code: 'auth.changed_meanwhile' });
  await put(cluster, role('ops'), 'upsert');
  await put(cluster, role('ops'));
  await assert.rejects(
    cluster.service.handlers.putResource(
      { params: { kind: 'role', name: 'other' }, query: {}, body: role('ops') },
      cluster.as(admin),
    ),
    { code: 'auth.bad_resource' },
  );
  await assert.rejects(put(cluster, role('bad', { options: { max_session_ttl: '5s' } })), {
    code: 'auth.bad_resource',
  });
});

test('each change is one event with who did it', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'eve', ['editor'], ['root']);
  cluster.codes();
  const eve = person('eve');
  await put(cluster, role('ops'), 'create', eve);
  await put(cluster, role('ops'), 'upsert', eve);
  await addUser(cluster, 'ana');
  await put(
    cluster,
    { ...(await get(cluster, 'user', 'ana')), spec: { roles: ['ops'] } } as ResourceDocument,
    'update',
    eve,
  );
  await put(cluster, lock('l', { user: 'ana' }), 'create', eve);
  await remove(cluster, 'lock', 'l', eve);
  await remove(cluster, 'user', 'ana', eve);
  await remove(cluster, 'role', 'ops', eve);
  assert.deepEqual(cluster.codes(), [
    'T9000I',
    'T9002I',
    'T1002I',
    'T1003I',
    'TLK00I',
    'TLK01I',
    'T1004I',
    'TLK00I',
    'T9001I',
  ]);
  assert.deepEqual([cluster.last('T9001I')['user'], cluster.last('T9001I')['user_kind']], ['eve', 1]);
  assert.deepEqual(cluster.last('TLK00I')['target'], { user: 'ana' });
});

test('what would be over before it began is refused', async (t) => {
  const cluster = await openCluster(t);
  const past = lock('l', { user: 'ana' }, cluster.now().toISOString());
  await assert.rejects(put(cluster, past), { kind: 'bad_input', message: /in the future/ });
});

test('built-in roles are there, can be replaced, and come back', async (t) => {
  const cluster = await openCluster(t);
  assert.deepEqual(namesOf(await list(cluster, 'role')), ['access', 'auditor', 'editor']);
  await assert.rejects(remove(cluster, 'role', 'editor'), { code: 'auth.preset_role' });
  await put(cluster, role('access', { allow: { logins: ['guest'] } }), 'create');
  await addUser(cluster, 'ana');
  assert.equal(JSON.stringify(await get(cluster, 'role', 'access')).includes('guest'), true);
  await remove(cluster, 'role', 'access');
  assert.equal(JSON.stringify(await get(cluster, 'role', 'access')).includes('internal.logins'), true);
});

test('a role somebody has is not deleted, a role that is not there is not given', async (t) => {
  const cluster = await openCluster(t);
  await put(cluster, role('ops'), 'create');
  await addUser(cluster, 'ana', ['ops']);
  await assert.rejects(remove(cluster, 'role', 'ops'), { code: 'auth.role_in_use', message: /ana/ });
  await assert.rejects(addUser(cluster, 'ben', ['nope']), { code: 'auth.no_role' });
});

test('a user without the right is refused, whatever the resource; rights follow the roles at once', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'ana');
  const ana = person('ana');
  for (const kind of ['role', 'user', 'token', 'lock', 'proxy', 'cert_authority'] as const) {
    await assert.rejects(list(cluster, kind, ana), { kind: 'denied', message: /no role allows to list/ });
    await assert.rejects(remove(cluster, kind, 'x', ana), { kind: 'denied' });
    const told = cluster.last('TAP00W');
    assert.deepEqual([told['user'], told['call']], ['ana', 'DELETE /v1/resources/:kind/:name']);
    assert.match(String(told['error']), /no role allows to delete/);
  }
  await assert.rejects(put(cluster, role('mine'), 'create', ana), { kind: 'denied' });
  assert.equal((await cluster.service.permits(ana, 'event', 'list')).ok, false);
  const user = await get(cluster, 'user', 'ana');
  await put(cluster, { ...user, spec: { roles: ['editor', 'auditor'] } } as ResourceDocument);
  assert.equal((await list(cluster, 'role', ana)).length, 3);
  assert.equal((await cluster.service.permits(ana, 'event', 'list')).ok, true);
});

test('whoever is deleted or locked may do nothing, though the certificate lives on', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'eve', ['editor']);
  const eve = person('eve');
  await list(cluster, 'role', eve);
  const soon = new Date(cluster.now().getTime() + 60_000).toISOString();
  await put(cluster, lock('l', { user: 'eve' }, soon), 'create');
  await assert.rejects(list(cluster, 'role', eve), { kind: 'denied', message: /user "eve" is locked/ });
  assert.deepEqual(await cluster.service.admits(eve), { ok: false, reason: 'user "eve" is locked' });
  cluster.advance(60_000);
  await list(cluster, 'role', eve);
  await remove(cluster, 'user', 'eve');
  await assert.rejects(list(cluster, 'role', eve), { kind: 'denied', message: /no user "eve"/ });
});

test('the certificates of a deleted user are locked until they would have ended; a new user of the name is free', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'ana');
  await setUpUser(cluster, 'ana');
  await remove(cluster, 'user', 'ana');
  const [farewell] = await list(cluster, 'lock');
  assert.ok(farewell?.kind === 'lock');
  assert.deepEqual(farewell.spec.target, { user: 'ana' });
  assert.equal(Date.parse(farewell.metadata.expires ?? '') - cluster.now().getTime(), 30 * 3600_000);
  assert.deepEqual(await cluster.store.range('credential/'), []);
  const old: Caller = { ...person('ana'), issued: cluster.now() } as Caller;
  cluster.advance(2_000);
  await addUser(cluster, 'ana');
  const [kept] = await list(cluster, 'lock');
  assert.ok(kept?.kind === 'lock');
  assert.equal(kept.spec.issued_before, cluster.now().toISOString(), 'the old ones stay locked');
  assert.equal(kept.metadata.expires, farewell.metadata.expires);
  assert.deepEqual(await cluster.service.admits(old), {
    ok: false,
    reason: 'user "ana" is locked: the user was deleted',
  });
  const { code } = await setUpUser(cluster, 'ana');
  cluster.advance(60_000);
  const otp = await code();
  const issued = await cluster.service.handlers.logIn(
    logInBody({ user: 'ana', password, otp }),
    cluster.as(proxy),
  );
  const identity = readTlsIdentity(issued.tls_certificate);
  assert.ok(identity?.kind === 'user');
  const fresh = { ...person('ana'), issued: issuedAt(identity.validAfter) } as Caller;
  assert.deepEqual(await cluster.service.admits(fresh), { ok: true });
});

test('a lock on old certificates names no node', async (t) => {
  const cluster = await openCluster(t);
  const spec = { target: { node: 'web-1' }, issued_before: cluster.now().toISOString() };
  await assert.rejects(put(cluster, { kind: 'lock', metadata: { name: 'l' }, spec }, 'create'), {
    code: 'auth.bad_resource',
  });
});

test('a user shows what they have set up, and cannot write it', async (t) => {
  const cluster = await openCluster(t);
  await addUser(cluster, 'ana');
  const shown = async () => {
    const user = await get(cluster, 'user', 'ana');
    return user.kind === 'user' ? user.spec.status : undefined;
  };
  assert.deepEqual(await shown(), { password: false, mfa_devices: [] });
  await setUpUser(cluster, 'ana');
  const set = { password: true, mfa_devices: [{ name: 'authenticator app', type: 'totp' as const }] };
  assert.deepEqual(await shown(), set);
  const user = await get(cluster, 'user', 'ana');
  assert.ok(user.kind === 'user');
  user.spec.status = { password: false, mfa_devices: [] };
  await put(cluster, user, 'update');
  assert.deepEqual(await shown(), set);
});

test('a user sees the nodes they may log in to, and no others', async (t) => {
  const cluster = await openCluster(t);
  await put(cluster, role('dev', { allow: { logins: ['root'], node_labels: { env: 'dev' } } }));
  await addUser(cluster, 'ana', ['dev']);
  await addUser(cluster, 'eve', ['editor']);
  const [web, db] = [newHost('web-1'), newHost('db-1')];
  for (const host of [web, db]) await joinHost(cluster, host);
  await announce(cluster, web, { env: 'dev' }, '10.0.0.1:3022');
  await announce(cluster, db, { env: 'prod' });
  assert.deepEqual(namesOf(await list(cluster, 'node', person('ana'))), [web.local.hostUuid]);
  assert.deepEqual(await list(cluster, 'node', person('eve')), []);
  assert.deepEqual(namesOf(await list(cluster, 'node', proxy)), [db.local.hostUuid, web.local.hostUuid]);
  assert.equal((await get(cluster, 'node', 'web-1', person('ana'))).metadata.name, web.local.hostUuid);
  await assert.rejects(get(cluster, 'node', 'db-1', person('ana')), { kind: 'not_found' });
  await put(cluster, lock('l', { node: 'web-1' }));
  assert.deepEqual(await list(cluster, 'node', person('ana')), []);
});

test('a node is gone two minutes after its last heartbeat', async (t) => {
  const cluster = await openCluster(t);
  const host = newHost();
  await joinHost(cluster, host);
  const { expires } = await announce(cluster, host);
  assert.equal(Date.parse(expires) - cluster.now().getTime(), 120_000);
  cluster.advance(119_000);
  assert.equal((await list(cluster, 'node')).length, 1);
  await announce(cluster, host);
  cluster.advance(119_000);
  assert.equal((await list(cluster, 'node')).length, 1);
  cluster.advance(1000);
  assert.equal((await list(cluster, 'node')).length, 0);
});

test('a host announces itself only, in its own role, under names that are no proxy’s', async (t) => {
  const cluster = await openCluster(t);
  const [host, other] = [newHost('web-1'), newHost('web-2')];
  for (const each of [host, other]) await joinHost(cluster, each);
  const posing: TestHost = { ...host, local: { ...host.local, hostUuid: other.local.hostUuid } };
  cluster.codes();
  await assert.rejects(announce(cluster, posing), { code: 'presence.foreign_host' });
  assert.deepEqual(cluster.codes(), ['TJ002E']);
  const spec = { hostname: 'x', web_addr: 'x:1', ssh_addr: 'x:2', tunnel_addr: 'x:3', version: '1' };
  const body: ResourceDocument = { kind: 'proxy', metadata: { name: host.local.hostUuid }, spec };
  const asProxy = (kind: 'node' | 'proxy') =>
    cluster.service.handlers.heartbeat({ params: { kind }, query: undefined, body }, cluster.as(host.caller));
  await assert.rejects(asProxy('proxy'), { code: 'presence.wrong_role' });
  await assert.rejects(asProxy('node'), { code: 'presence.wrong_kind' });
});

test('labels of the token a host joined with cannot be talked away', async (t) => {
  const cluster = await openCluster(t);
  const { token } = await cluster.service.handlers.createToken(
    { params: undefined, query: undefined, body: { roles: ['node'], labels: { env: 'prod' } } },
    cluster.as(admin),
  );
  const host = newHost();
  await joinHost(cluster, host, token);
  await announce(cluster, host, { env: 'dev', team: 'x' });
  const [node] = await list(cluster, 'node');
  assert.ok(node?.kind === 'node');
  assert.deepEqual(node.spec.labels, { env: 'prod', team: 'x' });
});

test('two nodes of one name are told apart, never guessed', async (t) => {
  const cluster = await openCluster(t);
  const [a, b] = [newHost('web'), newHost('web')];
  for (const each of [a, b]) await joinHost(cluster, each);
  await announce(cluster, a, {}, '10.0.0.1:3022');
  await announce(cluster, b);
  await assert.rejects(get(cluster, 'node', 'web'), {
    code: 'auth.ambiguous',
    message: /10\.0\.0\.1:3022.*tunnel|tunnel.*10\.0\.0\.1/,
  });
  assert.equal((await get(cluster, 'node', a.local.hostUuid)).metadata.name, a.local.hostUuid);
  assert.throws(() => pickNode([], 'web'), { code: 'auth.no_node' });
});

test('a host reads what it needs to decide by itself, and no more', async (t) => {
  const cluster = await openCluster(t);
  const host = newHost();
  await joinHost(cluster, host);
  for (const kind of ['role', 'lock', 'proxy', 'cert_authority'] as const)
    await list(cluster, kind, host.caller);
  for (const kind of ['user', 'token', 'node'] as const)
    await assert.rejects(list(cluster, kind, host.caller), { kind: 'denied' });
  for (const kind of ['user', 'token'] as const)
    await assert.rejects(list(cluster, kind, proxy), { kind: 'denied' });
  await assert.rejects(put(cluster, role('mine'), 'create', host.caller), { kind: 'denied' });
});
