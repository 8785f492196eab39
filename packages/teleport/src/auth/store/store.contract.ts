// What every Store does, whatever it stands on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Change, Item, Store, Write } from './store.ts';

export interface StorePlace {
  /** Each call stands for one more process that opens the same place. Closed by the suite's caller. */
  open(): Promise<Store>;
  /** Moves the clock of all of them. */
  advance(ms: number): void;
  now(): Date;
}

const put = (key: string, value = 'v', more: Partial<Write & { type: 'put' }> = {}): Write => ({
  type: 'put',
  key,
  value,
  ...more,
});
const keys = (items: readonly Item[]) => items.map(({ key }) => key);

export function storeContract(name: string, fresh: () => Promise<StorePlace>): void {
  const it = (sentence: string, body: (store: Store, place: StorePlace) => Promise<void>) =>
    test(`${name}: ${sentence}`, async () => {
      const place = await fresh();
      await body(await place.open(), place);
    });

  it('what is put comes back, also to another process', async (store, place) => {
    const [item] = await store.commit([put('role/ops', '{"ü":1}')]);
    assert.ok(item);
    assert.deepEqual([item.key, item.value, item.expires], ['role/ops', '{"ü":1}', undefined]);
    assert.deepEqual(await store.get('role/ops'), item);
    assert.deepEqual(await (await place.open()).get('role/ops'), item);
    assert.equal(await store.get('role/op'), undefined);
  });

  it('each write makes a revision of its own, also after a delete', async (store) => {
    const seen = new Set<string | undefined>();
    for (let i = 0; i < 3; i++) {
      seen.add((await store.commit([put('a')]))[0]?.revision);
      seen.add((await store.commit([put('a')]))[0]?.revision);
      await store.commit([{ type: 'delete', key: 'a' }]);
    }
    assert.equal(seen.size, 6);
  });

  it('a write that finds not what it expects changes nothing', async (store) => {
    const conflict = { kind: 'conflict', code: 'store.conflict' };
    const [first] = await store.commit([put('a', '1', { expect: 'nothing' })]);
    assert.ok(first);
    await assert.rejects(store.commit([put('a', '2', { expect: 'nothing' })]), conflict);
    await assert.rejects(store.commit([put('b', '2', { expect: 'something' })]), conflict);
    const [second] = await store.commit([put('a', '2', { expect: { revision: first.revision } })]);
    assert.ok(second);
    await assert.rejects(store.commit([put('a', '3', { expect: { revision: first.revision } })]), conflict);
    await assert.rejects(
      store.commit([{ type: 'delete', key: 'a', expect: { revision: first.revision } }]),
      conflict,
    );
    await assert.rejects(store.commit([{ type: 'delete', key: 'b', expect: 'something' }]), conflict);
    assert.deepEqual(await store.get('a'), second);
    await store.commit([{ type: 'delete', key: 'a', expect: { revision: second.revision } }]);
    assert.equal(await store.get('a'), undefined);
    await store.commit([{ type: 'delete', key: 'a' }]);
  });

  it('a commit is made whole or not at all', async (store) => {
    await store.commit([put('a', '1')]);
    const writes: Write[] = [put('b', '2'), { type: 'delete', key: 'a' }];
    await assert.rejects(store.commit([...writes, { type: 'check', key: 'c', expect: 'something' }]), {
      kind: 'conflict',
    });
    assert.deepEqual(keys(await store.range('')), ['a']);
    await store.commit([...writes, { type: 'check', key: 'c', expect: 'nothing' }]);
    assert.deepEqual(keys(await store.range('')), ['b']);
  });

  it('of many who write at once with one expectation, exactly one wins', async (store, place) => {
    const others = await Promise.all(Array.from({ length: 4 }, () => place.open()));
    const all = [store, ...others];
    const created = await Promise.allSettled(
      all.flatMap((each, i) => [0, 1].map((j) => each.commit([put('a', `${i}${j}`, { expect: 'nothing' })]))),
    );
    assert.equal(created.filter(({ status }) => status === 'fulfilled').length, 1);
    const revision = (await store.get('a'))?.revision ?? '';
    const swapped = await Promise.allSettled(
      all.map((each, i) => each.commit([put('a', `s${i}`, { expect: { revision } })])),
    );
    assert.equal(swapped.filter(({ status }) => status === 'fulfilled').length, 1);
  });

  it('a key that some database cannot hold is refused, the commit as a whole', async (store) => {
    const refused = { kind: 'bad_input', code: 'store.bad_text' };
    await assert.rejects(store.commit([put('a'), put('nul \0')]), refused);
    await assert.rejects(store.commit([put('half \ud800')]), refused);
    await assert.rejects(store.get('\0'), refused);
    await assert.rejects(store.commit([put('long'.repeat(501))]), { code: 'store.key_too_long' });
    assert.deepEqual(keys(await store.range('')), []);
  });

  it('a commit of nothing is made', async (store) => {
    assert.deepEqual(await store.commit([]), []);
  });

  it('commits that are made in a row arrive in that order', async (store) => {
    await Promise.all(Array.from({ length: 50 }, (_, i) => store.commit([put('a', String(i))])));
    assert.equal((await store.get('a'))?.value, '49');
  });

  it('a range is what begins with the prefix, by key, a page at a time', async (store) => {
    for (const key of ['b/2', 'b/10', 'b/ü', 'a/1', 'b', 'bb/1', 'c/1', 'b/%_'])
      await store.commit([put(key)]);
    assert.deepEqual(keys(await store.range('b/')), ['b/%_', 'b/10', 'b/2', 'b/ü']);
    assert.deepEqual(keys(await store.range('b/', { limit: 2 })), ['b/%_', 'b/10']);
    assert.deepEqual(keys(await store.range('b/', { limit: 2, after: 'b/10' })), ['b/2', 'b/ü']);
    assert.deepEqual(keys(await store.range('x')), []);
  });

  it('what has expired is absent to every reader and every condition', async (store, place) => {
    const expires = new Date(place.now().getTime() + 1000);
    await store.commit([put('a', '1', { expires }), put('b', '2')]);
    assert.deepEqual((await store.get('a'))?.expires, expires);
    place.advance(1000);
    assert.equal(await store.get('a'), undefined);
    assert.deepEqual(keys(await store.range('')), ['b']);
    await assert.rejects(store.commit([put('a', '2', { expect: 'something' })]), { kind: 'conflict' });
    await store.commit([put('a', '2', { expect: 'nothing' })]);
    assert.equal((await store.get('a'))?.expires, undefined);
  });

  it('a watch tells what changes from the moment it is asked for, in order', async (store) => {
    await store.commit([put('a/0')]);
    const changes = reader(store.watch({ prefixes: ['a/', 'c/'] }));
    await store.commit([put('a/1', 'x'), put('b/1')]);
    await store.commit([put('c/1')]);
    await store.commit([{ type: 'delete', key: 'a/0' }]);
    assert.deepEqual(await changes(3), ['put a/1 x', 'put c/1 v', 'delete a/0']);
  });

  it('a watch tells what another process changes', async (store, place) => {
    const other = await place.open();
    const changes = reader(store.watch({ prefixes: [''] }));
    await other.commit([put('a')]);
    assert.deepEqual(await changes(1), ['put a v']);
    await other.commit([{ type: 'delete', key: 'a' }]);
    assert.deepEqual(await changes(1), ['delete a']);
  });

  it('a watch tells when something expires', async (store, place) => {
    const changes = reader(store.watch({ prefixes: [''] }));
    await store.commit([put('a', 'v', { expires: new Date(place.now().getTime() + 1000) })]);
    assert.deepEqual(await changes(1), ['put a v']);
    place.advance(1001);
    assert.deepEqual(await changes(1), ['delete a']);
  });

  it('a watch whose reader falls behind says so instead of growing', async (store) => {
    const watch = store.watch({ prefixes: [''], maxQueued: 3 });
    // What this one was told, the other was told before.
    const told = reader(store.watch({ prefixes: ['k'] }));
    for (let i = 0; i < 10; i++) await store.commit([put('same', String(i))]);
    for (let i = 0; i < 5; i++) await store.commit([put(`k${i}`)]);
    await told(5);
    const changes = watch[Symbol.asyncIterator]();
    await assert.rejects(changes.next(), { kind: 'limit', code: 'store.watch_overflow' });
  });

  it('a watch ends with its signal and with the store', async (store) => {
    const stop = new AbortController();
    const first = store.watch({ prefixes: [''], signal: stop.signal })[Symbol.asyncIterator]();
    const second = store.watch({ prefixes: [''] })[Symbol.asyncIterator]();
    const ends = [first.next(), second.next()];
    stop.abort();
    assert.equal((await ends[0])?.done, true);
    await store.close();
    assert.equal((await ends[1])?.done, true);
    await assert.rejects(store.commit([put('a')]), { kind: 'unavailable' });
  });

  it('a watch under load tells each change once, in order, whoever made it', async (store, place) => {
    const writers = [store, await place.open(), await place.open()];
    const watches = [store, await place.open()].map((each) => reader(each.watch({ prefixes: ['w'] })));
    const perWriter = 60;
    const written = writers.map(async (writer, w) => {
      for (let i = 0; i < perWriter; i++) await writer.commit([put(`w${w}/${i}`, String(i))]);
    });
    await Promise.all(written);
    for (const changes of watches) {
      const told = await changes(writers.length * perWriter);
      assert.equal(new Set(told).size, told.length, 'none twice');
      for (const w of writers.keys()) {
        const own = told.filter((change) => change.startsWith(`put w${w}/`));
        assert.deepEqual(
          own,
          Array.from({ length: perWriter }, (_, i) => `put w${w}/${i} ${i}`),
        );
      }
    }
  });

  it('what changed since a place is told once a key, as it is now, and up to where that is all', async (store, place) => {
    await store.commit([
      put('a'),
      put('gone'),
      put('ends', 'v', { expires: new Date(place.now().getTime() + 1_000) }),
    ]);
    const before = await store.position();
    await store.commit([put('a', '2'), put('other')]);
    await store.commit([
      put('a', '3'),
      { type: 'delete', key: 'gone' },
      put('ends', '2', { expires: new Date(place.now().getTime() + 500) }),
    ]);
    place.advance(600);
    const since = await store.changesSince(before, ['a', 'gone', 'ends']);
    assert.deepEqual(since?.changes.map(shown).sort(), ['delete ends', 'delete gone', 'put a 3']);
    const none = await store.changesSince(since?.position ?? '', ['a', 'gone', 'other']);
    assert.deepEqual(none?.changes, []);
    for (const unknown of ['', 'nonsense', '1-1', '999999-1', `${before}0`])
      assert.equal(await store.changesSince(unknown, ['']), undefined, unknown);
  });

  it('who was told a change of a watch goes on behind it', async (store, place) => {
    const other = await place.open();
    const watch = store.watch({ prefixes: ['w/'] })[Symbol.asyncIterator]();
    const known = new Map<string, string>();
    const take = (change: Change) => {
      if (change.type === 'put') known.set(change.item.key, change.item.value);
      else known.delete(change.key);
    };
    const writing = (async () => {
      for (let i = 0; i < 60; i++) {
        const { key, value } = { key: `w/${i % 7}`, value: String(i) };
        await (i % 2 === 0 ? store : other).commit([i % 5 === 4 ? { type: 'delete', key } : put(key, value)]);
      }
    })();
    let position: string | undefined;
    for (let count = 0; count < 10; count++) {
      const { value, done } = await watch.next();
      assert.ok(done !== true);
      take(value);
      assert.ok(value.position);
      ({ position } = value);
    }
    await watch.return?.();
    await writing;
    const since = await store.changesSince(position ?? '', ['w/']);
    assert.ok(since);
    for (const change of since.changes) take(change);
    const real = (await store.range('w/')).map(({ key, value }) => [key, value]);
    assert.deepEqual([...known].sort(), real.sort());
  });

  it('a counter that many raise by its revision loses no raise', async (store, place) => {
    const all = [store, await place.open(), await place.open()];
    await store.commit([put('n', '0')]);
    const raise = async (each: Store) => {
      for (;;) {
        const { value, revision } = (await each.get('n')) ?? assert.fail();
        const raised = each.commit([put('n', String(Number(value) + 1), { expect: { revision } })]);
        if (await raised.then(() => true).catch(isConflict)) return;
      }
    };
    await Promise.all(all.flatMap((each) => Array.from({ length: 8 }, () => raise(each))));
    assert.equal((await store.get('n'))?.value, '24');
  });

  it('watch, then range: nothing between the two is missed', async (store) => {
    const writer = (async () => {
      for (let i = 0; i < 200; i++) await store.commit([put(`n/${i % 20}`, String(i))]);
      await store.commit([put('n/end', '')]);
    })();
    const known = new Map<string, string>();
    const watch = store.watch({ prefixes: ['n/'] });
    for (const item of await store.range('n/')) known.set(item.key, item.value);
    for await (const change of watch) {
      if (change.type === 'put') known.set(change.item.key, change.item.value);
      if (known.has('n/end')) break;
    }
    await writer;
    const real = (await store.range('n/')).map(({ key, value }) => [key, value]);
    assert.deepEqual([...known].sort(), real.sort());
  });
}

/** Anything else is no answer to the question. */
function isConflict(error: unknown): false {
  assert.equal((error as { kind?: string }).kind, 'conflict');
  return false;
}

function reader(watch: AsyncIterable<Change>): (count: number) => Promise<string[]> {
  const iterator = watch[Symbol.asyncIterator]();
  return async (count) => {
    const told: string[] = [];
    while (told.length < count) {
      const { value, done } = await iterator.next();
      if (done === true) break;
      told.push(shown(value));
    }
    return told;
  };
}

function shown(change: Change): string {
  return change.type === 'put' ? `put ${change.item.key} ${change.item.value}` : `delete ${change.key}`;
}
