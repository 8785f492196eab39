// What every Store does, whatever it stands on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Role } from './role.ts';
import type { Store } from './store.ts';
import type { User } from './user.ts';

const user = (name: string, ...roles: string[]): User => ({
  name,
  roles,
  traits: { logins: ['root'] },
  created: '2026-01-01T00:00:00Z',
});
const role = (name: string): Role => ({
  name,
  allow: { logins: ['root'], nodeLabels: { env: ['prod'] } },
  deny: { logins: [], nodeLabels: {} },
  options: { maxSessionTtlMs: 1000, enhancedRecording: ['disk'] },
});

/** `open` gives a store over the same place each time; `reopen` twice stands for two processes. */
export function storeContract(name: string, fresh: () => Promise<() => Promise<Store>>): void {
  const it = (sentence: string, body: (store: Store, reopen: () => Promise<Store>) => Promise<void>) =>
    test(`${name}: ${sentence}`, async () => {
      const open = await fresh();
      await body(await open(), open);
    });

  it('what is put comes back, also after reopening', async (store, reopen) => {
    const put = await store.put('role', 'ops', role('ops'), 'create');
    assert.deepEqual(await store.get('role', 'ops'), put);
    assert.deepEqual((await (await reopen()).get('role', 'ops'))?.value, role('ops'));
  });

  it('what was never put is absent, and kinds do not mix', async (store) => {
    await store.put('user', 'ana', user('ana'), 'create');
    assert.equal(await store.get('role', 'ana'), undefined);
    assert.equal(await store.get('user', 'ben'), undefined);
  });

  it('creating twice is a conflict, and the first one stays', async (store) => {
    await store.put('user', 'ana', user('ana', 'first'), 'create');
    await assert.rejects(store.put('user', 'ana', user('ana', 'second'), 'create'), { kind: 'conflict' });
    assert.deepEqual((await store.get('user', 'ana'))?.value.roles, ['first']);
  });

  it('a write with a stale revision is a conflict; with the current one it goes through', async (store) => {
    const first = await store.put('user', 'ana', user('ana'), 'create');
    const second = await store.put('user', 'ana', user('ana', 'a'), { revision: first.revision });
    assert.notEqual(second.revision, first.revision);
    await assert.rejects(store.put('user', 'ana', user('ana', 'b'), { revision: first.revision }), {
      kind: 'conflict',
    });
    await assert.rejects(store.put('user', 'ben', user('ben'), { revision: first.revision }), {
      kind: 'conflict',
    });
    await store.put('user', 'ana', user('ana', 'c'), 'overwrite');
    assert.deepEqual((await store.get('user', 'ana'))?.value.roles, ['c']);
  });

  it('of many who write at once with one revision, exactly one wins', async (store, reopen) => {
    const { revision } = await store.put('user', 'ana', user('ana'), 'create');
    const stores = await Promise.all(Array.from({ length: 8 }, reopen));
    const writes = stores.map((each, i) => each.put('user', 'ana', user('ana', `r${i}`), { revision }));
    const settled = await Promise.allSettled(writes);
    assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1);
    const creates = await Promise.allSettled(
      stores.map((each) => each.put('user', 'new', user('new'), 'create')),
    );
    assert.equal(creates.filter(({ status }) => status === 'fulfilled').length, 1);
  });

  it('a list is sorted by name and complete', async (store) => {
    for (const each of ['zoe', 'ana', 'Ben', 'a/b', '..', 'ü'])
      await store.put('user', each, user(each), 'create');
    assert.deepEqual(
      (await store.list('user')).map((stored) => stored.name),
      ['..', 'Ben', 'a/b', 'ana', 'zoe', 'ü'],
    );
    assert.deepEqual(await store.list('role'), []);
  });

  it('what is deleted is gone, and deleting it again is not_found', async (store) => {
    await store.put('user', 'ana', user('ana'), 'create');
    await store.delete('user', 'ana');
    assert.equal(await store.get('user', 'ana'), undefined);
    await assert.rejects(store.delete('user', 'ana'), { kind: 'not_found' });
  });
}
