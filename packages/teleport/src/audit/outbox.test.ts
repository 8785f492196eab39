import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import { auditLogContract, collect } from './audit-log.contract.ts';
import { commandEvent } from './event.fixture.ts';
import { Outbox, type OutboxBatch, type OutboxOptions } from './outbox.ts';
import { drainOutbox, positionGap, type SendEvents } from './outbox-drain.ts';

async function newDir(): Promise<string> {
  return join(await mkdtemp(join(tmpdir(), 'sallyport-outbox-')), 'outbox');
}

async function start(t: TestContext, options: Partial<OutboxOptions> = {}) {
  const dir = await newDir();
  let outbox: Outbox | undefined;
  t.after(async () => {
    await outbox?.close();
    await rm(join(dir, '..'), { recursive: true });
  });
  const open = async (): Promise<Outbox> => {
    await outbox?.close();
    outbox = await Outbox.open({ dir, ...options });
    return outbox;
  };
  return { dir, open };
}

/** An auth service that keeps what it is sent, as the real one: by stream, without gaps. */
class Taker {
  readonly streams = new Map<string, string[]>();
  fail: ((batch: OutboxBatch) => AppError | undefined) | undefined;

  readonly send: SendEvents = async (batch) => {
    const failure = this.fail?.(batch);
    if (failure !== undefined) throw failure;
    const lines = this.streams.get(batch.stream) ?? [];
    this.streams.set(batch.stream, lines);
    if (batch.first > lines.length) throw new AppError('conflict', positionGap, `Expected ${lines.length}.`);
    lines.push(...batch.lines.slice(lines.length - batch.first));
    return { acknowledged: lines.length };
  };

  get eis(): number[] {
    return [...this.streams.values()].flat().map((line) => JSON.parse(line).ei);
  }
}

async function drained(outbox: Outbox, send: SendEvents): Promise<void> {
  const stop = new AbortController();
  const drain = drainOutbox(outbox, send, { signal: stop.signal, firstRetryMs: 2, lastRetryMs: 10 });
  const deadline = Date.now() + 10_000;
  while (outbox.stats.heldEvents > 0) {
    assert.ok(Date.now() < deadline, `${outbox.stats.heldEvents} events were not taken in 10 s`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  stop.abort();
  await drain;
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);
const lines = async (outbox: Outbox) => (await collect(outbox)).map((event) => event.ei);

auditLogContract('Outbox', async () => {
  const dir = await newDir();
  let outbox = await Outbox.open({ dir });
  return {
    log: outbox,
    async reopen() {
      await outbox.close();
      outbox = await Outbox.open({ dir });
      return outbox;
    },
    async cleanUp() {
      await outbox.close();
      await rm(join(dir, '..'), { recursive: true });
    },
  };
});

describe('Outbox', () => {
  it('hands its events over in order, once, over segments and restarts, in one stream', async (t) => {
    const { open } = await start(t, { segmentBytes: 20_000, keepAcknowledgedBytes: 0 });
    const taker = new Taker();
    for (let round = 0; round < 4; round++) {
      const outbox = await open();
      await Promise.all(range(round * 100, round * 100 + 100).map((n) => outbox.append([commandEvent(n)])));
      if (round % 2 === 1) await drained(outbox, taker.send);
    }
    assert.deepEqual(taker.eis, range(0, 400));
    assert.equal(taker.streams.size, 1);
  });

  it('deletes what is acknowledged, but for what it shall keep for searches', async (t) => {
    const { dir, open } = await start(t, { segmentBytes: 10_000, keepAcknowledgedBytes: 15_000 });
    const outbox = await open();
    for (const n of range(0, 100)) await outbox.append([commandEvent(n)]);
    const before = (await readdir(dir)).length;
    await drained(outbox, new Taker().send);
    assert.ok((await readdir(dir)).length < before);
    const kept = await lines(outbox);
    assert.ok(kept.length > 10 && kept.length < 90, `${kept.length} kept`);
    assert.deepEqual(kept, range(100 - kept.length, 100));
    const newest = [];
    for await (const event of outbox.search({ order: 'desc', limit: 3 })) newest.push(event.ei);
    assert.deepEqual(newest, [99, 98, 97]);
  });

  it('refuses what has no room, counts it, and takes events again once some are acknowledged', async (t) => {
    const { open } = await start(t, { maxBytes: 30_000, segmentBytes: 5_000 });
    const outbox = await open();
    let held = 0;
    await assert.rejects(
      async () => {
        for (; ; held++) await outbox.append([commandEvent(held)]);
      },
      { kind: 'limit', code: 'audit.outbox_full' },
    );
    assert.ok(held > 20);
    assert.equal(outbox.stats.heldEvents, held);
    assert.equal(outbox.stats.refusedEvents, 1);
    const taker = new Taker();
    await drained(outbox, taker.send);
    await outbox.append([commandEvent(held)]);
    await drained(outbox, taker.send);
    assert.deepEqual(taker.eis, range(0, held + 1));
  });

  it('refuses an event that no call could carry', async (t) => {
    const outbox = await (await start(t)).open();
    const large = commandEvent(1, { argv: ['x'.repeat(1100 * 1024)] });
    await assert.rejects(outbox.append([commandEvent(0), large]), { code: 'audit.event_too_large' });
    assert.deepEqual(await lines(outbox), []);
  });

  it('tries again, later and later, while the auth service is away', async (t) => {
    const outbox = await (await start(t)).open();
    await outbox.append(range(0, 10).map((n) => commandEvent(n)));
    const taker = new Taker();
    let refusals = 0;
    taker.fail = () => (++refusals < 5 ? new AppError('unavailable', 'test.away', 'Away.') : undefined);
    await drained(outbox, taker.send);
    assert.equal(refusals, 5);
    assert.deepEqual(taker.eis, range(0, 10));
  });

  it('begins a new stream when the auth service has lost track of the old one', async (t) => {
    const { open } = await start(t);
    const outbox = await open();
    const taker = new Taker();
    await outbox.append([commandEvent(0), commandEvent(1)]);
    await drained(outbox, taker.send);
    const [first] = taker.streams.keys();
    taker.streams.clear();
    await outbox.append([commandEvent(2)]);
    await drained(outbox, taker.send);
    assert.deepEqual(taker.eis, [2]);
    assert.notEqual([...taker.streams.entries()].find(([, of]) => of.length > 0)?.[0], first);
  });

  it('begins a new stream when the auth service knows more of the old one than it does', async (t) => {
    const outbox = await (await start(t)).open();
    await outbox.append([commandEvent(0)]);
    const taker = new Taker();
    const stale = (await outbox.read())?.stream ?? '';
    taker.streams.set(
      stale,
      range(0, 50).map((n) => JSON.stringify({ ei: n })),
    );
    await drained(outbox, taker.send);
    assert.deepEqual(
      [...taker.streams].filter(([id]) => id !== stale).flatMap(([, of]) => of.length),
      [1],
    );
  });

  it('steps over a torn end, and does not use its positions again', async (t) => {
    const { dir, open } = await start(t);
    await (await open()).append([commandEvent(0), commandEvent(1)]);
    const taker = new Taker();
    const before = await (await open()).read();
    await (await open()).close();
    const newest = (await readdir(dir)).filter((name) => name.endsWith('.seg')).sort();
    // The active segment of the last run is empty; the one with the events is torn here, as by a lost page.
    await rm(join(dir, newest.at(-1) ?? ''));
    const path = join(dir, newest.at(-2) ?? '');
    await truncate(path, (await stat(path)).size - 3);
    const outbox = await open();
    assert.ok(outbox.stats.damagedBytes > 0);
    assert.deepEqual(await lines(outbox), [0]);
    await outbox.append([commandEvent(7)]);
    // The auth service had got both from the process that died.
    taker.streams.set(before?.stream ?? '', [...(before?.lines ?? [])]);
    await drained(outbox, taker.send);
    assert.deepEqual(taker.eis, [0, 1, 7]);
  });

  it('declares what was damaged in the middle as lost, and goes on behind it', async (t) => {
    const { dir, open } = await start(t, { segmentBytes: 5_000 });
    const outbox = await open();
    for (const n of range(0, 40)) await outbox.append([commandEvent(n)]);
    const names = (await readdir(dir)).filter((name) => name.endsWith('.seg')).sort();
    await truncate(join(dir, names[1] ?? ''), 600);
    await appendFile(join(dir, names[1] ?? ''), Buffer.alloc(2000));
    const taker = new Taker();
    await drained(outbox, taker.send);
    const { lostEvents } = outbox.stats;
    assert.ok(lostEvents > 0 && lostEvents < 20);
    assert.equal(taker.eis.length, 40 - lostEvents);
    assert.equal(taker.eis.at(-1), 39);
  });

  it('is readable by its owner only', async (t) => {
    const { dir, open } = await start(t);
    await open();
    assert.equal((await stat(dir)).mode & 0o777, 0o700);
    for (const name of await readdir(dir)) assert.equal((await stat(join(dir, name))).mode & 0o077, 0, name);
  });

  it('opens over files it knows nothing of', async (t) => {
    const { dir, open } = await start(t);
    await open();
    await writeFile(join(dir, 'notes.txt'), 'x');
    await writeFile(join(dir, 'streams.json'), '{{{');
    await writeFile(join(dir, 'acknowledged'), 'x');
    const outbox = await open();
    await outbox.append([commandEvent(3)]);
    const taker = new Taker();
    await drained(outbox, taker.send);
    assert.deepEqual(taker.eis, [3]);
  });

  it('holds every acknowledged event after kill -9, and no half one', async (t) => {
    const { dir, open } = await start(t);
    const fixture = new URL('./outbox-writer.fixture.ts', import.meta.url).pathname;
    let promised = 0;
    for (let round = 0; round < 5; round++) {
      const child = spawn(process.execPath, [fixture, dir, String(promised)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const killAt = promised + 50 + round * 70;
      let text = '';
      for await (const chunk of child.stdout) {
        text += chunk;
        const whole = text.slice(0, text.lastIndexOf('\n'));
        promised = Math.max(promised, Number(whole.slice(whole.lastIndexOf('\n') + 1)));
        if (promised >= killAt) child.kill('SIGKILL');
      }
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      const outbox = await open();
      const found = await lines(outbox);
      assert.ok(found.length >= promised, `${found.length} of ${promised}`);
      assert.deepEqual(found, range(0, found.length));
      promised = found.length;
      await outbox.close();
    }
  });
});
