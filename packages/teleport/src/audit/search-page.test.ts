import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { commandEvent, hostId } from './event.fixture.ts';
import { FileLog } from './file-log.ts';
import { type PageBounds, PagedSearch, type PageQuery } from './search-page.ts';

const dayMs = 24 * 3600 * 1000;

async function start(t: TestContext, bounds?: PageBounds) {
  const logDir = await mkdtemp(join(tmpdir(), 'sallyport-pages-'));
  let nowMs = Date.UTC(2026, 0, 2, 3);
  const log = await FileLog.open({ logDir, hostId, now: () => nowMs, durability: 'written' });
  t.after(async () => {
    await log.close();
    await rm(logDir, { recursive: true });
  });
  const search = new PagedSearch(logDir, hostId, bounds);
  const pages = async (query: PageQuery, onPage?: (page: number) => Promise<void>) => {
    const found: number[][] = [];
    for (let startKey: string | undefined; startKey !== ''; ) {
      const page = await search.page({ ...query, ...(startKey === undefined ? {} : { startKey }) });
      found.push(page.events.map(({ ei }) => ei));
      startKey = page.startKey;
      await onPage?.(found.length);
    }
    return found;
  };
  return { logDir, log, search, pages, nextDay: () => (nowMs += dayMs) };
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);

describe('a search in pages', () => {
  it('gives every event once, in either order, over day files, whatever the page size', async (t) => {
    const { log, pages, nextDay } = await start(t);
    for (const day of range(0, 3)) {
      await log.append(range(day * 20, day * 20 + 20).map((n) => commandEvent(n, { argv: ['ü'.repeat(n)] })));
      nextDay();
    }
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 70 }),
        fc.constantFrom('asc' as const, 'desc' as const),
        async (limit, order) => {
          const found = await pages({ limit, order });
          assert.ok(found.every((page) => page.length <= limit));
          assert.deepEqual(found.flat(), order === 'asc' ? range(0, 60) : range(0, 60).reverse());
        },
      ),
      { numRuns: 30 },
    );
  });

  it('stays true while the log grows', async (t) => {
    const { log, pages, nextDay } = await start(t);
    await log.append(range(0, 10).map((n) => commandEvent(n)));
    let next = 10;
    const grow = async () => {
      if (next >= 13) return;
      nextDay();
      await log.append([commandEvent(next++)]);
    };
    assert.deepEqual((await pages({ limit: 3, order: 'desc' }, grow)).flat(), range(0, 10).reverse());
    next = 13;
    assert.deepEqual((await pages({ limit: 4 })).flat(), range(0, 13));
  });

  it('reads no more for a page than its bound, and finds what is rare over several', async (t) => {
    const { log, pages } = await start(t, { readBytes: 5_000, answerBytes: 1e6 });
    await log.append(range(0, 200).map((n) => commandEvent(n, { user: n === 150 ? 'rare' : 'alice' })));
    for (const order of ['asc', 'desc'] as const) {
      const found = await pages({ user: 'rare', order });
      assert.ok(found.length > 5);
      assert.deepEqual(found.flat(), [150]);
    }
  });

  it('leaves out a line that is still being written', async (t) => {
    const { logDir, log, pages } = await start(t);
    await log.append([commandEvent(0), commandEvent(1)]);
    const name = (await readdir(join(logDir, hostId))).find((one) => one.endsWith('.log')) ?? '';
    await appendFile(join(logDir, hostId, name), '{"half');
    assert.deepEqual(await pages({ limit: 1 }), [[0], [1]]);
    assert.deepEqual(await pages({ limit: 1, order: 'desc' }), [[1], [0]]);
  });

  it('walks lines far longer than a block, backward and forward', async (t) => {
    const { log, pages } = await start(t);
    await log.append(
      range(0, 6).map((n) => commandEvent(n, { argv: ['x'.repeat(n % 2 === 0 ? 10 : 600_000)] })),
    );
    assert.deepEqual((await pages({ limit: 2 })).flat(), range(0, 6));
    assert.deepEqual((await pages({ limit: 2, order: 'desc' })).flat(), range(0, 6).reverse());
  });

  it('refuses a key that is none, or of the other order', async (t) => {
    const { log, search } = await start(t);
    await log.append(range(0, 3).map((n) => commandEvent(n)));
    const { startKey } = await search.page({ limit: 1 });
    await assert.rejects(search.page({ startKey, order: 'desc' }), { code: 'audit.bad_start_key' });
    await assert.rejects(search.page({ startKey: '../../etc/passwd' }), { kind: 'bad_input' });
  });
});
