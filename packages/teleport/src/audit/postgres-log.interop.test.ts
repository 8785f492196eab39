import assert from 'node:assert/strict';
import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { PostgresServer } from '../postgres/postgres.fixture.ts';
import { auditLogContract, collect } from './audit-log.contract.ts';
import { commandEvent } from './event.fixture.ts';
import { FileLog } from './file-log.ts';
import { importEvents } from './import-events.ts';
import { PostgresLog, type PostgresLogOptions } from './postgres-log.ts';
import { eventPagesContract, range, readPages } from './search-page.contract.ts';

const dayMs = 24 * 3600 * 1000;
const startMs = Date.UTC(2026, 0, 2, 3, 4, 6);
let server: PostgresServer;
before(async () => {
  server = await PostgresServer.start();
});
after(() => server.close());

function open(more: PostgresLogOptions = {}): Promise<PostgresLog> {
  return PostgresLog.open(server.address(), { now: () => startMs, limits: { connections: 2 }, ...more });
}

/** A log of its own, with a clock; `more()` is another server on the same log. */
async function start(t: TestContext, options: PostgresLogOptions = {}) {
  let nowMs = startMs;
  const schema = server.freshName();
  const more = async (own: PostgresLogOptions = {}) => {
    const log = await open({ schema, now: () => nowMs, ...options, ...own });
    t.after(() => log.close());
    return log;
  };
  const log = await more();
  const nextDay = () => {
    nowMs += dayMs;
  };
  return { log, pages: log.pages, schema, more, nextDay };
}

const eis = async (log: PostgresLog) => (await collect(log)).map(({ ei }) => ei);

auditLogContract('PostgresLog', async () => {
  const schema = server.freshName();
  const log = await open({ schema });
  return {
    log,
    reopen: async () => {
      await log.close();
      return open({ schema });
    },
    cleanUp: () => log.close(),
  };
});

eventPagesContract('PostgresLog', start);
eventPagesContract('PostgresLog, texts digested,', async (t) => {
  const { log, pages, nextDay } = await start(t);
  const append = log.append.bind(log);
  log.append = async (events) => {
    await append(events);
    await log.text.advance();
  };
  return { log, pages, nextDay };
});

describe('the audit log on PostgreSQL', () => {
  it('has an event once, however often and on however many servers it is appended', async (t) => {
    const { log, more, nextDay } = await start(t);
    const other = await more();
    const events = range(0, 50).map((n) => commandEvent(n));
    await Promise.all([log.append(events), other.append(events), log.append([...events, ...events])]);
    assert.deepEqual(await eis(log), range(0, 50));
    nextDay();
    await other.append([...events, commandEvent(50)]);
    assert.deepEqual(await eis(log), range(0, 51), 'also after midnight');
    assert.equal(await log.has(commandEvent(7).uid, new Date(startMs)), true);
    assert.equal(await log.has(commandEvent(99).uid, new Date(startMs)), false);
  });

  it('takes a batch of a host once, in its place, whichever server it is sent to', async (t) => {
    const { log, more } = await start(t);
    const other = await more();
    const place = { host: 'h', stream: 's', first: 0, next: 3 };
    const events = range(0, 3).map((n) => commandEvent(n));
    assert.equal(await log.position('h', 's'), 0);
    const answers = await Promise.all([log.appendAt(place, events), other.appendAt(place, events)]);
    assert.deepEqual(answers, [3, 3]);
    assert.equal(await other.appendAt({ ...place, first: 5, next: 6 }, [commandEvent(5)]), 3, 'a gap');
    // The last position's event could not be read by anybody.
    assert.equal(await other.appendAt({ ...place, first: 3, next: 5 }, [commandEvent(3)]), 5);
    assert.equal(await log.appendAt({ ...place, first: 5, next: 6 }, []), 6);
    assert.equal(await log.position('h', 's'), 6);
    assert.equal(await log.position('h', 'another'), 0);
    assert.deepEqual(await eis(log), range(0, 4));
  });

  it('remembers the latest streams of a host, not all', async (t) => {
    const { log, schema } = await start(t);
    for (const n of range(0, 20))
      await log.appendAt({ host: 'h', stream: `s${n}`, first: 0, next: 1 }, [commandEvent(n)]);
    const rows = await server.sql(`SELECT stream FROM ${schema}.positions ORDER BY at DESC`);
    assert.equal(rows.length, 8);
    assert.equal(rows[0]?.['stream'], 's19');
  });

  it('keeps the order of each server when several append, and loses and doubles nothing', async (t) => {
    const { log, more } = await start(t);
    const servers = [log, await more(), await more()];
    await Promise.all(
      servers.flatMap((each, i) =>
        range(0, 40).map((n) => each.append(range(0, 5).map((k) => commandEvent(i * 1000 + n * 5 + k)))),
      ),
    );
    const all = await eis(log);
    assert.equal(all.length, 600);
    for (const i of range(0, 3))
      assert.deepEqual(
        all.filter((ei) => Math.floor(ei / 1000) === i),
        range(i * 1000, i * 1000 + 200),
      );
  });

  it('makes days ahead, and drops those whose events are all older than the retention', async (t) => {
    const { log, more, schema, nextDay } = await start(t, { retentionMs: 2 * dayMs });
    const names = async () =>
      (
        await server.sql(`SELECT inhrelid::regclass::text AS name FROM pg_inherits
        WHERE inhparent = '${schema}.events'::regclass ORDER BY 1`)
      ).map(({ name }) => String(name).slice(-4));
    assert.deepEqual(await names(), ['0102', '0103', '0104', '0105', '0106', '0107', '0108', '0109']);
    for (const n of range(0, 5)) {
      await log.append([commandEvent(n)]);
      nextDay();
    }
    const dropped: string[] = [];
    const next = await more({ onDropped: (days) => dropped.push(...days) });
    assert.deepEqual(dropped, ['2026-01-02', '2026-01-03', '2026-01-04']);
    assert.deepEqual(await eis(next), [3, 4]);
    assert.deepEqual((await readPages(next.pages, { limit: 1, order: 'desc' })).flat(), [4, 3]);
  });

  it('makes the day it lacks when the servers were away for long', async (t) => {
    const { log, nextDay } = await start(t);
    for (let n = 0; n < 30; n++) nextDay();
    await log.append([commandEvent(1)]);
    assert.deepEqual(await eis(log), [1]);
  });

  it('does not go back to an earlier day when a clock does', async (t) => {
    const { log, more, nextDay } = await start(t);
    const behind = await more({ now: () => startMs - 5 * dayMs });
    nextDay();
    await log.append([commandEvent(1)]);
    await behind.append([commandEvent(2)]);
    assert.deepEqual(await eis(log), [1, 2]);
  });

  it('finds what is rare over pages that each take their time only', async (t) => {
    const { log, pages } = await start(t, { bounds: { searchMs: 0, window: 10 } });
    await log.append(range(0, 200).map((n) => commandEvent(n, { user: n === 150 ? 'rare' : 'alice' })));
    for (const order of ['asc', 'desc'] as const) {
      const found = await readPages(pages, { user: 'rare', order });
      assert.deepEqual(found.flat(), [150]);
    }
  });

  it('takes over day files of several hosts, again and again, and leaves what it cannot read', async (t) => {
    const { log } = await start(t);
    const dir = await mkdtemp(join(tmpdir(), 'sallyport-import-'));
    t.after(() => rm(dir, { recursive: true }));
    for (const [host, from] of [
      ['h1', 0],
      ['h2', 2_500],
    ] as const) {
      const file = await FileLog.open({
        logDir: dir,
        hostId: host,
        durability: 'written',
        now: () => startMs,
      });
      await file.append(range(from, from + 2_500).map((n) => commandEvent(n)));
      await file.close();
    }
    await appendFile(join(dir, 'h2', '2026-01-02.00:00:00.log'), '{"event":"of.the.future"}\n');
    const whole = { files: 2, events: 5_000, unreadable: 1 };
    assert.deepEqual(await importEvents(dir, log), whole);
    assert.deepEqual(await importEvents(dir, log), whole);
    assert.deepEqual(await eis(log), range(0, 5_000));
    await assert.rejects(importEvents(join(dir, 'none'), log), { code: 'audit.no_folder' });
  });

  it('finds texts by digests of blocks, and reads what has none yet', async (t) => {
    const { log, pages, schema, more, nextDay } = await start(t, { bounds: { searchMs: 0 } });
    const other = await more();
    const event = (n: number) =>
      commandEvent(n, { uid: crypto.randomUUID(), path: n % 700 === 350 ? '/opt/Needle' : '/bin/true' });
    await log.append(range(0, 1_500).map(event));
    await Promise.all([log.text.advance(), other.text.advance()]);
    const sum = `SELECT coalesce(sum(next_seq - first_seq), 0)::int AS n FROM ${schema}.text_blocks`;
    const covered = async () => (await server.sql(sum))[0]?.['n'];
    assert.equal(await covered(), 1_280, 'whole blocks of the day that goes on, by one of the servers');
    await log.append(range(1_500, 2_000).map(event));
    for (const each of [log, other])
      for (const order of ['asc', 'desc'] as const) {
        const found = (await readPages(each.pages, { text: 'opt/needle', order })).flat();
        assert.deepEqual(order === 'asc' ? found : found.reverse(), [350, 1_050, 1_750]);
      }
    const absent = await readPages(pages, { text: 'no such needle' });
    assert.deepEqual(absent.flat(), []);
    nextDay();
    await log.append([event(2_000)]);
    await Promise.all([log.text.advance(), other.text.advance()]);
    assert.equal(await covered(), 2_000, 'a day that is over is covered to its end');
    assert.deepEqual((await readPages(pages, { text: 'NEEDLE' })).flat(), [350, 1_050, 1_750]);
  });

  it('takes text that no column can hold', async (t) => {
    const { log } = await start(t);
    const event = commandEvent(1, { user: 'nul \0', argv: ['\0', '\ud800'] });
    await log.append([event]);
    assert.deepEqual(await collect(log, { user: 'nul \0' }), [event]);
  });

  it('refuses what would wait beyond its bound', async (t) => {
    const { log } = await start(t, { maxQueuedBytes: 1_000 });
    const first = log.append(range(0, 10).map((n) => commandEvent(n)));
    await assert.rejects(log.append([commandEvent(11)]), { kind: 'limit', code: 'audit.queue_full' });
    await first;
    assert.equal(log.stats.rejectedEvents, 1);
  });
});
