// The audit log of a host that is not the auth host: events stay here, on disk, until the auth service has them.
//
// An append resolves when its events would survive a power loss, and holds all of them or none. Positions are
// contiguous; `drain` sends them in order and never ahead of the disk, so that a position, once sent, always means
// the same event. Bounded: what does not fit is refused and counted, and who makes events must stop.
import type { FileHandle } from 'node:fs/promises';
import { mkdir, rm, truncate } from 'node:fs/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, serialize } from '@sallyport/contracts/events/event.ts';
import type { AuditLog, EventQuery } from './audit-log.ts';
import { eventFilter } from './event-filter.ts';
import { encodeRecord, maxLineBytes, readRecords } from './outbox-segment.ts';
import { endOf, findSegments, freshSegment, linesOf, type Segment } from './outbox-segments.ts';
import { OutboxStreams, readAcknowledged, writeAcknowledged } from './outbox-streams.ts';

export interface OutboxOptions {
  /** `<data_dir>/outbox`. */
  readonly dir: string;
  /** Of what the auth service does not have yet, bytes on disk. Default 1 GiB. */
  readonly maxBytes?: number;
  /** Of what it has: kept for `search`, which a restart finishes its sessions by. Default 64 MiB. */
  readonly keepAcknowledgedBytes?: number;
  readonly segmentBytes?: number;
}

export interface OutboxStats {
  /** Events the auth service does not have yet. */
  readonly heldEvents: number;
  readonly heldBytes: number;
  readonly appendedEvents: number;
  /** Events that were refused: no room, disk full, too large. */
  readonly refusedEvents: number;
  /** Events that were in the outbox and can no longer be read. */
  readonly lostEvents: number;
  /** Bytes a crash left behind the last whole event; their appends were never acknowledged. */
  readonly damagedBytes: number;
}

/** Events from position `first` of a stream on. */
export interface OutboxBatch {
  readonly stream: string;
  readonly first: number;
  readonly lines: string[];
}

/** What drain works on. */
export interface PositionedBatch extends OutboxBatch {
  /** The outbox's position of its first event. */
  readonly position: number;
  /** The outbox's position that is the stream's 0. */
  readonly base: number;
  /** The outbox's position where the next stream begins; Infinity when there is none. */
  readonly end: number;
}

interface Waiting {
  readonly records: readonly Buffer[];
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: AppError) => void;
}

const defaults = {
  maxBytes: 1024 * 1024 * 1024,
  keepAcknowledgedBytes: 64 * 1024 * 1024,
  segmentBytes: 8 * 1024 * 1024,
};
/** One write and one sync; a failure takes so much along. */
const maxGroupBytes = 4 * 1024 * 1024;
/** Of a batch: JSON in JSON may double it, and the API takes 4 MiB. */
const maxBatchBytes = 1024 * 1024;
const maxBatchEvents = 2_000;

export class Outbox implements AuditLog {
  readonly #options: Required<OutboxOptions>;
  readonly #streams: OutboxStreams;
  /** Oldest first; never empty: the last one is written to. */
  readonly #segments: Segment[];
  #handle: FileHandle;
  #acknowledged: number;
  /** Where the next read goes on, so that a batch does not read its segment from the beginning. */
  #reading = { path: '', position: -1, offset: 0 };
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  #writing: Promise<void> | undefined;
  #closed = false;
  readonly #arrivals = new Set<() => void>();
  #stats = { appendedEvents: 0, refusedEvents: 0, lostEvents: 0, damagedBytes: 0 };

  private constructor(
    options: Required<OutboxOptions>,
    streams: OutboxStreams,
    segments: Segment[],
    handle: FileHandle,
    acknowledged: number,
  ) {
    this.#options = options;
    this.#streams = streams;
    this.#segments = segments;
    this.#handle = handle;
    this.#acknowledged = acknowledged;
  }

  /** Takes over what the last process left. Only one process may have an outbox open. */
  static async open(options: OutboxOptions): Promise<Outbox> {
    const { dir } = options;
    try {
      await mkdir(dir, { recursive: true, mode: 0o700 });
      const found = await findSegments(dir);
      const streams = await OutboxStreams.open(dir);
      // Only what was acknowledged is ever deleted, and that before it is written down.
      const acknowledged = Math.max(await readAcknowledged(dir), found.segments[0]?.first ?? 0);
      const next = Math.max(acknowledged, endOf(found.segments.at(-1)));
      if (streams.isNew) await streams.begin(Math.min(acknowledged, next));
      // Positions that were used and lost may be known to the auth service: whoever uses them again is new to it.
      const lost = found.damagedBytes > 0 || acknowledged > endOf(found.segments.at(-1));
      if (lost || found.segments.length === 0) await streams.begin(next);
      const { segment, handle } = await freshSegment(dir, next);
      const segments = [...found.segments.filter(({ first }) => first < next), segment];
      const outbox = new Outbox({ ...defaults, ...options }, streams, segments, handle, acknowledged);
      outbox.#stats.damagedBytes = found.damagedBytes;
      await outbox.#forget();
      return outbox;
    } catch (cause) {
      throw outboxError(cause, `The outbox in ${dir} cannot be opened.`);
    }
  }

  get stats(): OutboxStats {
    return { ...this.#stats, heldEvents: this.next - this.#acknowledged, heldBytes: this.#heldBytes() };
  }

  /** The position after the last durable event. */
  get next(): number {
    return endOf(this.#active);
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  append(events: readonly AuditEvent[]): Promise<void> {
    if (this.#closed)
      return Promise.reject(new AppError('unavailable', 'audit.closed', 'The audit log is closed.'));
    if (events.length === 0) return Promise.resolve();
    const records = events.map((event) => encodeRecord(serialize(event)));
    const refused = this.#refusal(records);
    if (refused !== undefined) {
      this.#stats.refusedEvents += events.length;
      return Promise.reject(refused);
    }
    const bytes = records.reduce((sum, record) => sum + record.length, 0);
    return new Promise((resolve, reject) => {
      this.#queue.push({ records, bytes, resolve, reject });
      this.#queuedBytes += bytes;
      this.#writing ??= this.#write();
    });
  }

  /** What is still here, acknowledged or not. */
  async *search(query: EventQuery = {}): AsyncGenerator<AuditEvent> {
    const match = eventFilter(query);
    let left = query.limit ?? Number.POSITIVE_INFINITY;
    if (left <= 0) return;
    const segments = this.#segments.map((segment) => ({ ...segment }));
    if (query.order === 'desc') segments.reverse();
    for (const segment of segments) {
      for await (const lines of linesOf(segment, query.order)) {
        for (const line of lines) {
          const found = match(line);
          if (found === undefined || found === 'skipped') continue;
          yield found;
          if (--left <= 0) return;
        }
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
    for (const arrived of this.#arrivals) arrived();
    await this.#handle.close();
  }

  /** The oldest events that the auth service does not have, as many as one call takes; `undefined`: none. */
  async read(): Promise<PositionedBatch | undefined> {
    while (this.#acknowledged < this.next) {
      const position = this.#acknowledged;
      const lines = await this.#readLines(position);
      const at = this.#streams.at(position);
      if (lines.length > 0 && at !== undefined) {
        const { id: stream, base } = at.stream;
        return { stream, base, end: at.end, first: position - base, position, lines };
      }
      await this.#skipUnreadable(position);
    }
    return undefined;
  }

  /** Everything before this position is in the auth service's log. */
  async acknowledge(position: number): Promise<void> {
    if (position <= this.#acknowledged || position > this.next) return;
    this.#acknowledged = position;
    this.#streams.forgetBefore(position);
    await this.#forget();
    // On a full disk what is kept for searches makes way; should that not do, a restart sends some again.
    await writeAcknowledged(this.#options.dir, position).catch(async () => {
      await this.#forget(0);
      await writeAcknowledged(this.#options.dir, position).catch(() => {});
    });
  }

  /** The auth service knows nothing of the stream, or something else: what it does not have goes into a new one. */
  async renewStream(): Promise<void> {
    await this.#streams.renew(this.#acknowledged);
  }

  /** Resolves when there is something to read, or the outbox closes, or the signal aborts. */
  arrival(signal: AbortSignal): Promise<void> {
    if (this.#closed || signal.aborted || this.#acknowledged < this.next) return Promise.resolve();
    return new Promise((resolve) => {
      const arrived = () => {
        this.#arrivals.delete(arrived);
        signal.removeEventListener('abort', arrived);
        resolve();
      };
      this.#arrivals.add(arrived);
      signal.addEventListener('abort', arrived);
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  get #active(): Segment {
    return this.#segments.at(-1) as Segment;
  }

  #refusal(records: readonly Buffer[]): AppError | undefined {
    if (records.some((record) => record.length > maxLineBytes)) {
      return new AppError(
        'bad_input',
        'audit.event_too_large',
        `An audit event is larger than ${maxLineBytes} bytes.`,
      );
    }
    const bytes = records.reduce((sum, record) => sum + record.length, 0);
    if (this.#heldBytes() + this.#queuedBytes + bytes <= this.#options.maxBytes) return undefined;
    return new AppError('limit', 'audit.outbox_full', 'Too many audit events wait for the auth service.', {
      hint: 'The auth service must be reached again before this host can go on.',
    });
  }

  /** Of segments with anything that is not acknowledged. */
  #heldBytes(): number {
    return this.#segments.reduce(
      (sum, segment) => (endOf(segment) > this.#acknowledged ? sum + segment.length : sum),
      0,
    );
  }

  /** Only one runs at a time: it owns the active segment. */
  async #write(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve)); // a burst becomes one group
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      try {
        await this.#writeGroup(group).catch(async (cause: unknown) => {
          // What is kept for searches only makes way for what is new.
          if (!isFull(cause) || !(await this.#forget(0))) throw cause;
          await this.#writeGroup(group);
        });
        for (const { records, resolve } of group) {
          this.#stats.appendedEvents += records.length;
          resolve();
        }
        for (const arrived of this.#arrivals) arrived();
      } catch (cause) {
        const error = outboxError(cause, 'The outbox cannot be written.');
        for (const { records, reject } of group) {
          this.#stats.refusedEvents += records.length;
          reject(error);
        }
      }
      for (const { bytes } of group) this.#queuedBytes -= bytes;
    }
    this.#writing = undefined;
  }

  #takeGroup(): Waiting[] {
    let bytes = 0;
    let n = 0;
    for (const waiting of this.#queue) {
      bytes += waiting.bytes;
      if (n > 0 && bytes > maxGroupBytes) break;
      n++;
    }
    return this.#queue.splice(0, n);
  }

  async #writeGroup(group: readonly Waiting[]): Promise<void> {
    if (this.#active.length >= this.#options.segmentBytes) await this.#roll();
    const segment = this.#active;
    const records = group.flatMap((waiting) => waiting.records);
    const data = Buffer.concat(records);
    try {
      const { bytesWritten } = await this.#handle.write(data, 0, data.length, segment.length);
      if (bytesWritten < data.length) throw Object.assign(new Error('short write'), { code: 'ENOSPC' });
      await this.#handle.datasync();
    } catch (cause) {
      // Nothing of it was sent: its positions may be used again. Should this fail too, the next write covers it,
      // and until then the count of records in memory leaves it out.
      await truncate(segment.path, segment.length).catch(() => {});
      throw cause;
    }
    segment.length += data.length;
    segment.records += records.length;
  }

  async #roll(): Promise<void> {
    const { segment, handle } = await freshSegment(this.#options.dir, this.next);
    const old = this.#handle;
    this.#handle = handle;
    this.#segments.push(segment);
    await old.close();
  }

  /** Deletes acknowledged segments, the oldest first, until no more than `keep` bytes of them are left. */
  async #forget(keep = this.#options.keepAcknowledgedBytes): Promise<boolean> {
    const done = this.#segments.filter(
      (segment) => segment !== this.#active && endOf(segment) <= this.#acknowledged,
    );
    let bytes = done.reduce((sum, segment) => sum + segment.length, 0);
    const doomed = done.filter((segment) => {
      const dooms = bytes > keep;
      bytes -= segment.length;
      return dooms;
    });
    for (const segment of doomed) this.#segments.splice(this.#segments.indexOf(segment), 1);
    for (const { path } of doomed) await rm(path, { force: true });
    return doomed.length > 0;
  }

  /** Up to the end of the segment, of the stream or of what one call takes. */
  async #readLines(position: number): Promise<string[]> {
    const segment = this.#segments.findLast(({ first }) => first <= position);
    const streamEnd = this.#streams.at(position)?.end ?? 0;
    if (segment === undefined || position >= endOf(segment)) return [];
    const goesOn = this.#reading.path === segment.path && this.#reading.position === position;
    let at = goesOn ? position : segment.first;
    const last = Math.min(endOf(segment), streamEnd);
    const lines: string[] = [];
    let bytes = 0;
    for await (const records of readRecords(
      segment.path,
      goesOn ? this.#reading.offset : 0,
      segment.length,
    )) {
      for (const { line, nextOffset } of records) {
        if (at >= last || lines.length >= maxBatchEvents) return lines;
        if (at >= position) {
          bytes += line.length;
          if (lines.length > 0 && bytes > maxBatchBytes) return lines;
          lines.push(line);
        }
        at++;
        this.#reading = { path: segment.path, position: at, offset: nextOffset };
      }
    }
    return lines;
  }

  /** The rest of a segment cannot be read: what it held is lost, and what follows gets a stream of its own. */
  async #skipUnreadable(position: number): Promise<void> {
    const following = this.#segments.find(({ first }) => first > position);
    const to = following?.first ?? this.next;
    this.#stats.lostEvents += to - position;
    await this.#streams.renew(to);
    await this.acknowledge(to);
    // Nothing may be appended behind what cannot be read.
    if (following === undefined) await this.#roll();
  }
}

function isFull(cause: unknown): boolean {
  const code = (cause as NodeJS.ErrnoException).code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

function outboxError(cause: unknown, message: string): AppError {
  if (isFull(cause)) {
    return new AppError('unavailable', 'audit.disk_full', 'The disk of the outbox is full.', { cause });
  }
  return new AppError('unavailable', 'audit.write_failed', message, { cause });
}
