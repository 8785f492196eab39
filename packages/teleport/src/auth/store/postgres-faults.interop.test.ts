// The store while its database is killed, hangs, or loses its connections: what was acknowledged is there, once, and
// nobody waits for ever.
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { PostgresServer } from '../../postgres/postgres.fixture.ts';
import { PostgresStore, type PostgresStoreOptions } from './postgres-store.ts';
import type { Store } from './store.ts';

let server: PostgresServer;
before(async () => {
  server = await PostgresServer.start();
});
after(() => server.close());

const put = (key: string, value = '') => ({ type: 'put', key, value }) as const;
const impatient = { statementMs: 700, connectMs: 700, operationMs: 1_000 };

async function place(t: TestContext) {
  const schema = server.freshName();
  const open = async (more: PostgresStoreOptions = {}) => {
    const store = await PostgresStore.open(server.address(), { schema, pollMs: 200, ...more });
    t.after(() => store.close());
    return store;
  };
  return { schema, open };
}

async function until(holds: () => boolean | Promise<boolean>, what: string, limitMs = 15_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, what);
    await delay(10);
  }
}

/** Writes keys of its own and raises a shared counter until it is told to stop; what was acknowledged is counted. */
function load(store: Store, name: string, stop: AbortSignal) {
  const acknowledged: string[] = [];
  let raised = 0;
  const done = (async () => {
    for (let n = 0; !stop.aborted; n++) {
      const key = `${name}/${String(n).padStart(6, '0')}`;
      await store.commit([{ ...put(key, String(n)), expect: 'nothing' }]);
      acknowledged.push(key);
      const { value, revision } = (await store.get('counter')) ?? assert.fail();
      const next = put('counter', String(Number(value) + 1));
      await store.commit([{ ...next, expect: { revision } }]).then(
        () => raised++,
        (error) => assert.equal(error.code, 'store.conflict'),
      );
    }
  })();
  return { acknowledged, done, raised: () => raised };
}

/** Every change from now on, as `key`s in order. */
function follow(store: Store, prefix: string, stop: AbortSignal) {
  const told: string[] = [];
  const done = (async () => {
    for await (const change of store.watch({ prefixes: [prefix], signal: stop }))
      if (change.type === 'put') told.push(change.item.key);
  })();
  return { told, done };
}

async function underLoad(t: TestContext, faults: (progress: () => number) => Promise<void>): Promise<void> {
  const { open } = await place(t);
  const stores = [await open(), await open(), await open()];
  const witness = await open();
  await witness.commit([put('counter', '0')]);
  const stop = new AbortController();
  const ending = new AbortController();
  const watching = follow(witness, 'w', ending.signal);
  const loads = stores.map((store, i) => load(store, `w${i}`, stop.signal));
  const count = () => loads.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
  await faults(count);
  stop.abort();
  await Promise.all(loads.map(({ done }) => done));

  const there = (await witness.range('w')).map(({ key }) => key);
  assert.deepEqual(
    there,
    loads.flatMap(({ acknowledged }) => acknowledged),
    'what was acknowledged is there, and no more',
  );
  const raised = loads.reduce((sum, each) => sum + each.raised(), 0);
  assert.equal((await witness.get('counter'))?.value, String(raised), 'each raise counted once');
  await until(() => watching.told.length >= there.length, 'the watch saw all');
  ending.abort();
  await watching.done;
  assert.deepEqual([...watching.told].sort(), there, 'the watch saw each once');
  for (const i of stores.keys()) {
    const own = watching.told.filter((key) => key.startsWith(`w${i}/`));
    assert.deepEqual(own, [...own].sort(), 'in order');
  }
}

describe('the store on PostgreSQL', { timeout: 120_000 }, () => {
  it('loses nothing and doubles nothing when the database is killed under load and comes back', (t) =>
    underLoad(t, async (progress) => {
      for (let round = 0; round < 2; round++) {
        const before = progress();
        await until(() => progress() > before + 30, 'work goes on');
        await server.killAll();
        await server.boot();
      }
      const before = progress();
      await until(() => progress() > before + 30, 'work goes on after it');
    }));

  it('loses nothing and doubles nothing when its connections are cut again and again', (t) =>
    underLoad(t, async (progress) => {
      for (let round = 0; round < 15; round++) {
        const before = progress();
        await until(() => progress() > before + 3, 'work goes on');
        await server.sql(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sallyport store'`,
        );
      }
    }));

  it('gives up on a database that hangs in bounded time, and goes on when it is back', async (t) => {
    const { open } = await place(t);
    const store = await open({ limits: impatient });
    t.after(() => server.thaw());
    await store.commit([put('a', 'before')]);
    server.freeze();
    const begun = performance.now();
    const unavailable = { kind: 'unavailable' };
    await Promise.all([
      assert.rejects(store.commit([put('a', 'lost?')]), { ...unavailable, code: 'store.unavailable' }),
      assert.rejects(store.get('a'), unavailable),
      assert.rejects(store.range(''), unavailable),
    ]);
    assert.ok(performance.now() - begun < 8_000, `it took ${performance.now() - begun} ms`);
    await until(() => store.problem !== undefined, 'it says that the database is away', 10_000);
    server.thaw();
    await until(() => store.problem === undefined, 'it says that the database is back');
    await store.commit([put('a', 'after')]);
    assert.equal((await store.get('a'))?.value, 'after');
  });

  it('makes no change that was given up after one that was made later', async (t) => {
    const { open } = await place(t);
    const store = await open({ limits: impatient });
    t.after(() => server.thaw());
    for (let round = 0; round < 3; round++) {
      server.freeze();
      await assert.rejects(store.commit([put('a', `given up ${round}`)]), { kind: 'unavailable' });
      server.thaw();
      // What hangs in the server's sockets arrives now, before this or after it.
      await until(
        () =>
          store.commit([put('a', `later ${round}`)]).then(
            () => true,
            () => false,
          ),
        'the database is back',
      );
      await delay(100);
      assert.equal((await store.get('a'))?.value, `later ${round}`);
    }
  });

  it('closes in bounded time while the database hangs', async (t) => {
    const { open } = await place(t);
    const store = await open({ limits: impatient });
    t.after(() => server.thaw());
    await store.get('a');
    server.freeze();
    const begun = performance.now();
    await store.close();
    assert.ok(performance.now() - begun < 5_000, `it took ${performance.now() - begun} ms`);
    server.thaw();
  });

  it('tells a watch of what is changed elsewhere from the moment it is asked for', async (t) => {
    const { open } = await place(t);
    const [store, other] = [await open(), await open()];
    // Each begins while the feed, which nobody watches just then, may be reading where the log stands.
    for (let n = 0; n < 50; n++) {
      const stop = new AbortController();
      const watch = store.watch({ prefixes: ['n/'], signal: stop.signal })[Symbol.asyncIterator]();
      await other.commit([put(`n/${n}`)]);
      for (let key = ''; key !== `n/${n}`; ) {
        const { value } = await watch.next();
        key = value?.type === 'put' ? value.item.key : '';
      }
      stop.abort();
    }
  });

  it('ends a watch when the change log was cut behind it, instead of leaving something out', async (t) => {
    const { open, schema } = await place(t);
    const store = await open();
    const watch = store.watch({ prefixes: ['x'] })[Symbol.asyncIterator]();
    // Fifty changes, of which the last five are kept, in one transaction: nobody can look in between.
    const all = (text: string) => `array_fill(${text}, ARRAY[50])`;
    await server.sql(`BEGIN;
      SELECT ${schema}.commit_batch(gen_random_uuid(), 1, NULL, ${all('0')}, ${all(`'put'::text`)},
        (SELECT array_agg('x' || n) FROM generate_series(1, 50) n), ${all(`''::text`)}, ${all('NULL::bigint')},
        ${all(`'any'::text`)});
      SELECT ${schema}.sweep(NULL, 5, 10);
      COMMIT`);
    await assert.rejects(watch.next(), { kind: 'limit', code: 'store.watch_overflow' });
    const next = store.watch({ prefixes: ['x'] })[Symbol.asyncIterator]();
    await store.commit([put('x51')]);
    assert.equal((await next.next()).done, false, 'one that is begun anew goes on');
  });
});
