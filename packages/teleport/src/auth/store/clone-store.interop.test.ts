import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { PostgresServer } from '../../postgres/postgres.fixture.ts';
import { cloneStore } from './clone-store.ts';
import { PostgresStore } from './postgres-store.ts';
import { SqliteStore } from './sqlite-store.ts';
import type { Item, Store } from './store.ts';

let server: PostgresServer;
before(async () => {
  server = await PostgresServer.start();
});
after(() => server.close());

const gentle = { parallel: 4, force: false };
const shown = ({ key, value, expires }: Item) => [key, value, expires?.getTime()];

async function both(t: TestContext) {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-clone-'));
  const sqlite = await SqliteStore.open(dir);
  const postgres = await PostgresStore.open(server.address(), { schema: server.freshName() });
  t.after(async () => {
    await Promise.all([sqlite.close(), postgres.close()]);
    await rm(dir, { recursive: true });
  });
  return { sqlite, postgres };
}

async function fill(store: Store, count: number): Promise<void> {
  const expires = new Date(Date.now() + 3_600_000);
  const writes = Array.from({ length: count }, (_, n) => ({
    type: 'put' as const,
    key: `k/${n}/ü`,
    value: `${n} "quoted" \\ 𝄞`,
    ...(n % 3 === 0 ? { expires } : {}),
  }));
  await store.commit(writes);
}

describe('a store that is cloned', () => {
  it('is the same in the other, there and back, values and expiry', async (t) => {
    const { sqlite, postgres } = await both(t);
    await fill(sqlite, 1_003);
    assert.deepEqual(await cloneStore(sqlite, postgres, gentle), {
      items: 1_003,
      verified: 1_003,
      expired: 0,
      others: 0,
    });
    assert.deepEqual((await postgres.range('')).map(shown), (await sqlite.range('')).map(shown));
    const { sqlite: third } = await both(t);
    assert.equal((await cloneStore(postgres, third, gentle)).verified, 1_003);
  });

  it('goes into an empty one only, unless it is forced: then what is there under other keys stays', async (t) => {
    const { sqlite, postgres } = await both(t);
    await fill(sqlite, 5);
    await postgres.commit([
      { type: 'put', key: 'own', value: '1' },
      { type: 'put', key: 'k/0/ü', value: 'old' },
    ]);
    await assert.rejects(cloneStore(sqlite, postgres, gentle), { kind: 'conflict', code: 'store.not_empty' });
    const forced = await cloneStore(sqlite, postgres, { ...gentle, force: true });
    assert.deepEqual(forced, { items: 5, verified: 5, expired: 0, others: 1 });
  });

  it('says so when somebody wrote to it meanwhile', async (t) => {
    const { sqlite, postgres } = await both(t);
    await fill(sqlite, 500);
    const meddling = { type: 'put', key: 'k/0/ü', value: 'changed' } as const;
    let meddled: Promise<unknown> | undefined;
    const onProgress = () => {
      meddled ??= sqlite.commit([meddling]);
    };
    await assert.rejects(cloneStore(sqlite, postgres, { ...gentle, onProgress }), {
      code: 'store.clone_differs',
      message: '1 items differ: k/0/ü.',
    });
    await meddled;
  });
});
