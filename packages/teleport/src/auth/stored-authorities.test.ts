import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Authorities } from '../ca/authorities.ts';
import { AuthorityFiles } from '../ca/authority-files.ts';
import { authorityVaultContract } from '../ca/authority-vault.contract.ts';
import { temporaryDirectory } from '../temporary-directory.fixture.ts';
import { SealedStore, SealingKey } from './store/sealed-store.ts';
import { SqliteStore } from './store/sqlite-store.ts';
import type { Store } from './store/store.ts';
import { StoredAuthorities } from './stored-authorities.ts';

const now = () => new Date();
const prod = { clusterName: 'prod', create: true, now } as const;

async function openStore(t: TestContext, dir: string): Promise<Store> {
  const store = await SqliteStore.open(dir, { pollMs: 10 });
  t.after(() => store.close());
  return store;
}

authorityVaultContract('AuthorityFiles', async (t) => {
  const dir = await temporaryDirectory(t);
  return { shared: false, open: () => new AuthorityFiles(dir) };
});

authorityVaultContract('StoredAuthorities', async (t) => {
  const dir = await temporaryDirectory(t);
  const stores = [await openStore(t, dir), await openStore(t, dir)] as const;
  let turn = 0;
  return { shared: true, open: () => new StoredAuthorities({ store: stores[turn++ % 2 === 0 ? 0 : 1] }) };
});

authorityVaultContract('StoredAuthorities, sealed', async (t) => {
  const store = new SealedStore(
    await openStore(t, await temporaryDirectory(t)),
    new SealingKey('ab'.repeat(32)),
  );
  return { shared: true, open: () => new StoredAuthorities({ store }) };
});

test('an empty store takes over the authorities this host had as files, in the midst of a rotation too', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const files = await Authorities.open({ dataDir, ...prod });
  await files.rotate('host', 'init');
  const store = await openStore(t, await temporaryDirectory(t));
  const seed = () => new AuthorityFiles(dataDir).texts();
  const stored = await Authorities.open({ vault: new StoredAuthorities({ store, seed }), ...prod });
  t.after(() => stored.close());
  assert.deepEqual(stored.trust(), files.trust());
  assert.deepEqual(stored.documents(), files.documents());
  const other = await temporaryDirectory(t);
  await Authorities.open({ dataDir: other, ...prod });
  const elsewhere = () => new AuthorityFiles(other).texts();
  const second = await Authorities.open({
    vault: new StoredAuthorities({ store, seed: elsewhere }),
    ...prod,
  });
  t.after(() => second.close());
  assert.deepEqual(second.trust(), files.trust(), 'what is in the store counts');
});

test('no private key of an authority is in a sealed store in the clear', async (t) => {
  const plain = await openStore(t, await temporaryDirectory(t));
  const store = new SealedStore(plain, new SealingKey('ab'.repeat(32)));
  await new StoredAuthorities({ store }).open(prod);
  const texts = (await plain.range('ca/')).map(({ value }) => value).join('\n');
  assert.match(texts, /^sealed:1:/m);
  assert.doesNotMatch(texts, /PRIVATE KEY/);
});

test('a lost or damaged key in the store is named, and never made anew', async (t) => {
  const store = await openStore(t, await temporaryDirectory(t));
  const vault = new StoredAuthorities({ store });
  await vault.open(prod);
  await store.commit([{ type: 'put', key: 'ca/keys/host_ca', value: 'damaged' }]);
  await assert.rejects(vault.open(prod), { code: 'ca.bad_key_file', message: /ca\/keys\/host_ca/ });
  await store.commit([{ type: 'delete', key: 'ca/keys/host_ca' }]);
  await assert.rejects(vault.open(prod), { code: 'ca.no_key', hint: /backup/ });
});
