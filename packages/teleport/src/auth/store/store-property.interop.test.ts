// Whatever is done to a store, SQLite and PostgreSQL answer the same.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import fc from 'fast-check';
import { PostgresServer } from '../../postgres/postgres.fixture.ts';
import { PostgresStore } from './postgres-store.ts';
import { SqliteStore } from './sqlite-store.ts';
import type { Condition, Item, Store, Write } from './store.ts';

let server: PostgresServer;
before(async () => {
  server = await PostgresServer.start();
});
after(() => server.close());

const keys = ['a', 'a/1', 'a/2', 'a/ü', 'a/𝄞', 'b', 'b\u{10fffe}', "'; --", '%', '\\'];

/** A condition that both stores can be given: each has revisions of its own. */
type Expected = 'anything' | 'something' | 'nothing' | 'current' | 'stale' | 'foreign';
interface Step {
  readonly key: string;
  readonly type: Write['type'];
  readonly value: string;
  readonly expect: Expected;
  readonly expiresInMs: number | undefined;
}
type Operation =
  | { readonly do: 'commit'; readonly steps: readonly Step[] }
  | {
      readonly do: 'range';
      readonly prefix: string;
      readonly after: string;
      readonly limit: number | undefined;
    }
  | { readonly do: 'get'; readonly key: string }
  | { readonly do: 'pass'; readonly ms: number };

const step = fc.record({
  key: fc.constantFrom(...keys),
  type: fc.constantFrom<Write['type'][]>('put', 'put', 'delete', 'check'),
  value: fc.string({ unit: 'binary', maxLength: 20 }).filter((text) => !text.includes('\0')),
  expect: fc.constantFrom<Expected[]>('anything', 'something', 'nothing', 'current', 'stale', 'foreign'),
  expiresInMs: fc.option(fc.integer({ min: -5, max: 50 }), { nil: undefined }),
});
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('commit' as const),
      steps: fc.uniqueArray(step, { selector: ({ key }) => key, minLength: 1, maxLength: 4 }),
    }),
  },
  fc.record({
    do: fc.constant('range' as const),
    prefix: fc.constantFrom('', 'a', 'a/', 'b', 'x'),
    after: fc.constantFrom('', 'a/1', 'b'),
    limit: fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
  }),
  fc.record({ do: fc.constant('get' as const), key: fc.constantFrom(...keys) }),
  fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 0, max: 30 }) }),
);

/** One store with the revisions it gave: what "current" and "stale" mean there. */
class Subject {
  readonly #store: Store;
  readonly #given = new Map<string, string[]>();

  constructor(store: Store) {
    this.#store = store;
  }

  async answer(operation: Operation, now: number): Promise<unknown> {
    switch (operation.do) {
      case 'commit':
        return this.#commit(operation.steps, now);
      case 'get':
        return shown(await this.#store.get(operation.key));
      case 'range': {
        const { prefix, after, limit } = operation;
        return (await this.#store.range(prefix, { after, ...(limit === undefined ? {} : { limit }) })).map(
          shown,
        );
      }
      case 'pass':
        return undefined;
    }
  }

  async #commit(steps: readonly Step[], now: number): Promise<unknown> {
    const writes = steps.map(({ key, type, value, expect, expiresInMs }): Write => {
      const own = { key, expect: this.#condition(key, expect) };
      if (type !== 'put') return { type, ...own };
      const expires = expiresInMs === undefined ? undefined : new Date(now + expiresInMs);
      return { type, value, expires, ...own };
    });
    try {
      const items = await this.#store.commit(writes);
      for (const { key, revision } of items)
        this.#given.set(key, [...(this.#given.get(key) ?? []), revision]);
      return items.map(shown);
    } catch (thrown) {
      const { kind, code, message } = AppError.from(thrown);
      return { kind, code, message };
    }
  }

  #condition(key: string, expect: Expected): Condition {
    const given = this.#given.get(key) ?? [];
    if (expect === 'current') return { revision: given.at(-1) ?? '0' };
    if (expect === 'stale') return { revision: given.at(-2) ?? '0' };
    return expect === 'foreign' ? { revision: "1' OR '1'='1" } : expect;
  }
}

const shown = (item: Item | undefined) =>
  item && { key: item.key, value: item.value, expires: item.expires?.getTime() };

test('SQLite and PostgreSQL answer the same, whatever is done to them', async () => {
  const check = fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 40 }), async (operations) => {
    let clock = Date.UTC(2026, 2, 1);
    const now = () => new Date(clock);
    const dir = await mkdtemp(join(tmpdir(), 'sallyport-store-'));
    const schema = server.freshName();
    const stores = [
      await SqliteStore.open(dir, { now, sweepMs: 20 }),
      await PostgresStore.open(server.address(), { now, schema, sweepMs: 20, limits: { connections: 1 } }),
    ];
    try {
      const subjects = stores.map((store) => new Subject(store));
      for (const each of operations) {
        if (each.do === 'pass') clock += each.ms;
        const [sqlite, postgres] = await Promise.all(subjects.map((subject) => subject.answer(each, clock)));
        assert.deepEqual(postgres, sqlite);
      }
      const [sqlite, postgres] = await Promise.all(
        stores.map(async (store) => (await store.range('')).map(shown)),
      );
      assert.deepEqual(postgres, sqlite);
    } finally {
      await Promise.all(stores.map((store) => store.close()));
      await rm(dir, { recursive: true, force: true });
    }
  });
  await fc.assert(check, { numRuns: 15 });
});
