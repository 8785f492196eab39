import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { SqliteStore } from './sqlite-store.ts';
import { storeContract } from './store.contract.ts';

const made: string[] = [];
const opened: SqliteStore[] = [];
after(async () => {
  await Promise.all(opened.map((store) => store.close()));
  await Promise.all(made.map((dir) => rm(dir, { recursive: true, force: true })));
});

async function place() {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-store-'));
  made.push(dir);
  let clock = Date.UTC(2026, 2, 1);
  return {
    dir,
    now: () => new Date(clock),
    advance: (ms: number) => {
      clock += ms;
    },
    open: async (more: { keepChanges?: number } = {}) => {
      const store = await SqliteStore.open(dir, {
        now: () => new Date(clock),
        pollMs: 5,
        sweepMs: 5,
        ...more,
      });
      opened.push(store);
      return store;
    },
  };
}

storeContract('SqliteStore', place);

test('the database and its side files are for their owner only', async () => {
  const { dir, open } = await place();
  const store = await open();
  await store.commit([{ type: 'put', key: 'a', value: 'v' }]);
  const names = await readdir(dir);
  assert.deepEqual(names.sort(), ['backend.db', 'backend.db-shm', 'backend.db-wal']);
  for (const name of names) assert.equal((await stat(join(dir, name))).mode & 0o777, 0o600, name);
});

test('a database that others may read is refused', async () => {
  const { dir, open } = await place();
  await (await open()).close();
  await chmod(join(dir, 'backend.db'), 0o640);
  await assert.rejects(open(), { code: 'store.too_open' });
});

test('a database of a newer version is refused, a damaged one is told', async () => {
  const { dir, open } = await place();
  await (await open()).close();
  const database = new DatabaseSync(join(dir, 'backend.db'));
  database.exec('PRAGMA user_version = 99');
  database.close();
  await assert.rejects(open(), { code: 'store.newer' });
});

test('a commit waits for a lock of another process without blocking this one', async () => {
  const { dir, open } = await place();
  const store = await open();
  const other = new DatabaseSync(join(dir, 'backend.db'));
  other.exec('BEGIN IMMEDIATE');
  const commit = store.commit([{ type: 'put', key: 'a', value: 'v' }]);
  let turns = 0;
  const free = setInterval(() => {
    turns++;
    if (turns !== 5) return;
    clearInterval(free);
    other.exec('COMMIT');
    other.close();
  }, 5);
  await commit;
  assert.ok(turns >= 5);
});

test('a watch that is further behind than changes are kept ends with an overflow', async () => {
  const { open } = await place();
  const store = await open();
  const trimming = await open({ keepChanges: 5 });
  const watch = store.watch({ prefixes: ['x'] });
  const lagging = watch[Symbol.asyncIterator]();
  // One transaction, trimmed by the other process before this one looks.
  await Promise.all(
    Array.from({ length: 50 }, (_, i) => trimming.commit([{ type: 'put', key: `x${i}`, value: '' }])),
  );
  const deadline = Date.now() + 5000;
  let known = 0;
  try {
    while (Date.now() < deadline && known < 50) {
      const next = await lagging.next();
      if (next.done !== true) known++;
    }
    // It looked before the trim: then it has seen everything.
    assert.equal(known, 50);
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'store.watch_overflow');
  }
});
