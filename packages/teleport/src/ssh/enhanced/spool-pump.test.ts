// The pump on a real spool file and a real audit log; only the recorder that would write the spool is missing.
import assert from 'node:assert/strict';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import {
  execRecord,
  fixedPart,
  frameBytes,
  openRecord,
  recordBytes,
  spoolHeaderBytes,
} from '@sallyport/kernel/record-bytes.fixture.ts';
import * as wire from '@sallyport/kernel/wire.gen.ts';
import { AppendQueue } from '../../audit/append-queue.ts';
import type { AuditLog } from '../../audit/audit-log.ts';
import { FileLog } from '../../audit/file-log.ts';
import { SessionEmitter } from '../../audit/session-emitter.ts';
import { facts } from '../facts.fixture.ts';
import { readLoggedSessions } from '../recovery-scan.ts';
import { resizeEvent } from '../session-events.ts';
import { sessionBlocks } from '../session-facts.ts';
import { SessionRecord } from '../session-record.ts';
import { Turn } from '../turn.ts';
import { Gate } from './gate.ts';
import { KernelMeter } from './kernel-meter.ts';
import { SpoolPump, type SpoolPumpOptions } from './spool-pump.ts';

let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'pump-'));
});
const benches: Bench[] = [];
after(async () => {
  for (const bench of benches) await bench.log.close();
  await rm(dir, { recursive: true });
});

const { sid } = facts;

function watchRecord(): Buffer {
  const r = wire.record_watch;
  return recordBytes({
    type: wire.record_type.RECORD_WATCH,
    kind: wire.kind.KIND_META,
    seq: 0,
    fixed: fixedPart(r.SIZE, (at, bytes) => {
      bytes.writeBigUInt64LE(BigInt(Date.now()) * 1_000_000n, at(r.realtime_offset));
    }),
  });
}

function lostRecord(count: number): Buffer {
  const r = wire.record_lost;
  return recordBytes({
    type: wire.record_type.RECORD_LOST,
    kind: wire.kind.KIND_DISK,
    seq: 0,
    fixed: fixedPart(r.SIZE, (at, bytes) => {
      bytes.writeBigUInt64LE(BigInt(count), at(r.count));
      bytes.writeUInt32LE(wire.lost_cause.LOST_RING_FULL, at(r.cause));
    }),
  });
}

const events = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) =>
    i % 3 === 0 ? execRecord(from + i, ['/bin/true', String(i)]) : openRecord(from + i, `/f/${i}`),
  );

let cases = 0;

class Bench {
  readonly folder = join(dir, String(cases++));
  readonly spool = `${this.folder}.spool`;
  readonly checkpoint = `${this.folder}.checkpoint`;
  log!: FileLog;
  length = 0;

  static async with(...records: Buffer[]): Promise<Bench> {
    const bench = new Bench();
    benches.push(bench);
    await bench.reopenLog();
    await writeFile(bench.spool, spoolHeaderBytes(sid));
    await bench.grow(watchRecord(), ...records);
    return bench;
  }

  async reopenLog(): Promise<void> {
    await this.log?.close();
    this.log = await FileLog.open({ logDir: this.folder, hostId: facts.node.serverId });
  }

  async grow(...records: Buffer[]): Promise<void> {
    const bytes = Buffer.concat(records.map(frameBytes));
    await appendFile(this.spool, bytes);
    this.length = Math.max(this.length, wire.spool_header.SIZE) + bytes.length;
  }

  pump(options: Partial<SpoolPumpOptions> = {}): SpoolPump {
    return new SpoolPump({
      spoolPath: this.spool,
      checkpointPath: this.checkpoint,
      sid,
      blocks: sessionBlocks(facts),
      emitter: new SessionEmitter({ clusterName: 'demo' }),
      turn: new Turn(),
      log: this.log,
      record: async () => {},
      gate: new Gate(2),
      meter: new KernelMeter(),
      ...options,
    });
  }

  /** A pump as recovery makes it. */
  async resumed(options: Partial<SpoolPumpOptions> = {}): Promise<SpoolPump> {
    await this.reopenLog();
    const found = (await readLoggedSessions(this.log, [{ version: 1, facts, bootId: '' }])).get(sid);
    assert.ok(found);
    return this.pump({
      seen: found.seen,
      emitter: new SessionEmitter({ clusterName: 'demo', firstEi: found.lastEi + 1 }),
      ...options,
    });
  }

  async inLog(): Promise<AuditEvent[]> {
    return Array.fromAsync(this.log.search({ sid }));
  }

  async seqs(): Promise<(number | undefined)[]> {
    return (await this.inLog()).map((event) => ('seq' in event ? event.seq : undefined));
  }
}

/** As the session does beside its pump: resizes, a failure, the end of the channel, at any moment. */
async function emitUntil(record: SessionRecord, over: () => boolean): Promise<number> {
  let emitted = 0;
  for (; !over(); emitted++) {
    await record.emit(resizeEvent(facts, { cols: emitted, rows: 24 }));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return emitted;
}

test('positions ascend from line to line, whatever else the session puts into its log meanwhile', async () => {
  const bench = await Bench.with(...events(1, 6000));
  let appends = 0;
  const uneven = logThat(bench, async (batch) => {
    // Appends overtake each other unless somebody keeps them apart.
    if (appends++ % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 3));
    await bench.log.append(batch);
  });
  const emitter = new SessionEmitter({ clusterName: 'demo' });
  const queue = new AppendQueue(uneven);
  const onBroken = () => assert.fail('nothing broke');
  const record = new SessionRecord({ emitter, log: uneven, queue, onBroken });
  const pump = bench.pump({ log: uneven, emitter, turn: record.turn });
  let over = false;
  const drained = pump.drain(bench.length).finally(() => {
    over = true;
  });
  const emitted = await emitUntil(record, () => over);
  await drained;
  const positions = (await bench.inLog()).map(({ ei }) => ei);
  assert.ok(emitted > 5, `${emitted} events came between`);
  assert.deepEqual(
    positions,
    upTo(6000 + emitted).map((n) => n - 1),
  );
  await queue.close();
  await pump.stop();
});

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

test('everything in the spool comes into the log, once, in order, with growing positions', async () => {
  const bench = await Bench.with(...events(1, 2000));
  const pump = bench.pump();
  await pump.drain(bench.length);
  assert.deepEqual(await bench.seqs(), upTo(2000));
  const positions = (await bench.inLog()).map(({ ei }) => ei);
  assert.deepEqual(
    positions,
    upTo(2000).map((n) => n - 1),
  );
  assert.deepEqual(pump.logged, { command: 667, disk: 1333, network: 0, meta: 0 });
  await pump.stop();
});

test('what the recorder has not announced is not read', async () => {
  const bench = await Bench.with(...events(1, 10));
  const announced = bench.length;
  await bench.grow(...events(11, 20));
  const pump = bench.pump();
  await pump.drain(announced);
  assert.deepEqual(await bench.seqs(), upTo(10));
  await pump.drain(bench.length);
  assert.deepEqual(await bench.seqs(), upTo(20));
  await pump.stop();
});

for (const checkpoint of ['kept', 'lost'] as const) {
  test(`a pump that stops anywhere and one after it log every record once (checkpoint ${checkpoint})`, async () => {
    const bench = await Bench.with(...events(1, 3000), lostRecord(7), ...events(3001, 4000));
    for (const batches of [1, 2, 3]) {
      let left = batches;
      let stopped: Promise<void> | undefined;
      const pump: SpoolPump = await bench.resumed({
        // As a kill -9 would: the log has the batch, the checkpoint never hears of it.
        log: logThat(bench, async (batch) => {
          await bench.log.append(batch);
          left -= 1;
          if (left > 0) return;
          stopped = pump.stop();
          throw new AppError('unavailable', 'test.killed', 'killed');
        }),
      });
      await pump.drain(bench.length);
      await stopped;
      if (checkpoint === 'lost') await rm(bench.checkpoint, { force: true });
    }
    const last = await bench.resumed();
    await last.drain(bench.length);
    const logged = await bench.inLog();
    const seqs = logged.flatMap((event) => ('seq' in event && event.seq !== undefined ? [event.seq] : []));
    assert.deepEqual(seqs, upTo(4000));
    assert.equal(logged.filter((event) => event.event === 'session.events_lost').length, 1);
    assert.equal(new Set(logged.map(({ ei }) => ei)).size, logged.length);
    assert.equal(last.logged.command + last.logged.disk, 4000);
    await last.stop();
  });
}

function logThat(bench: Bench, append: AuditLog['append']): AuditLog {
  return { append, search: (query) => bench.log.search(query), close: () => bench.log.close() };
}

test('a log that is full for a while delays the events and doubles none', async () => {
  const bench = await Bench.with(...events(1, 700));
  let refusals = 3;
  const trouble: AppError[] = [];
  const pump = bench.pump({
    log: logThat(bench, async (batch) => {
      if (refusals-- > 0) throw new AppError('unavailable', 'audit.disk_full', 'full');
      await bench.log.append(batch);
    }),
    onTrouble: (error) => trouble.push(error),
  });
  await pump.drain(bench.length);
  assert.deepEqual(await bench.seqs(), upTo(700));
  assert.equal(trouble.length, 3);
  await pump.stop();
});

test('damage in the spool is told, and what follows it is read', async () => {
  const bench = await Bench.with(...events(1, 10));
  await appendFile(bench.spool, Buffer.alloc(64, 0x55));
  bench.length += 64;
  await bench.grow(...events(11, 20));
  const trouble: string[] = [];
  const pump = bench.pump({ onTrouble: (error) => trouble.push(error.code) });
  await pump.drain(bench.length);
  assert.deepEqual(await bench.seqs(), upTo(20));
  assert.deepEqual(trouble, ['session.spool_damaged']);
  await pump.stop();
});

test('a spool shorter than announced ends the drain instead of waiting for ever', async () => {
  const bench = await Bench.with(...events(1, 5));
  const pump = bench.pump();
  await pump.drain(bench.length + 4096);
  assert.deepEqual(await bench.seqs(), upTo(5));
  await pump.stop();
});
