// What every log does that is asked for pages, run against each implementation.
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type AuditEvent, serialize } from '@sallyport/contracts/events/event.ts';
import fc from 'fast-check';
import type { AuditLog } from './audit-log.ts';
import { commandEvent, loginEvent } from './event.fixture.ts';
import type { EventPages, PageQuery } from './search-page.ts';

export interface PagesUnderTest {
  readonly log: AuditLog;
  readonly pages: EventPages;
  /** What is appended from here on arrives a day later. */
  nextDay(): void;
}

/** `ei` of the events of each page. */
export async function readPages(
  pages: EventPages,
  query: PageQuery,
  onPage?: (page: number) => Promise<void>,
): Promise<number[][]> {
  const found: number[][] = [];
  for (let startKey: string | undefined; startKey !== ''; ) {
    const page = await pages.page({ ...query, ...(startKey === undefined ? {} : { startKey }) });
    found.push(page.events.map(({ ei }) => ei));
    startKey = page.startKey;
    await onPage?.(found.length);
  }
  return found;
}

export const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);

/** `open`: a log that the test may fill; closed after it. */
export function eventPagesContract(name: string, open: (t: TestContext) => Promise<PagesUnderTest>): void {
  describe(`${name} in pages`, () => {
    it('gives every event once, in either order, over days, whatever the page size', async (t) => {
      const { log, pages, nextDay } = await open(t);
      for (const day of range(0, 3)) {
        const events = range(day * 20, day * 20 + 20);
        await log.append(events.map((n) => commandEvent(n, { argv: ['ü'.repeat(n)] })));
        nextDay();
      }
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 1, max: 70 }),
          fc.constantFrom('asc' as const, 'desc' as const),
          async (limit, order) => {
            const found = await readPages(pages, { limit, order });
            assert.ok(found.every((page) => page.length <= limit));
            assert.deepEqual(found.flat(), order === 'asc' ? range(0, 60) : range(0, 60).reverse());
          },
        ),
        { numRuns: 20 },
      );
    });

    it('stays true while the log grows', async (t) => {
      const { log, pages, nextDay } = await open(t);
      await log.append(range(0, 10).map((n) => commandEvent(n)));
      let next = 10;
      const grow = async () => {
        if (next >= 13) return;
        nextDay();
        await log.append([commandEvent(next++)]);
      };
      assert.deepEqual(
        (await readPages(pages, { limit: 3, order: 'desc' }, grow)).flat(),
        range(0, 10).reverse(),
      );
      assert.deepEqual((await readPages(pages, { limit: 4 })).flat(), range(0, 13));
    });

    it('gives the same as a search, whatever is asked for', async (t) => {
      const { log, pages, nextDay } = await open(t);
      const texts = ['İstanbul', 'K elvin', 'a "quoted" \\ path', 'ÄÖÜ straße', '%_', 'plain'];
      for (const [n, text] of texts.entries()) {
        await log.append([
          commandEvent(n, { argv: [text], user: n % 2 === 0 ? 'alice' : 'bob' }),
          loginEvent({ ei: n, uid: `00000000-0000-4000-8000-fffffffff${String(n).padStart(3, '0')}` }),
        ]);
        if (n === 3) nextDay();
      }
      const asked = fc.record(
        {
          text: fc.constantFrom(...texts, 'i', 'k', 'İ', 'ß', 'QUOTED', '"', '\\', 'straSSe', '%', 'elvin'),
          user: fc.constantFrom('alice', 'bob', 'nobody', 'nul \0'),
          types: fc.constantFrom(
            ['user.login' as const],
            ['T4000I' as const],
            ['T4000I' as const, 'user.login' as const],
          ),
          from: fc.constantFrom(new Date('2026-01-02T03:04:05.002Z'), new Date('2027-01-01')),
          to: fc.constantFrom(new Date('2026-01-02T03:04:05.003Z')),
          order: fc.constantFrom('asc' as const, 'desc' as const),
        },
        { requiredKeys: [] },
      );
      const check = fc.asyncProperty(asked, async (query) => {
        const { order = 'asc', ...rest } = query;
        const all: number[] = [];
        for await (const { ei } of log.search({ ...rest, order })) all.push(ei);
        assert.deepEqual((await readPages(pages, { ...rest, order, limit: 2 } as PageQuery)).flat(), all);
        const whole: number[] = [];
        for await (const event of log.search({ order })) if (plainly(event, query)) whole.push(event.ei);
        assert.deepEqual(all, whole);
      });
      await fc.assert(check, { numRuns: 60 });
    });

    it('walks lines far longer than a block, backward and forward', async (t) => {
      const { log, pages } = await open(t);
      await log.append(
        range(0, 6).map((n) => commandEvent(n, { argv: ['x'.repeat(n % 2 === 0 ? 10 : 600_000)] })),
      );
      assert.deepEqual((await readPages(pages, { limit: 2 })).flat(), range(0, 6));
      assert.deepEqual((await readPages(pages, { limit: 2, order: 'desc' })).flat(), range(0, 6).reverse());
    });

    it('refuses a key that is none, or of the other order', async (t) => {
      const { log, pages } = await open(t);
      await log.append(range(0, 3).map((n) => commandEvent(n)));
      const { startKey } = await pages.page({ limit: 1 });
      await assert.rejects(pages.page({ startKey, order: 'desc' }), { code: 'audit.bad_start_key' });
      await assert.rejects(pages.page({ startKey: '../../etc/passwd' }), { kind: 'bad_input' });
    });
  });
}

/** The contract of a query, in the plainest words. */
function plainly(event: AuditEvent, query: PageQuery): boolean {
  const { text = '', user, types, from, to } = query;
  const time = Date.parse(event.time);
  return (
    serialize(event).toLowerCase().includes(JSON.stringify(text).slice(1, -1).toLowerCase()) &&
    (user === undefined || ('user' in event && event.user === user)) &&
    (types === undefined || types.some((type) => type === event.event || type === event.code)) &&
    (from === undefined || time >= from.getTime()) &&
    (to === undefined || time < to.getTime())
  );
}
