import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { UserCertificates } from '@sallyport/contracts/api/auth-routes.ts';
import { SqliteStore } from '../store/sqlite-store.ts';
import { type BrowserLogInLimits, BrowserLogIns } from './browser-log-ins.ts';

const secret = 'known to the client alone';
const order = {
  ssh_public_key: 'AAAA',
  tls_public_key: 'tls key',
  user: 'ana',
  secret_sha256: createHash('sha256').update(secret).digest('hex'),
  remote_addr: '192.0.2.1',
};
const issued = (user: string) => ({ user }) as unknown as UserCertificates;
const forgotten = { kind: 'not_found', code: 'auth.no_log_in' };

/** Two auth servers on one store, and a clock. */
async function open(t: TestContext, limits: Partial<BrowserLogInLimits> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-log-ins-'));
  let clock = Date.UTC(2026, 2, 1, 12);
  const now = () => new Date(clock);
  const store = await SqliteStore.open(folder, { now });
  t.after(async () => {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });
  const [here, there] = [1, 2].map(() => new BrowserLogIns(store, now, limits));
  assert.ok(here && there);
  return {
    ...{ store, here, there },
    advance: (ms: number) => {
      clock += ms;
    },
  };
}

test('a log-in begins at one auth server, is completed at another, and its result goes once, to whoever knows the secret', async (t) => {
  const { store, here, there } = await open(t);
  const { id, code } = await here.begin(order);
  assert.match(code, /^[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}$/);
  assert.deepEqual(await here.result(id, secret), { state: 'waiting' });
  const read = await there.read(id);
  assert.deepEqual(read.order, order, 'the keys are those of the beginning');
  await store.commit(there.completion(read, issued('ana')));
  await assert.rejects(there.result(id, 'a guess'), forgotten);
  assert.deepEqual(await here.result(id, secret), { state: 'done', certificates: issued('ana') });
  await assert.rejects(there.result(id, secret), forgotten);
});

test('of two who complete one log-in, one finds a conflict', async (t) => {
  const { store, here } = await open(t);
  const { id } = await here.begin(order);
  const read = await here.read(id);
  const results = await Promise.allSettled(
    ['ana', 'eve'].map((user) => store.commit(here.completion(read, issued(user)))),
  );
  assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  await assert.rejects(here.read(id), forgotten, 'nobody completes it any more');
});

test('a refusal is told to the client, once, and closes the log-in', async (t) => {
  const { here, there } = await open(t);
  const { id } = await here.begin(order);
  await there.refuse(id, { message: 'No role.', hint: 'Ask.' });
  await assert.rejects(here.read(id), forgotten);
  assert.deepEqual(await here.result(id, secret), { state: 'refused', message: 'No role.', hint: 'Ask.' });
  await assert.rejects(here.result(id, secret), forgotten);
});

test('log-ins run out, before they are completed and after', async (t) => {
  const { store, here, advance } = await open(t, { openMs: 60_000, doneMs: 30_000 });
  const open1 = await here.begin(order);
  const done = await here.begin(order);
  await store.commit(here.completion(await here.read(done.id), issued('ana')));
  advance(31_000);
  assert.deepEqual(await here.result(done.id, secret), { state: 'waiting' }, 'what came of it is gone');
  advance(30_000);
  await assert.rejects(here.result(open1.id, secret), forgotten);
  await assert.rejects(here.read(open1.id), forgotten);
});

test('so many wait at once in all, and so many of one network', async (t) => {
  const { here } = await open(t, { max: 3, maxPerAddress: 2 });
  await here.begin(order);
  await here.begin(order);
  await assert.rejects(here.begin(order), { kind: 'limit' });
  await here.begin({ ...order, remote_addr: '192.0.2.2' });
  await assert.rejects(here.begin({ ...order, remote_addr: '192.0.2.3' }), { kind: 'limit' });
});
