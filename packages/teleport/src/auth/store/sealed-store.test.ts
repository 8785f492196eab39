import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { SealedStore, SealingKey } from './sealed-store.ts';
import { SqliteStore } from './sqlite-store.ts';
import { storeContract } from './store.contract.ts';

const hex = 'c0'.repeat(32);
const cleanup: (() => unknown)[] = [];
after(async () => {
  for (const each of cleanup.reverse()) await each();
});

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'sallyport-sealed-'));
  cleanup.push(() => rm(path, { recursive: true, force: true }));
  return path;
}

// Everything sealed: what a store does, a sealed one does.
storeContract('SealedStore', async () => {
  const path = await folder();
  let clock = Date.now();
  const now = () => new Date(clock);
  return {
    now,
    advance: (ms) => {
      clock += ms;
    },
    async open() {
      const plain = await SqliteStore.open(path, { now, pollMs: 10, sweepMs: 20 });
      cleanup.push(() => plain.close());
      return new SealedStore(plain, new SealingKey(hex), ['']);
    },
  };
});

async function plainStore(t: TestContext): Promise<SqliteStore> {
  const store = await SqliteStore.open(await folder());
  t.after(() => store.close());
  return store;
}

const put = (key: string, value: string) => ({ type: 'put' as const, key, value });

test('secrets are sealed, everything else is in the clear', async (t) => {
  const plain = await plainStore(t);
  const sealed = new SealedStore(plain, new SealingKey(hex));
  await sealed.commit([put('credential/alice', 'hash'), put('role/ops', 'open')]);
  assert.match((await plain.get('credential/alice'))?.value ?? '', /^sealed:1:[0-9a-f]{16}:/);
  assert.equal((await plain.get('role/ops'))?.value, 'open');
  assert.equal((await sealed.get('credential/alice'))?.value, 'hash');
});

test('a value that was changed, moved to another key, or sealed with another key does not open', async (t) => {
  const plain = await plainStore(t);
  const sealed = new SealedStore(plain, new SealingKey(hex));
  await sealed.commit([put('credential/alice', 'hash')]);
  const value = (await plain.get('credential/alice'))?.value ?? '';
  await plain.commit([put('credential/mallory', value)]);
  await assert.rejects(sealed.get('credential/mallory'), { code: 'store.damaged' });
  await plain.commit([put('credential/alice', `${value.slice(0, -4)}AAAA`)]);
  await assert.rejects(sealed.get('credential/alice'), { code: 'store.damaged' });
  await plain.commit([put('credential/alice', value)]);
  const other = new SealedStore(plain, new SealingKey('d1'.repeat(32)));
  await assert.rejects(other.get('credential/alice'), { code: 'store.sealed', hint: /same key/ });
  const none = new SealedStore(plain, undefined);
  await assert.rejects(none.get('credential/alice'), { code: 'store.sealed', message: /no key/ });
});

test('what was there before is read as it is, and sealed when asked', async (t) => {
  const plain = await plainStore(t);
  await plain.commit([put('credential/alice', 'hash'), put('secret/a', 's'), put('user/alice', 'u')]);
  const sealed = new SealedStore(plain, new SealingKey(hex));
  assert.equal((await sealed.get('credential/alice'))?.value, 'hash');
  assert.equal(await sealed.sealAll(), 2);
  assert.equal(await sealed.sealAll(), 0);
  assert.match((await plain.get('credential/alice'))?.value ?? '', /^sealed:/);
  assert.equal((await sealed.get('credential/alice'))?.value, 'hash');
});

test('a key of fewer than 32 bytes is refused; hex and base64 are the same key', () => {
  assert.throws(() => new SealingKey('abcd'), { code: 'store.bad_key' });
  assert.equal(new SealingKey(Buffer.from(hex, 'hex').toString('base64')).id, new SealingKey(`${hex}\n`).id);
});
