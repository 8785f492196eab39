import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResourceDocument } from '@sallyport/contracts/api/resources.ts';
import {
  admin,
  type Cluster,
  joinHost,
  newHost,
  openCluster,
  proxy,
  type TestHost,
} from './auth-service.fixture.ts';
import type { WatchLine } from './resource-watch.ts';

function watch(
  cluster: Cluster,
  kinds: string,
  signal = new AbortController().signal,
  caller = proxy,
  after?: string,
) {
  const lines = cluster.service.handlers.watch(
    { params: undefined, query: { kinds, ...(after === undefined ? {} : { after }) }, body: undefined },
    cluster.as(caller, { signal }),
  );
  return lines[Symbol.asyncIterator]();
}

async function take(lines: AsyncIterator<WatchLine>, count: number): Promise<string[]> {
  const told: string[] = [];
  while (told.length < count) {
    const { value, done } = await lines.next();
    if (done === true) break;
    const line: WatchLine = value;
    if (line.type === 'put') told.push(`put ${line.resource.kind} ${line.resource.metadata.name}`);
    else told.push(line.type === 'delete' ? `delete ${line.kind} ${line.name}` : line.type);
  }
  return told;
}

const put = (cluster: Cluster, body: ResourceDocument) =>
  cluster.service.handlers.putResource(
    { params: { kind: body.kind, name: body.metadata.name }, query: {}, body },
    cluster.as(admin),
  );
const remove = (cluster: Cluster, kind: 'lock' | 'role' | 'node', name: string) =>
  cluster.service.handlers.deleteResource(
    { params: { kind, name }, query: undefined, body: undefined },
    cluster.as(admin),
  );
const lock = (name: string, expires?: string): ResourceDocument => ({
  kind: 'lock',
  metadata: expires === undefined ? { name } : { name, expires },
  spec: { target: { user: 'ana' } },
});

test('a watch tells everything there is, then that this is all, then each change', async (t) => {
  const cluster = await openCluster(t);
  await put(cluster, lock('old'));
  const lines = watch(cluster, 'role,lock');
  assert.deepEqual(await take(lines, 5), [
    'put role access',
    'put role auditor',
    'put role editor',
    'put lock old',
    'synced',
  ]);
  await put(cluster, lock('new'));
  await remove(cluster, 'lock', 'old');
  assert.deepEqual(await take(lines, 2), ['put lock new', 'delete lock old']);
  await put(cluster, { kind: 'role', metadata: { name: 'access' }, spec: {} });
  assert.deepEqual(await take(lines, 1), ['put role access']);
  await remove(cluster, 'role', 'access');
  assert.deepEqual(await take(lines, 1), ['put role access']);
});

test('a watch tells when a lock ends by itself', async (t) => {
  const cluster = await openCluster(t);
  const lines = watch(cluster, 'lock');
  assert.deepEqual(await take(lines, 1), ['synced']);
  await put(cluster, lock('short', new Date(cluster.now().getTime() + 1000).toISOString()));
  assert.deepEqual(await take(lines, 1), ['put lock short']);
  cluster.advance(1001);
  assert.deepEqual(await take(lines, 1), ['delete lock short']);
});

test('a watch tells of a rotation', async (t) => {
  const cluster = await openCluster(t);
  const lines = watch(cluster, 'cert_authority');
  assert.deepEqual(await take(lines, 3), ['put cert_authority host', 'put cert_authority user', 'synced']);
  const { phases } = await cluster.service.handlers.rotate(
    { params: undefined, query: undefined, body: { type: 'user', phase: 'init' } },
    cluster.as(admin),
  );
  assert.equal(phases['user'], 'init');
  assert.deepEqual((await take(lines, 2)).sort(), ['put cert_authority host', 'put cert_authority user']);
});

test('a lock on its caller, or the caller’s removal, ends a watch that is open', async (t) => {
  const cluster = await openCluster(t);
  for (const end of [
    (host: TestHost) =>
      put(cluster, { ...lock('l'), spec: { target: { node: host.local.hostUuid } } } as ResourceDocument),
    (host: TestHost) => remove(cluster, 'node', host.local.hostUuid),
  ]) {
    const host = newHost();
    await joinHost(cluster, host);
    const lines = watch(cluster, 'role', undefined, host.caller);
    assert.equal((await take(lines, 4)).at(-1), 'synced');
    await put(cluster, lock('other'));
    const next = lines.next();
    await end(host);
    await assert.rejects(next, { kind: 'denied', code: 'auth.not_admitted' });
  }
});

test('a watch ends when its caller hangs up, and knows which kinds there are', async (t) => {
  const cluster = await openCluster(t);
  const hangUp = new AbortController();
  const lines = watch(cluster, 'lock', hangUp.signal);
  assert.deepEqual(await take(lines, 1), ['synced']);
  const next = lines.next();
  hangUp.abort();
  assert.equal((await next).done, true);
  await assert.rejects(watch(cluster, 'lock,secrets').next(), { code: 'auth.bad_kind' });
  await assert.rejects(watch(cluster, 'token').next(), { code: 'auth.bad_kind' });
  await assert.rejects(watch(cluster, 'user').next(), { kind: 'denied' });
});

/** Reads up to `synced`; resolves to the position it tells, and what was told before. */
async function begin(lines: AsyncIterator<WatchLine>): Promise<{ told: string[]; position: string }> {
  const told: string[] = [];
  for (;;) {
    const { value, done } = await lines.next();
    assert.ok(done !== true);
    const line: WatchLine = value;
    if (line.type === 'synced') return { told, position: line.position ?? '' };
    if (line.type === 'put') told.push(`put ${line.resource.kind} ${line.resource.metadata.name}`);
    else told.push(line.type === 'delete' ? `delete ${line.kind} ${line.name}` : line.type);
  }
}

test('a watch that goes on from a position tells what changed since, and nothing else', async (t) => {
  const cluster = await openCluster(t);
  const role = (name: string): ResourceDocument => ({ kind: 'role', metadata: { name }, spec: {} });
  await put(cluster, lock('stays'));
  await put(cluster, lock('goes'));
  await put(cluster, role('access'));
  const asked = 'role,lock,cert_authority';
  const from = (after: string) => watch(cluster, asked, undefined, undefined, after);
  const first = from('');
  const { told, position } = await begin(first);
  assert.ok(told.length === 7 && position !== '', told.join());
  await put(cluster, lock('comes'));
  const { value } = await first.next();
  assert.ok(value.type === 'put' && value.position !== undefined);
  await first.return?.();
  await remove(cluster, 'lock', 'goes');
  await remove(cluster, 'role', 'access');
  const later = await begin(from(value.position));
  assert.equal(later.told[0], 'resumed');
  const changes = later.told.filter((line) => !line.includes('cert_authority')).slice(1);
  assert.deepEqual(changes.sort(), ['delete lock goes', 'put role access'], 'the built-in one is back');
  const whole = await begin(from(position));
  assert.ok(whole.told.includes('put lock comes') && whole.told.includes('delete lock goes'));
  for (const unknown of [`${position}9`, position.replace(/^[^~]*/, '0.0.1'), 'x'])
    assert.equal((await begin(from(unknown))).told.includes('resumed'), false, unknown);
});

test('who asks for no positions is told none', async (t) => {
  const cluster = await openCluster(t);
  const lines = watch(cluster, 'lock');
  assert.equal((await begin(lines)).position, '');
  await put(cluster, lock('new'));
  const { value } = await lines.next();
  assert.deepEqual(Object.keys(value).sort(), ['resource', 'type']);
});
