// Several logs as one: an event counts as kept when every one of them has it. While one is away nothing is kept, so
// whoever makes events stops or holds them, as with a single log; made again, an append reaches each log once.
//
// Databases come first: they know an event they have. Files take their turn after, and remember what they took
// lately, for an append that is made again because its answer was lost.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import type { AuditLog, BatchPlace, EventQuery, PositionedLog } from './audit-log.ts';

export interface LogSink {
  /** For messages. */
  readonly name: string;
  readonly log: AuditLog;
}

export interface EveryLogSinks {
  /** That knows the positions of hosts' batches; absent: none does. */
  readonly positioned: (LogSink & { readonly log: PositionedLog }) | undefined;
  /** In the order they are asked; the positioned one is not among them. */
  readonly others: readonly LogSink[];
  readonly searched: AuditLog;
}

export class EveryLog implements AuditLog {
  readonly #sinks: EveryLogSinks;
  readonly #running = new Set<Promise<unknown>>();
  #closed = false;

  constructor(sinks: EveryLogSinks) {
    this.#sinks = sinks;
  }

  append(events: readonly AuditEvent[]): Promise<void> {
    const { positioned, others } = this.#sinks;
    return this.run(async () => {
      if (positioned !== undefined) await into(positioned, () => positioned.log.append(events));
      for (const sink of others) await into(sink, () => sink.log.append(events));
    });
  }

  /** Closing waits for it. */
  protected async run<T>(append: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new AppError('unavailable', 'audit.closed', 'The audit log is closed.');
    const running = append();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  search(query?: EventQuery): AsyncIterable<AuditEvent> {
    return this.#sinks.searched.search(query);
  }

  /** Only what every one of them has is kept; the others are told again, and know what they have. */
  async has(uid: string, since: Date): Promise<boolean> {
    const { positioned, others } = this.#sinks;
    for (const { log } of [...(positioned === undefined ? [] : [positioned]), ...others])
      if (!(await isIn(log, uid, since))) return false;
    return true;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#running);
    const { positioned, others } = this.#sinks;
    await Promise.all([positioned?.log.close(), ...others.map(({ log }) => log.close())]);
  }
}

/** The same with positions, which the database keeps. */
export class PositionedEveryLog extends EveryLog implements PositionedLog {
  readonly #positioned: LogSink & { readonly log: PositionedLog };
  readonly #others: readonly LogSink[];

  constructor(sinks: EveryLogSinks & { readonly positioned: LogSink & { readonly log: PositionedLog } }) {
    super(sinks);
    this.#positioned = sinks.positioned;
    this.#others = sinks.others;
  }

  position(host: string, stream: string): Promise<number> {
    return this.#positioned.log.position(host, stream);
  }

  /** The position moves last: until every log has the batch the host sends it again. */
  appendAt(place: BatchPlace, events: readonly AuditEvent[]): Promise<number> {
    return this.run(async () => {
      const expected = await this.position(place.host, place.stream);
      if (expected !== place.first) return expected;
      for (const sink of this.#others) await into(sink, () => sink.log.append(events));
      return into(this.#positioned, () => this.#positioned.log.appendAt(place, events));
    });
  }
}

/** A log without memory of what it has (files), which from here on leaves out what it took lately. */
export class OnceLog implements AuditLog {
  readonly #log: AuditLog;
  readonly #remembered: number;
  /** Ids, the oldest first. */
  readonly #taken = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();

  private constructor(log: AuditLog, remembered: number) {
    this.#log = log;
    this.#remembered = remembered;
  }

  /** Remembers what the log holds at its end. */
  static async of(log: AuditLog, remembered = 50_000): Promise<OnceLog> {
    const once = new OnceLog(log, remembered);
    const uids: string[] = [];
    for await (const { uid } of log.search({ order: 'desc', limit: remembered })) uids.push(uid);
    for (const uid of uids.reverse()) once.#taken.add(uid);
    return once;
  }

  async append(events: readonly AuditEvent[]): Promise<void> {
    const fresh = events.filter(({ uid }) => !this.#taken.has(uid) && !this.#running.has(uid));
    // The same append, made again while it runs: it is kept when that one is.
    const before = new Set(events.flatMap(({ uid }) => this.#running.get(uid) ?? []));
    const own = fresh.length === 0 ? undefined : this.#write(fresh);
    for (const { uid } of fresh) if (own !== undefined) this.#running.set(uid, own);
    try {
      await Promise.all([own, ...before]);
    } finally {
      for (const { uid } of fresh) this.#running.delete(uid);
    }
  }

  async #write(fresh: readonly AuditEvent[]): Promise<void> {
    await this.#log.append(fresh);
    for (const { uid } of fresh) this.#taken.add(uid);
    for (const uid of this.#taken) {
      if (this.#taken.size <= this.#remembered) break;
      this.#taken.delete(uid);
    }
  }

  search(query?: EventQuery): AsyncIterable<AuditEvent> {
    return this.#log.search(query);
  }

  close(): Promise<void> {
    return this.#log.close();
  }
}

async function isIn(log: AuditLog, uid: string, since: Date): Promise<boolean> {
  if (log.has !== undefined) return log.has(uid, since);
  for await (const event of log.search({ from: since, text: uid })) if (event.uid === uid) return true;
  return false;
}

async function into<T>({ name }: LogSink, append: () => Promise<T>): Promise<T> {
  try {
    return await append();
  } catch (thrown) {
    const { kind, code, message, hint } = AppError.from(thrown);
    throw new AppError(kind, code, `${name}: ${message}`, { cause: thrown, hint });
  }
}
