// The audit log as files: one JSON-lines file a UTC day, `events.log` pointing at the newest.
//
// Durability: an append resolves after write(2) and fdatasync(2) of its batch. While a batch is on its way to the
// disk, everything appended meanwhile is gathered into the next one, so that a burst costs a few syncs, not one
// an event. `durability: 'written'` leaves out the sync: a kill -9 still loses nothing, a power loss may lose the
// last seconds.
import { rm } from 'node:fs/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, serialize } from '@sallyport/contracts/events/event.ts';
import type { AuditLog, EventQuery } from './audit-log.ts';
import { DayFile } from './day-file.ts';
import { eventFilter } from './event-filter.ts';
import { linesBackward, linesForward } from './line-reader.ts';
import { endOfDay, LogLayout, syncDir } from './log-layout.ts';
import type { TornTail } from './torn-tail.ts';

export interface FileLogOptions {
  /** `<data_dir>/log`. */
  readonly logDir: string;
  /** Uuid of this host: names its folder. */
  readonly hostId: string;
  /** Wall clock, ms. Decides the day of a file. */
  readonly now?: () => number;
  readonly durability?: 'synced' | 'written';
  /** Files of days that ended longer ago are deleted, at the start and at each new day. Without it none is, ms. */
  readonly retentionMs?: number;
  /** Bytes that may wait for the disk; an append beyond it rejects with `limit`. Default 64 MiB. */
  readonly maxQueuedBytes?: number;
  /**
   * For a process beside the daemon (`tctl` on the auth host): appends and searches as any other, but repairs
   * nothing, since what looks torn to it may be the daemon's write on its way.
   */
  readonly secondary?: boolean;
}

interface Waiting {
  readonly lines: Buffer;
  readonly events: number;
  readonly resolve: () => void;
  readonly reject: (error: AppError) => void;
}

export interface FileLogStats {
  readonly appendedEvents: number;
  readonly batches: number;
  readonly queuedBytes: number;
  /** Events whose append was rejected. */
  readonly rejectedEvents: number;
  /** Lines a search met and could not read: not JSON, or of an unknown or newer event. */
  readonly skippedLines: number;
}

/** A batch ends here, so that one write stays short and a failure takes few along. */
const maxBatchBytes = 4 * 1024 * 1024;

/** Clocks of the kernel and of this process may disagree a little; a file is left out of a search beyond that. */
const clockSlackMs = 3600 * 1000;

export class FileLog implements AuditLog {
  readonly #options: FileLogOptions;
  readonly #layout: LogLayout;
  readonly #now: () => number;
  #day: DayFile;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  #writing: Promise<void> | undefined;
  #closed = false;
  #stats = { appendedEvents: 0, batches: 0, rejectedEvents: 0, skippedLines: 0 };
  /** Torn ends that were found and moved aside, for the caller to report. */
  readonly torn: readonly TornTail[];

  private constructor(options: FileLogOptions, layout: LogLayout, day: DayFile, torn: readonly TornTail[]) {
    this.#options = options;
    this.#layout = layout;
    this.#now = options.now ?? Date.now;
    this.#day = day;
    this.torn = torn;
  }

  /** Makes the tree, repairs what a crash left, and points events.log at today's file. */
  static async open(options: FileLogOptions): Promise<FileLog> {
    const layout = new LogLayout(options.logDir, options.hostId);
    const nowMs = (options.now ?? Date.now)();
    try {
      await layout.makeDirs();
      const newest = (await layout.dayFiles()).at(-1);
      const today = layout.dayFile(nowMs);
      // A newest file of "tomorrow" means that the clock was set back: the log never goes back to an older file.
      const path = newest !== undefined && newest > today ? newest : today;
      const torn: TornTail[] = [];
      // The day before may be torn too, when the crash was yesterday.
      if (newest !== undefined && newest < today && options.secondary !== true) {
        torn.push(...(await repair(newest, nowMs)));
      }
      const day = await openDay(options, path, nowMs);
      if (day.torn !== undefined) torn.push(day.torn);
      // A secondary that makes no new file leaves the link to the daemon, which may be about to move it on.
      if (options.secondary !== true || newest !== path) {
        await syncDir(layout.hostDir);
        await layout.pointLinkAt(day.path);
      }
      if (options.secondary !== true) await dropOldDays(layout, options.retentionMs, nowMs);
      return new FileLog(options, layout, day, torn);
    } catch (cause) {
      throw writeError(cause, `The audit log in ${options.logDir} cannot be opened.`);
    }
  }

  get stats(): FileLogStats {
    return { ...this.#stats, queuedBytes: this.#queuedBytes };
  }

  append(events: readonly AuditEvent[]): Promise<void> {
    if (this.#closed)
      return Promise.reject(new AppError('unavailable', 'audit.closed', 'The audit log is closed.'));
    if (events.length === 0) return Promise.resolve();
    const lines = Buffer.from(`${events.map(serialize).join('\n')}\n`);
    const max = this.#options.maxQueuedBytes ?? 64 * 1024 * 1024;
    // A single append larger than the bound passes when nothing waits; it could never be written otherwise.
    if (this.#queuedBytes > 0 && this.#queuedBytes + lines.length > max) {
      this.#stats.rejectedEvents += events.length;
      return Promise.reject(
        new AppError(
          'limit',
          'audit.queue_full',
          `More than ${max} bytes of audit events wait for the disk.`,
        ),
      );
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ lines, events: events.length, resolve, reject });
      this.#queuedBytes += lines.length;
      this.#writing ??= this.#drain();
    });
  }

  async *search(query: EventQuery = {}): AsyncGenerator<AuditEvent> {
    const match = eventFilter(query);
    let left = query.limit ?? Number.POSITIVE_INFINITY;
    if (left <= 0) return;
    for await (const lines of this.#lines(query)) {
      for (const line of lines) {
        const found = match(line);
        if (found === 'skipped' && line !== '') this.#stats.skippedLines++;
        if (found === undefined || found === 'skipped') continue;
        yield found;
        if (--left <= 0) return;
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
    await this.#day.close();
  }

  /** Only one runs at a time: it owns the day file. */
  async #drain(): Promise<void> {
    // One turn later, so that a burst made in one go becomes one batch, not a first event alone and the rest.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#queue.length > 0) {
      const batch = this.#takeBatch();
      const bytes = batch.reduce((sum, waiting) => sum + waiting.lines.length, 0);
      try {
        await this.#rotate();
        await this.#day.append(
          Buffer.concat(batch.map((w) => w.lines)),
          this.#options.durability !== 'written',
        );
        this.#stats.batches++;
        for (const waiting of batch) {
          this.#stats.appendedEvents += waiting.events;
          waiting.resolve();
        }
      } catch (cause) {
        const error = writeError(cause, 'The audit log cannot be written.');
        for (const waiting of batch) {
          this.#stats.rejectedEvents += waiting.events;
          waiting.reject(error);
        }
      }
      this.#queuedBytes -= bytes;
    }
    this.#writing = undefined;
  }

  #takeBatch(): Waiting[] {
    let bytes = 0;
    let n = 0;
    for (const waiting of this.#queue) {
      if (n > 0 && bytes + waiting.lines.length > maxBatchBytes) break;
      bytes += waiting.lines.length;
      n++;
    }
    return this.#queue.splice(0, n);
  }

  async #rotate(): Promise<void> {
    const path = this.#layout.dayFile(this.#now());
    if (path <= this.#day.path) return;
    const next = await openDay(this.#options, path, this.#now());
    try {
      // The file before the link, the name on disk before an event in it is acknowledged.
      await syncDir(this.#layout.hostDir);
      await this.#layout.pointLinkAt(path);
    } catch (cause) {
      await next.close();
      throw cause;
    }
    const old = this.#day;
    this.#day = next;
    await old.close();
    await dropOldDays(this.#layout, this.#options.retentionMs, this.#now());
  }

  /**
   * Files are left out by `from` only: an event can be appended days after it happened (the spool of a host that
   * was down), never before.
   */
  async *#lines(query: EventQuery): AsyncGenerator<string[]> {
    const from = query.from === undefined ? Number.NEGATIVE_INFINITY : query.from.getTime() - clockSlackMs;
    const files = (await this.#layout.dayFiles()).filter((file) => endOfDay(file) > from);
    if (query.order === 'desc') files.reverse();
    for (const file of files) yield* query.order === 'desc' ? linesBackward(file) : linesForward(file);
  }
}

function openDay(options: FileLogOptions, path: string, nowMs: number): Promise<DayFile> {
  return options.secondary === true ? DayFile.openBeside(path) : DayFile.open(path, nowMs);
}

/** By the day of arrival, as a database does it (postgres-log-schema.ts); the newest file always stays. */
async function dropOldDays(layout: LogLayout, retentionMs: number | undefined, nowMs: number): Promise<void> {
  if (retentionMs === undefined) return;
  const files = await layout.dayFiles();
  for (const path of files.slice(0, -1))
    if (endOfDay(path) < nowMs - retentionMs) await rm(path, { force: true });
}

async function repair(path: string, nowMs: number): Promise<TornTail[]> {
  const file = await DayFile.open(path, nowMs);
  await file.close();
  return file.torn === undefined ? [] : [file.torn];
}

const full = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

function writeError(cause: unknown, message: string): AppError {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  if (code !== undefined && full.has(code)) {
    return new AppError('unavailable', 'audit.disk_full', 'The disk of the audit log is full.', {
      cause,
      hint: 'Free space under the data directory; waiting events are kept and written then.',
    });
  }
  return new AppError('unavailable', 'audit.write_failed', message, { cause });
}
