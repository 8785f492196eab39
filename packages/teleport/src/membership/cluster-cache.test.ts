import assert from 'node:assert/strict';
import { readFile, stat, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { createClient } from '@sallyport/contracts/api/client.ts';
import type { ResourceDocument } from '@sallyport/contracts/api/resources.ts';
import fc from 'fast-check';
import { AuthStub, collectLog, makeMember, type TestMember, until } from './auth-stub.fixture.ts';
import { Backoff } from './backoff.ts';
import { ClusterCache, type ClusterCacheOptions } from './cluster-cache.ts';
import { memberTransport } from './membership.ts';
import { ResourceSet } from './resource-set.ts';

const kinds = ['cert_authority', 'role', 'lock', 'node', 'proxy'] as const;
const fast = () => new Backoff({ firstMs: 5, maxMs: 20 });

const node = (name: string, hostname = name, expires?: string): ResourceDocument => ({
  kind: 'node',
  metadata: expires === undefined ? { name } : { name, expires },
  spec: { hostname, tunnel: true, labels: {}, version: '1.2.3' },
});
const lock = (name: string, expires?: string): ResourceDocument => ({
  kind: 'lock',
  metadata: expires === undefined ? { name } : { name, expires },
  spec: { target: { user: 'alice' } },
});

async function startCache(
  t: TestContext,
  stub: AuthStub,
  { host, ...more }: Partial<ClusterCacheOptions> & { readonly host?: TestMember } = {},
) {
  const { dataDir, member } = host ?? (await makeMember(t, stub.authorities));
  const transport = memberTransport(member, [stub.address]);
  const log = collectLog();
  const cache = await ClusterCache.start({
    client: createClient(authRoutes, transport),
    kinds,
    path: join(dataDir, 'cluster-cache.json'),
    trust: member.trust,
    now: () => new Date(),
    log,
    backoff: fast(),
    ...more,
  });
  t.after(async () => {
    await cache.close();
    transport.close();
  });
  return { cache, log, host: { dataDir, member } };
}

const names = (cache: ClusterCache) => cache.nodes.map(({ metadata }) => metadata.name);

test('puts and deletions of the watch show at once, and each change is told', async (t) => {
  const stub = await AuthStub.start(t);
  const { cache } = await startCache(t, stub);
  let told = 0;
  cache.onChange(() => told++);
  await until('it is synced', () => cache.synced);
  assert.equal(cache.state.connected, true);
  stub.tell({ type: 'put', resource: node('a') });
  stub.tell({ type: 'put', resource: node('b') });
  stub.tell({ type: 'delete', kind: 'node', name: 'a' });
  await until('b alone is left', () => names(cache).join() === 'b');
  const before = told;
  stub.tell({ type: 'put', resource: node('b', 'b', '2030-01-01T00:00:00Z') });
  stub.tell({ type: 'put', resource: lock('last') });
  await until('the lock is here', () => cache.locks.length === 1);
  assert.equal(told, before + 1, 'a heartbeat changes nothing');
  assert.equal(cache.nodes[0]?.metadata.expires, '2030-01-01T00:00:00Z', 'but it is kept');
});

test('while auth is away everything stays; what was deleted meanwhile goes when it is back', async (t) => {
  const stub = await AuthStub.start(t);
  const { cache, log } = await startCache(t, stub);
  await until('it is synced', () => cache.synced);
  stub.tell({ type: 'put', resource: node('a') });
  await until('a is here', () => names(cache).join() === 'a');
  const heard = cache.state.heard;
  await stub.stop();
  await until('the loss shows', () => !cache.state.connected);
  assert.deepEqual(names(cache), ['a']);
  assert.ok(heard !== undefined && cache.state.heard !== undefined);
  await until('why is told', () => /nothing listens there/.test(cache.state.problem ?? ''));
  assert.equal(
    log.lines.filter(({ level }) => level === 'warn').length,
    1,
    'told once, not at every attempt',
  );
  await stub.listen();
  await until('it is back', () => cache.state.connected);
  assert.deepEqual(names(cache), []);
});

test('settings of the cluster are here once heard of, change with the watch and are kept on disk', async (t) => {
  const settings = (mode: 'node' | 'off'): ResourceDocument => ({
    kind: 'cluster_settings',
    metadata: { name: 'cluster_settings' },
    spec: { cluster_name: 'test', disconnect_expired_cert: true, session_recording: mode },
  });
  const stub = await AuthStub.start(t);
  const { cache, host } = await startCache(t, stub, { kinds: [...kinds, 'cluster_settings'] });
  await until('it is synced', () => cache.synced);
  assert.equal(cache.settings, undefined);
  stub.tell({ type: 'put', resource: settings('node') });
  await until('they are here', () => cache.settings?.session_recording === 'node');
  stub.tell({ type: 'put', resource: settings('off') });
  await until('they changed', () => cache.settings?.session_recording === 'off');
  await cache.close();
  await stub.stop();
  const again = await startCache(t, stub, { host });
  assert.equal(again.cache.settings?.session_recording, 'off');
});

test('what is known outlives a restart in a time without auth', async (t) => {
  const stub = await AuthStub.start(t);
  const { cache, host } = await startCache(t, stub);
  await until('it is synced', () => cache.synced);
  stub.tell({ type: 'put', resource: lock('everlasting') });
  await until('the lock is here', () => cache.locks.length === 1);
  await cache.close();
  assert.equal((await stat(join(host.dataDir, 'cluster-cache.json'))).mode & 0o777, 0o600);
  await stub.stop();
  const { cache: again } = await startCache(t, stub, { host });
  assert.deepEqual([again.synced, again.state.connected], [true, false]);
  assert.equal(again.locks[0]?.metadata.name, 'everlasting');
  assert.deepEqual(again.trust, cache.trust);
  assert.ok(again.state.heard !== undefined, 'and how old it is');
});

test('a change is on disk soon, without a close', async (t) => {
  const stub = await AuthStub.start(t);
  const { cache, host } = await startCache(t, stub);
  await until('it is synced', () => cache.synced);
  stub.tell({ type: 'put', resource: node('kept') });
  let text = '';
  const read = async () => {
    text = await readFile(join(host.dataDir, 'cluster-cache.json'), 'utf8').catch(() => '');
  };
  await until('the file has it', () => {
    void read();
    return text.includes('"kept"');
  });
});

test('a damaged file, or one of another cluster, is as good as none', async (t) => {
  const stub = await AuthStub.start(t);
  const host = await makeMember(t, stub.authorities);
  const path = join(host.dataDir, 'cluster-cache.json');
  await stub.stop();
  const foreign = { version: 1, cluster_name: 'staging', resources: [node('a')] };
  for (const text of ['{"version":1,', JSON.stringify(foreign)]) {
    await writeFile(path, text, { mode: 0o600 });
    const { cache } = await startCache(t, stub, { host });
    assert.deepEqual([cache.synced, names(cache)], [false, []]);
    assert.deepEqual(cache.trust, host.member.trust);
    await cache.close();
  }
});

test('locks end by the clock, auth reachable or not; nodes do not', async (t) => {
  const stub = await AuthStub.start(t);
  let ahead = 0;
  const { cache } = await startCache(t, stub, { now: () => new Date(Date.now() + ahead) });
  await until('it is synced', () => cache.synced);
  const expires = new Date(Date.now() + 60_000).toISOString();
  stub.tell({ type: 'put', resource: node('a', 'a', expires) });
  stub.tell({ type: 'put', resource: lock('short', expires) });
  await until('the lock is here', () => cache.locks.length === 1);
  ahead = 61_000;
  assert.equal(cache.locks.length, 0);
  assert.deepEqual(names(cache), ['a'], 'a host is gone when auth says so');
});

test('a rotation changes the trust at once', async (t) => {
  const stub = await AuthStub.start(t);
  const { cache } = await startCache(t, stub);
  await until('it is synced', () => cache.synced);
  const before = cache.trust;
  await stub.authorities.rotate('all', 'init');
  for (const resource of stub.authorities.documents()) stub.tell({ type: 'put', resource });
  await until('both hosts authorities are trusted', () => cache.trust.tls_host_cas.length === 2);
  await until('and both of users', () => cache.trust.ssh_user_cas.length === 2);
  assert.deepEqual(cache.trust, stub.authorities.trust());
  assert.notEqual(cache.trust, before);
});

test('authorities of another cluster, or half of a pair, change no trust', async (t) => {
  const stub = await AuthStub.start(t);
  const other = await AuthStub.start(t, { clusterName: 'staging' });
  const { cache } = await startCache(t, stub);
  await until('it is synced', () => cache.synced);
  const before = cache.trust;
  for (const resource of other.authorities.documents()) stub.tell({ type: 'put', resource });
  stub.tell({ type: 'put', resource: lock('after') });
  await until('all was heard', () => cache.locks.length === 1);
  assert.equal(cache.trust, before);
  stub.tell({ type: 'delete', kind: 'cert_authority', name: 'user' });
  stub.tell({ type: 'delete', kind: 'lock', name: 'after' });
  await until('all was heard', () => cache.locks.length === 0);
  assert.equal(cache.trust, before);
});

test('a watch that falls silent is given up and begun anew; its alive lines keep it', async (t) => {
  const stub = await AuthStub.start(t);
  const { cache } = await startCache(t, stub, { silenceMs: 200 });
  await until('it is synced', () => cache.synced);
  const alive = setInterval(() => stub.tell({ type: 'alive' }), 20);
  t.after(() => clearInterval(alive));
  const calls = () => stub.count('GET /v1/watch');
  const end = performance.now() + 600;
  await until('600 ms have gone by', () => performance.now() > end);
  assert.equal(calls(), 1);
  clearInterval(alive);
  await until('it watches anew', () => calls() >= 2 && cache.state.connected);
});

test('a watch that breaks before it is synced changes nothing', async (t) => {
  const stub = await AuthStub.start(t);
  const { cache } = await startCache(t, stub);
  await until('it is synced', () => cache.synced);
  stub.tell({ type: 'put', resource: node('a') });
  await until('a is here', () => names(cache).join() === 'a');
  stub.handlers.set('GET /v1/watch', (_, response) => {
    response.write(`${JSON.stringify({ type: 'put', resource: node('b') })}\n`, () =>
      response.socket?.destroy(),
    );
  });
  stub.cut();
  await until('it has tried again', () => stub.count('GET /v1/watch') >= 3);
  assert.deepEqual(names(cache), ['a']);
});

test('five thousand nodes are there within a few seconds of a start', async (t) => {
  const stub = await AuthStub.start(t);
  stub.handlers.set('GET /v1/watch', (_, response) => {
    const lines = Array.from({ length: 5_000 }, (_each, index) => ({
      type: 'put',
      resource: node(`n${index}`),
    }));
    response.write([...lines, { type: 'synced' }].map((line) => `${JSON.stringify(line)}\n`).join(''));
    stub.watchers.add(response);
  });
  const { cache } = await startCache(t, stub);
  await until('all are here', () => cache.nodes.length === 5_000);
  stub.tell({ type: 'delete', kind: 'node', name: 'n17' });
  await until('one is gone', () => cache.nodes.length === 4_999);
});

test('whatever is put and deleted, the set holds what a map would', () => {
  const change = fc.record({
    name: fc.constantFrom('a', 'b', 'c'),
    put: fc.boolean(),
    host: fc.constantFrom('x', 'y'),
  });
  fc.assert(
    fc.property(fc.array(change), (changes) => {
      const set = new ResourceSet();
      const model = new Map<string, string>();
      for (const { name, put, host } of changes) {
        const was = model.get(name);
        if (put) model.set(name, host);
        else model.delete(name);
        const changed = put
          ? set.apply({ type: 'put', resource: node(name, host) })
          : set.apply({ type: 'delete', kind: 'node', name });
        assert.equal(changed, was !== model.get(name));
      }
      assert.equal(set.size, model.size);
      const held = set.of('node').map(({ metadata, spec }) => [metadata.name, spec.hostname]);
      assert.deepEqual(held.sort(), [...model].sort());
      assert.ok(set.same(new ResourceSet(set)));
    }),
  );
});

test('a watch goes on from the last position; auth may send everything, or not know positions', async (t) => {
  const stub = await AuthStub.start(t);
  const asked: (string | null)[] = [];
  const answers: ((response: ServerResponse, after: string | null) => void)[] = [];
  const say = (response: ServerResponse, ...lines: object[]) => {
    for (const line of lines) response.write(`${JSON.stringify(line)}\n`);
  };
  const authorities = stub.authorities.documents().map((resource) => ({ type: 'put', resource }));
  stub.handlers.set('GET /v1/watch', ({ request }, response) => {
    const after = new URL(request.url ?? '', 'http://auth').searchParams.get('after');
    asked.push(after);
    stub.watchers.add(response);
    response.on('close', () => stub.watchers.delete(response));
    answers.shift()?.(response, after);
  });
  const all =
    (...lines: object[]) =>
    (response: ServerResponse) =>
      say(response, ...authorities, ...lines, { type: 'synced', position: 'p1' });
  answers.push(all({ type: 'put', resource: node('a') }, { type: 'put', resource: node('b') }));
  const { cache } = await startCache(t, stub);
  await until('the first state', () => names(cache).length === 2);
  stub.tell({ type: 'put', resource: node('c'), position: 'p2' });
  await until('a change', () => names(cache).length === 3);

  answers.push((response) =>
    say(
      response,
      { type: 'resumed' },
      { type: 'delete', kind: 'node', name: 'a' },
      { type: 'synced', position: 'p3' },
    ),
  );
  stub.cut();
  await until('what changed meanwhile', () => names(cache).join() === 'b,c' && cache.state.connected);

  // Cut before it is synced: the position stays.
  answers.push((response) => say(response, { type: 'resumed' }));
  answers.push(all({ type: 'put', resource: node('d') }));
  stub.cut();
  await until('the watch that is cut', () => asked.length === 3 && stub.watchers.size === 1);
  stub.cut();
  await until('everything anew', () => names(cache).join() === 'd');

  answers.push((response) => {
    const error = { kind: 'bad_input', code: 'api.bad_request', message: 'after is not known' };
    response.writeHead(400).end(JSON.stringify({ error }));
  });
  answers.push(all({ type: 'put', resource: node('e') }));
  stub.cut();
  await until('auth of an older version', () => names(cache).join() === 'e');
  assert.deepEqual(asked, ['', 'p2', 'p3', 'p3', 'p1', null]);
});
