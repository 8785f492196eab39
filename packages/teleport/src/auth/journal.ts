// Changes of the store together with the events that tell of them. A change and its events are one commit: the
// events wait in the store (`outbox/…`) until they are in the audit log, so a process that dies between the two
// loses neither. What a dead process left is told by a daemon, at its start or a little later: where the log is shared
// by any auth server's (it takes no event twice), where each has its own by the one on the same host.
import { randomUUID } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import {
  type AuditEvent,
  type EventDraft,
  parseEvent,
  serialize,
} from '@sallyport/contracts/events/event.ts';
import type { AuditSink } from './audit-sink.ts';
import type { AuthLog } from './auth-log.ts';
import { callWasMarked, markOfCall, wasAnsweredElsewhere } from './repeats.ts';
import type { Item, Store, Write } from './store/store.ts';

export interface JournalOptions {
  readonly store: Store;
  readonly audit: AuditSink;
  readonly log: AuthLog;
  /** After the audit log refused, ms. */
  readonly retryMs?: number;
  /** A process beside the daemon (tctl): tells of its own changes, and leaves those of the dead to the daemon. */
  readonly secondary?: boolean;
  /** Whose audit log it is: a host's uuid, or `shared`. Letters, digits and dashes. Default: nobody's in particular. */
  readonly logOf?: string;
  /** Events of other processes wait so long before they count as left behind, ms. */
  readonly abandonedMs?: number;
}

interface Waiting {
  readonly key: string;
  readonly event: AuditEvent;
}

const prefix = 'outbox/';
/** Events that may wait while the audit log cannot be written. With more, nothing is changed any more. */
const maxWaiting = 1_000;
/** A living process tells of its changes within milliseconds. */
const abandonedMs = 5_000;
const lookAgainMs = 10_000;
/** So long events wait for the one whose log may have them already. */
const orphanedMs = 3600_000;
/** Clocks may step back a little between a crash and the restart. */
const clockSlackMs = 3600_000;

export class Journal {
  readonly #options: JournalOptions;
  readonly #writer: string;
  #count = 0;
  #waiting: Waiting[] = [];
  #draining: Promise<AppError | undefined> | undefined;
  #forgetting: Promise<void> | undefined;
  #recovering: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #look: NodeJS.Timeout | undefined;

  private constructor(options: JournalOptions) {
    this.#options = options;
    this.#writer = `${options.logOf === undefined ? '' : `${options.logOf}~`}${randomUUID()}`;
  }

  /** Tells first what a process before this one could not. */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options);
    if (options.secondary === true) return journal;
    await journal.#recover();
    journal.#look = setInterval(() => {
      journal.#recovering ??= journal.#recoverQuietly();
    }, lookAgainMs).unref();
    return journal;
  }

  /**
   * Makes the writes and tells of them. Once the writes stand the caller is told so, even when the audit log is
   * away: the events are in the store and follow. Resolves to what was put.
   */
  async commit(writes: readonly Write[], drafts: readonly EventDraft[]): Promise<readonly Item[]> {
    if (writes.length === 0 && drafts.every(tellsFailure) && (await wasAnsweredElsewhere())) return [];
    const { items } = await this.#commit(writes, drafts);
    return items;
  }

  /** As `commit`, but rejects unless the events are in the audit log: for what is handed out only once it is told. */
  async commitTold(writes: readonly Write[], drafts: readonly EventDraft[]): Promise<readonly Item[]> {
    const { items, untold } = await this.#commit(writes, drafts);
    if (untold === undefined) return items;
    const names = drafts.map(({ event }) => event).join(', ');
    throw new AppError(
      untold.kind,
      'auth.not_audited',
      `${names} could not be written to the audit log: ${untold.message}`,
      { cause: untold, hint: untold.hint },
    );
  }

  /** What waits is tried once more. */
  async close(): Promise<void> {
    clearInterval(this.#look);
    await this.#recovering;
    await this.#draining;
    if (this.#waiting.length > 0) await this.#drain();
    await this.#forgetting;
    clearTimeout(this.#retry);
  }

  async #commit(writes: readonly Write[], drafts: readonly EventDraft[]) {
    if (this.#waiting.length + drafts.length > maxWaiting) {
      throw new AppError('unavailable', 'auth.not_audited', 'The audit log cannot be written.', {
        hint: `${this.#waiting.length} events wait for it; until they are written nothing can be changed.`,
      });
    }
    const rows = drafts.map((draft) => {
      // Padded: the rows of a writer come back in the order they were written.
      const key = `${prefix}${this.#writer}/${String(this.#count++).padStart(12, '0')}`;
      return { key, event: this.#options.audit.stamp(draft) };
    });
    const outbox = rows.map(({ key, event }): Write => ({ type: 'put', key, value: serialize(event) }));
    const items = await this.#marked([...writes, ...outbox]);
    this.#waiting.push(...rows);
    const untold = rows.length === 0 ? undefined : await this.#told(rows.at(-1));
    const puts = writes.filter(({ type }) => type === 'put').length;
    return { items: items.slice(0, puts), untold };
  }

  /** With the change: that the call which asked for it was carried out. */
  async #marked(writes: readonly Write[]): Promise<readonly Item[]> {
    const mark = markOfCall();
    try {
      const items = await this.#options.store.commit([...writes, ...mark]);
      if (mark.length > 0) callWasMarked(true);
      return items;
    } catch (error) {
      callWasMarked(false);
      throw error;
    }
  }

  /** Waits until this row went through, or an attempt that had it failed. */
  async #told(row: Waiting | undefined): Promise<AppError | undefined> {
    while (row !== undefined && this.#waiting.includes(row)) {
      this.#draining ??= this.#drain();
      const error = await this.#draining;
      if (error !== undefined) return error;
    }
    return undefined;
  }

  async #drain(): Promise<AppError | undefined> {
    const batch = [...this.#waiting];
    try {
      await this.#options.audit.append(batch.map(({ event }) => event));
      this.#waiting = this.#waiting.slice(batch.length);
      // Nobody waits for it: a row that stays is only old news for the next start, which looks before it tells.
      this.#forgetting = this.#forget(batch.map(({ key }) => key)).catch(() => undefined);
      return undefined;
    } catch (error) {
      const failure = AppError.from(error);
      this.#options.log.warn(
        { events: this.#waiting.length, error: failure.message },
        'the audit log is behind',
      );
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => {
        this.#draining ??= this.#drain();
      }, this.#options.retryMs ?? 1_000).unref();
      return failure;
    } finally {
      this.#draining = undefined;
    }
  }

  async #recoverQuietly(): Promise<void> {
    try {
      await this.#recover();
    } catch (error) {
      this.#options.log.warn({ error: AppError.from(error).message }, 'the outbox cannot be looked through');
    } finally {
      this.#recovering = undefined;
    }
  }

  async #recover(): Promise<void> {
    const { audit, log, store } = this.#options;
    // Our own too: a commit may have landed that we were told had failed.
    const rows = (await store.range(prefix)).filter(
      ({ key }) => !this.#waiting.some((row) => row.key === key),
    );
    const now = Date.now();
    const old = now - (this.#options.abandonedMs ?? abandonedMs);
    let told = 0;
    for (const { key, value } of rows) {
      const parsed = parseEvent(value);
      const before = this.#isOurs(key) ? old : Math.min(old, now - orphanedMs);
      if (!parsed.ok) log.warn({ key, detail: parsed.detail }, 'an event in the outbox cannot be read');
      else if (Date.parse(parsed.event.time) > before) continue;
      else if (!(await this.#known(parsed.event))) await audit.append([parsed.event]);
      await this.#forget([key]);
      told++;
    }
    if (told > 0) log.info({ events: told }, 'events of an interrupted process were told');
  }

  /** Would our log have the event, if somebody had told of it? */
  #isOurs(key: string): boolean {
    const owner = /^([\w-]+)~/.exec(key.slice(prefix.length))?.[1];
    return owner === undefined || owner === this.#options.logOf;
  }

  async #known(event: AuditEvent): Promise<boolean> {
    const since = new Date(Date.parse(event.time) - clockSlackMs);
    return (await this.#options.audit.has?.(event.uid, since)) ?? false;
  }

  async #forget(keys: readonly string[]): Promise<void> {
    await this.#options.store.commit(keys.map((key): Write => ({ type: 'delete', key })));
  }
}

function tellsFailure(draft: EventDraft): boolean {
  return 'success' in draft && draft.success === false;
}
