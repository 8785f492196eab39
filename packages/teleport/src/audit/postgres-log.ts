// The audit log in a PostgreSQL database, for several auth servers at once. Appends made while one is on its way go
// together as the next. Events are known by their ids and hosts' batches by their positions, both looked at under the
// log's lock: whoever does not know whether an append arrived, on whichever server, makes it again.
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, serialize } from '@sallyport/contracts/events/event.ts';
import type { PostgresAddress } from '../config/postgres-uri.ts';
import { Database, type DatabaseLimits, type DatabaseStats } from '../postgres/database.ts';
import { migrate, pgName } from '../postgres/migrate.ts';
import type { BatchPlace, EventQuery, PositionedLog } from './audit-log.ts';
import { keepDays } from './postgres-days.ts';
import { auditMigrations } from './postgres-log-schema.ts';
import { type PostgresPageBounds, PostgresPages } from './postgres-pages.ts';
import { type AppendPart, appendValues } from './postgres-rows.ts';
import { PostgresText } from './postgres-text.ts';

export interface PostgresLogOptions {
  /** Decides the day of a partition. Without it the database's clock, ms. */
  readonly now?: (() => number) | undefined;
  /** Days older than this are dropped. Without it none is, ms. */
  readonly retentionMs?: number | undefined;
  /** Bytes that may wait for the database; an append beyond it rejects with `limit`. Default 64 MiB. */
  readonly maxQueuedBytes?: number;
  /** How often days are made and dropped, ms. */
  readonly keepDaysMs?: number;
  /** Default `sallyport`. */
  readonly schema?: string;
  readonly limits?: Partial<DatabaseLimits>;
  readonly bounds?: Partial<PostgresPageBounds>;
  readonly observe?: ((operation: string, seconds: number, failed: boolean) => void) | undefined;
  readonly onDropped?: (days: readonly string[]) => void;
}

export interface PostgresLogStats extends DatabaseStats {
  readonly appendedEvents: number;
  readonly batches: number;
  readonly queuedBytes: number;
  /** Events whose append was rejected. */
  readonly rejectedEvents: number;
  readonly skippedLines: number;
}

interface Waiting extends AppendPart {
  readonly bytes: number;
  readonly resolve: (position: number) => void;
  readonly reject: (error: AppError) => void;
}

interface Batch {
  readonly parts: readonly Waiting[];
  /** Of append_events. */
  readonly values: unknown[];
}

/**
 * A batch ends here: so long the other servers wait for their turn. And while the database works on one, who was
 * answered makes the next: with all in one batch both would wait for each other.
 */
const maxBatchBytes = 2 * 1024 * 1024;
const maxBatchEvents = 2_000;
/** No partition for the row. */
const noPartition = /no partition of relation/;
/** How long new events are searched without digests of their texts, about, ms. */
const digestMs = 5_000;
/** The heartbeat of `problem`, ms. */
const pingMs = 2_000;

export class PostgresLog implements PositionedLog {
  readonly #database: Database;
  readonly #schema: string;
  readonly #options: PostgresLogOptions;
  readonly pages: PostgresPages;
  readonly text: PostgresText;
  readonly #timers: NodeJS.Timeout[];
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  /** Of the queue alone, without batches that were taken from it. */
  #queuedEvents = 0;
  /** Made while the one before is on its way. */
  #ready: Batch | undefined;
  #sending = false;
  #writing: Promise<void> | undefined;
  #beating: Promise<void> | undefined;
  #keeping: Promise<void> | undefined;
  #problem: AppError | undefined;
  #closed = false;
  #stats = { appendedEvents: 0, batches: 0, rejectedEvents: 0 };

  private constructor(database: Database, schema: string, options: PostgresLogOptions) {
    this.#database = database;
    this.#schema = schema;
    this.#options = options;
    this.text = new PostgresText(database, schema);
    this.pages = new PostgresPages(database, schema, this.text, options.bounds);
    this.#timers = [
      setInterval(() => {
        this.#keeping ??= this.#keepDays().finally(() => {
          this.#keeping = undefined;
        });
      }, options.keepDaysMs ?? 3_600_000).unref(),
      setInterval(() => void this.text.advance(), digestMs).unref(),
      setInterval(() => {
        this.#beating ??= this.#ping();
      }, pingMs).unref(),
    ];
  }

  /** Makes or brings forward the tables, and the partitions of the next days. */
  static async open(address: PostgresAddress, options: PostgresLogOptions = {}): Promise<PostgresLog> {
    const { schema = 'sallyport', limits, observe } = options;
    const database = await Database.open({
      address,
      applicationName: 'sallyport audit',
      limits: { connections: 6, ...limits },
      observe,
    });
    try {
      await migrate(database, schema, auditMigrations);
      const log = new PostgresLog(database, pgName(schema), options);
      await log.#keepDays().catch((error) => {
        for (const timer of log.#timers) clearInterval(timer);
        throw error;
      });
      return log;
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  get stats(): PostgresLogStats {
    const { skippedLines } = this.pages;
    return { ...this.#database.stats, ...this.#stats, queuedBytes: this.#queuedBytes, skippedLines };
  }

  /** Why the log cannot be used just now; undefined: it can. */
  get problem(): string | undefined {
    return this.#problem?.message;
  }

  async append(events: readonly AuditEvent[]): Promise<void> {
    await this.#enqueue({ events, place: undefined });
  }

  appendAt(place: BatchPlace, events: readonly AuditEvent[]): Promise<number> {
    return this.#enqueue({ events, place });
  }

  async position(host: string, stream: string): Promise<number> {
    const [row] = await this.#database.run<{ next: string }>('position', {
      name: 'audit_position',
      text: `SELECT next FROM ${this.#schema}.positions WHERE host = $1 AND stream = $2`,
      values: [host, stream],
    });
    return Number(row?.next ?? 0);
  }

  async has(uid: string, since: Date): Promise<boolean> {
    const rows = await this.#database.run('has', {
      text: `SELECT FROM ${this.#schema}.events WHERE uid = $1 AND day >= $2::date - 1`,
      values: [uid, since.toISOString().slice(0, 10)],
    });
    return rows.length > 0;
  }

  /** How many of them are in the log. */
  async count(uids: readonly string[]): Promise<number> {
    const [row] = await this.#database.run<{ n: number }>('count', {
      text: `SELECT count(DISTINCT uid)::int AS n FROM ${this.#schema}.events WHERE uid = ANY ($1::uuid[])`,
      values: [uids],
    });
    return row?.n ?? 0;
  }

  search(query: EventQuery = {}): AsyncGenerator<AuditEvent> {
    return this.pages.search(query);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.all([this.#writing, this.#beating, this.#keeping, this.text.close()]);
    await this.#database.close();
  }

  #enqueue(part: AppendPart): Promise<number> {
    const { events, place } = part;
    if (this.#closed)
      return Promise.reject(new AppError('unavailable', 'audit.closed', 'The audit log is closed.'));
    if (events.length === 0 && place === undefined) return Promise.resolve(0);
    const bytes = events.reduce((sum, event) => sum + serialize(event).length, 0);
    const max = this.#options.maxQueuedBytes ?? 64 * 1024 * 1024;
    // A single append larger than the bound passes when nothing waits; it could never be written otherwise.
    if (this.#queuedBytes > 0 && this.#queuedBytes + bytes > max) {
      this.#stats.rejectedEvents += events.length;
      const message = `More than ${max} bytes of audit events wait for the database.`;
      return Promise.reject(new AppError('limit', 'audit.queue_full', message));
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ ...part, bytes, resolve, reject });
      this.#queuedBytes += bytes;
      this.#queuedEvents += events.length;
      if (this.#sending) this.#makeReady();
      this.#writing ??= this.#drain();
    });
  }

  /** Only one runs at a time: appends are written in the order they were made. */
  async #drain(): Promise<void> {
    // One turn later, so that a burst made in one go becomes one batch, not a first event alone and the rest.
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (;;) {
      const batch = this.#ready ?? this.#takeBatch();
      this.#ready = undefined;
      if (batch === undefined) break;
      this.#sending = true;
      const sent = this.#send(batch);
      this.#makeReady();
      const error = await sent;
      this.#sending = false;
      await this.#finish(batch.parts, error);
    }
    this.#writing = undefined;
  }

  async #finish(parts: readonly Waiting[], error: AppError | undefined): Promise<void> {
    // Something in one of them the database cannot take: the others shall not suffer for it.
    const alone = error !== undefined && error.kind !== 'unavailable' && parts.length > 1;
    for (const one of parts) {
      const own = alone ? await this.#send(this.#batchOf([one])) : error;
      this.#queuedBytes -= one.bytes;
      if (own === undefined) continue;
      this.#stats.rejectedEvents += one.events.length;
      one.reject(own);
    }
  }

  /** Only a whole batch: of less there is more by the time it can go. */
  #makeReady(): void {
    if (this.#ready === undefined && this.#queuedEvents >= maxBatchEvents) this.#ready = this.#takeBatch();
  }

  #takeBatch(): Batch | undefined {
    let bytes = 0;
    let events = 0;
    let count = 0;
    for (const one of this.#queue) {
      if (count > 0 && (bytes + one.bytes > maxBatchBytes || events + one.events.length > maxBatchEvents))
        break;
      bytes += one.bytes;
      events += one.events.length;
      count++;
    }
    if (count === 0) return undefined;
    this.#queuedEvents -= events;
    return this.#batchOf(this.#queue.splice(0, count));
  }

  #batchOf(parts: readonly Waiting[]): Batch {
    const nowMs = this.#options.now?.();
    const day = nowMs === undefined ? null : new Date(nowMs).toISOString().slice(0, 10);
    return { parts, values: appendValues(parts, day, nowMs ?? Date.now()) };
  }

  async #send({ parts, values }: Batch): Promise<AppError | undefined> {
    const statement = {
      name: 'audit_append',
      text: `SELECT ${this.#schema}.append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)::text[] AS positions`,
      values,
    };
    const append = () => this.#database.run<{ readonly positions: string[] }>('append', statement);
    try {
      const [row] = await append().catch(async (error: AppError) => {
        if (!noPartition.test(error.message)) throw error;
        // The servers were away for more than a week, or a clock was put forward.
        await this.#keepDays();
        return append();
      });
      this.#problem = undefined;
      this.#settle(parts, row?.positions ?? []);
      return undefined;
    } catch (thrown) {
      const error = AppError.from(thrown);
      if (error.kind === 'unavailable') this.#problem = error;
      return error;
    }
  }

  #settle(parts: readonly Waiting[], positions: readonly string[]): void {
    this.#stats.batches++;
    let at = 0;
    for (const { events, place, resolve } of parts) {
      this.#stats.appendedEvents += events.length;
      resolve(place === undefined ? 0 : Number(positions[at++]));
    }
  }

  async #keepDays(): Promise<void> {
    const { now, retentionMs, onDropped } = this.#options;
    const dropped = await keepDays(this.#database, { schema: this.#schema, nowMs: now?.(), retentionMs });
    if (dropped.length > 0) onDropped?.(dropped);
  }

  /** While nothing is appended nothing else would show that the database went away, or came back. */
  async #ping(): Promise<void> {
    try {
      await this.#database.run('ping', { text: 'SELECT 1', onceMs: pingMs });
      this.#problem = undefined;
    } catch (error) {
      this.#problem = AppError.from(error);
    }
    this.#beating = undefined;
  }
}
