import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { commandEvent, hostId } from './event.fixture.ts';
import { FileLog } from './file-log.ts';
import { eventPagesContract, range, readPages } from './search-page.contract.ts';
import { type PageBounds, PagedSearch } from './search-page.ts';

const dayMs = 24 * 3600 * 1000;

async function start(t: TestContext, bounds?: PageBounds) {
  const logDir = await mkdtemp(join(tmpdir(), 'sallyport-pages-'));
  let nowMs = Date.UTC(2026, 0, 2, 3);
  const log = await FileLog.open({ logDir, hostId, now: () => nowMs, durability: 'written' });
  t.after(async () => {
    await log.close();
    await rm(logDir, { recursive: true });
  });
  const pages = new PagedSearch(logDir, hostId, bounds);
  const nextDay = () => {
    nowMs += dayMs;
  };
  return { logDir, log, pages, nextDay };
}

eventPagesContract('FileLog', start);

describe('a search of files in pages', () => {
  it('reads no more for a page than its bound, and finds what is rare over several', async (t) => {
    const { log, pages } = await start(t, { readBytes: 5_000, answerBytes: 1e6 });
    await log.append(range(0, 200).map((n) => commandEvent(n, { user: n === 150 ? 'rare' : 'alice' })));
    for (const order of ['asc', 'desc'] as const) {
      const found = await readPages(pages, { user: 'rare', order });
      assert.ok(found.length > 5);
      assert.deepEqual(found.flat(), [150]);
    }
  });

  it('leaves out a line that is still being written', async (t) => {
    const { logDir, log, pages } = await start(t);
    await log.append([commandEvent(0), commandEvent(1)]);
    const name = (await readdir(join(logDir, hostId))).find((one) => one.endsWith('.log')) ?? '';
    await appendFile(join(logDir, hostId, name), '{"half');
    assert.deepEqual(await readPages(pages, { limit: 1 }), [[0], [1]]);
    assert.deepEqual(await readPages(pages, { limit: 1, order: 'desc' }), [[1], [0]]);
  });
});
