// Spool → audit log and recording, for one session. The spool is the truth and may run far ahead: the pump reads
// as far as the recorder says, a batch at a time, and a batch counts once the log has it. While one is on its way
// to the disk the next one is decoded. A slow disk slows the pump and nobody else; memory is two batches and two
// read windows.
import { access } from 'node:fs/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent, EventDraft } from '@sallyport/contracts/events/event.ts';
import type { EventKind, KernelEvent, LostEvent, TotalsByKind } from '@sallyport/kernel/kernel-event.ts';
import { type SpoolItem, SpoolReader } from '@sallyport/kernel/spool.ts';
import type { AuditLog } from '../../audit/audit-log.ts';
import { kernelEventUid, type SessionEmitter } from '../../audit/session-emitter.ts';
import { fromKernel } from '../kernel-error.ts';
import type { Turn } from '../turn.ts';
import { Checkpoint, type LoggedByKind, nothingLogged } from './checkpoint.ts';
import { correlate } from './correlate.ts';
import type { Gate } from './gate.ts';
import { KernelClock } from './kernel-clock.ts';
import type { KernelMeter } from './kernel-meter.ts';
import type { SeenRecords } from './seen-records.ts';
import type { CorrelationContext, SessionBlocks } from './task-block.ts';

export interface SpoolPumpOptions {
  readonly spoolPath: string;
  readonly checkpointPath: string;
  readonly sid: string;
  readonly blocks: SessionBlocks;
  readonly emitter: SessionEmitter;
  /** The session's: a batch is stamped, recorded and logged before anything else of the session is stamped. */
  readonly turn: Turn;
  readonly log: AuditLog;
  /** The session's recording takes a batch before the log does. Its failures are its owner's business. */
  readonly record: (events: readonly AuditEvent[]) => Promise<void>;
  readonly gate: Gate;
  readonly meter: KernelMeter;
  /** At recovery: what the log has already. */
  readonly seen?: SeenRecords;
  /** A declared loss came by, and is in the log. */
  readonly onLost?: (event: LostEvent) => void;
  /** The log refused a batch (which is kept and tried again), or the spool is damaged. */
  readonly onTrouble?: (error: AppError) => void;
}

const batchEvents = 512;
/** Batches a session may put through before another session's pump gets its turn. */
const batchesPerTurn = 8;
const retryMinMs = 100;
const retryMaxMs = 5_000;

interface Batch {
  drafts: EventDraft[];
  kinds: EventKind[];
  /** Of `kinds`, those that are new to the log. */
  fresh: EventKind[];
  lost: LostEvent[];
  /** Of its newest event, kernel time. */
  ktime: bigint;
  nextOffset: number;
}

export class SpoolPump {
  readonly #options: SpoolPumpOptions;
  #reader: SpoolReader | undefined;
  #checkpoint: Checkpoint | undefined;
  #context: CorrelationContext | undefined;
  #logged: LoggedByKind = { ...nothingLogged };
  #offset = 0;
  #target = 0;
  #running: Promise<void> | undefined;
  readonly #stop = new AbortController();

  constructor(options: SpoolPumpOptions) {
    this.#options = options;
  }

  /** Records that are in the log, by kind. */
  get logged(): Readonly<LoggedByKind> {
    return this.#logged;
  }

  /** Bytes announced and not in the log yet. */
  get backlogBytes(): number {
    return this.#reader ? Math.max(0, this.#target - this.#offset) : this.#target;
  }

  /** The spool may be read up to here. Returns at once. */
  advance(spoolLength: number): void {
    if (!this.#stop.signal.aborted) this.#options.meter.add(this);
    this.#target = Math.max(this.#target, spoolLength);
    if (this.#offset < this.#target) this.#running ??= this.#run();
  }

  /** Resolves when everything up to there is in the log; after stop(), when the pump stands still. */
  async drain(spoolLength: number): Promise<void> {
    this.advance(spoolLength);
    while (this.#running) await this.#running;
  }

  /** For a spool whose recorder is gone: everything the file holds. */
  async drainWhole(): Promise<void> {
    const reader = await this.#open();
    if (reader) await this.drain(await reader.length());
  }

  async exists(): Promise<boolean> {
    return await access(this.#options.spoolPath).then(
      () => true,
      () => false,
    );
  }

  /** What the last frame says; undefined when the recorder never wrote one. Reads the whole file. */
  async totalsInSpool(): Promise<TotalsByKind | undefined> {
    const reader = await this.#open();
    if (!reader) return undefined;
    for await (const item of reader.read()) {
      if (item.type === 'event' && item.event.type === 'end') return item.event.totals;
    }
    return undefined;
  }

  /** Gives up what is waiting (it stays in the spool) and lets go of the files. */
  async stop(): Promise<void> {
    this.#stop.abort();
    while (this.#running) await this.#running;
    await this.#reader?.close();
    await this.#checkpoint?.close();
    this.#reader = undefined;
    this.#checkpoint = undefined;
    this.#options.meter.remove(this);
  }

  async #run(): Promise<void> {
    try {
      while (this.#offset < this.#target && !this.#stop.signal.aborted) {
        const before = this.#offset;
        await this.#options.gate.run(() => this.#turn(this.#target));
        // Nothing whole to read although more was promised: the file was cut. The totals will tell.
        if (this.#offset === before) break;
      }
    } catch (thrown) {
      this.#options.onTrouble?.(fromKernel(thrown));
    } finally {
      this.#running = undefined;
    }
  }

  /** A few batches. */
  async #turn(target: number): Promise<void> {
    const reader = await this.#open();
    if (!reader || !this.#context) return;
    let batch = emptyBatch(this.#offset);
    let batches = 0;
    let onItsWay = Promise.resolve(true);
    try {
      for await (const item of reader.read(this.#offset, target)) {
        this.#take(item, batch, this.#context);
        if (batch.drafts.length < batchEvents) continue;
        if (!(await onItsWay)) return;
        onItsWay = this.#put(batch);
        batch = emptyBatch(batch.nextOffset);
        batches += 1;
        if (batches === batchesPerTurn) break;
      }
      if ((await onItsWay) && batch.nextOffset > this.#offset) await this.#put(batch);
    } finally {
      await onItsWay; // whatever the spool's end was
    }
  }

  #take(item: SpoolItem, batch: Batch, context: CorrelationContext): void {
    const offset = batch.nextOffset;
    batch.nextOffset = item.nextOffset;
    if (item.type !== 'event') {
      this.#options.onTrouble?.(damaged(item));
      return;
    }
    const { event } = item;
    const draft = correlate(event, context);
    if (draft === undefined) return;
    if (event.type === 'lost') batch.lost.push(event);
    const uid = recordUid(this.#options.sid, event, offset);
    if (event.type !== 'lost') batch.kinds.push(event.kind);
    // In the log since before the crash: counted, not written again.
    if (this.#isSeen(event, uid)) return;
    draft.uid = uid;
    batch.drafts.push(draft);
    if (event.type !== 'lost') batch.fresh.push(event.kind);
    batch.ktime = event.ktime;
  }

  #isSeen(event: KernelEvent, uid: string): boolean {
    const { seen } = this.#options;
    if (seen === undefined) return false;
    return event.seq > 0 ? seen.has(event.seq) : seen.hasKey(uid);
  }

  /** False: stopped before the log had it. Never rejects. */
  async #put(batch: Batch): Promise<boolean> {
    const { emitter, turn, record } = this.#options;
    const logged = await turn
      .run(async () => {
        const events = batch.drafts.map((draft) => emitter.stamp(draft));
        await record(events);
        return await this.#append(events);
      }, this.#stop.signal)
      .catch(() => false);
    if (!logged) return false;
    this.#offset = batch.nextOffset;
    for (const kind of batch.kinds) this.#logged[kind] += 1;
    this.#meter(batch);
    await this.#noteProgress();
    for (const lost of batch.lost) this.#options.onLost?.(lost);
    return true;
  }

  #meter({ fresh, lost, ktime }: Batch): void {
    const { meter } = this.#options;
    for (const { kind, count } of lost) meter.lost[kind] += count;
    if (fresh.length > 0 && this.#context) meter.batch(fresh, Date.now() - this.#context.clock.wallMs(ktime));
  }

  /** A checkpoint that cannot be written costs the next start some reading; the events are in the log. */
  async #noteProgress(): Promise<void> {
    const progress = { spoolOffset: this.#offset, logged: this.#logged };
    await this.#checkpoint?.write(progress).catch(() => {});
  }

  /** Tries until the log takes it. False: stopped first. */
  async #append(events: readonly AuditEvent[]): Promise<boolean> {
    let waitMs = retryMinMs;
    while (!this.#stop.signal.aborted) {
      try {
        await this.#options.log.append(events);
        return true;
      } catch (thrown) {
        this.#options.onTrouble?.(AppError.from(thrown));
      }
      await pause(waitMs, this.#stop.signal);
      waitMs = Math.min(waitMs * 2, retryMaxMs);
    }
    return false;
  }

  /** undefined: there is no spool (yet). */
  async #open(): Promise<SpoolReader | undefined> {
    if (this.#reader) return this.#reader;
    const reader = await SpoolReader.open(this.#options.spoolPath);
    const first = await reader.read(reader.firstOffset).next();
    if (first.done === true || first.value.type !== 'event' || first.value.event.type !== 'watch') {
      await reader.close();
      return undefined;
    }
    const { blocks } = this.#options;
    this.#context = { blocks, clock: new KernelClock(first.value.event.realtimeOffsetNs) };
    // On a full disk there may be none: recovery reads from the beginning then.
    this.#checkpoint = await Checkpoint.open(this.#options.checkpointPath).catch(() => undefined);
    const found = this.#checkpoint?.found;
    this.#offset = Math.max(found?.spoolOffset ?? 0, reader.firstOffset);
    this.#logged = { ...(found?.logged ?? nothingLogged) };
    this.#reader = reader;
    return reader;
  }
}

function emptyBatch(nextOffset: number): Batch {
  return { drafts: [], kinds: [], fresh: [], lost: [], ktime: 0n, nextOffset };
}

/**
 * The same record makes the same id whenever it is read. The recorder's own records have no sequence number;
 * their place in the spool, negative, stands for it.
 */
function recordUid(sid: string, event: KernelEvent, offset: number): string {
  return kernelEventUid(sid, event.seq > 0 ? event.seq : -offset);
}

function damaged(item: Exclude<SpoolItem, { type: 'event' }>): AppError {
  const what =
    item.type === 'corruption'
      ? `${item.skippedBytes} bytes at ${item.offset} are damaged (${item.reason})`
      : `a record before ${item.nextOffset} cannot be read`;
  return new AppError('internal', 'session.spool_damaged', `The session's spool: ${what}.`);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
