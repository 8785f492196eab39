// The store in a PostgreSQL database, for several auth servers at once. What the functions of the schema promise
// (postgres-schema.ts) is put to use here:
// - Commits that are made while one is on its way go together as the next batch: one round trip and one sync for all
//   of them, and the servers' batches take turns.
// - A batch has a number of its writer. When its answer is lost (connection broken, database restarted or stopped) it
//   is sent again under the same number, and the database answers what it answered, or does it now: exactly once.
// - Watches are fed by the change log (postgres-feed.ts).
import { randomUUID } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { PostgresAddress } from '../../config/postgres-uri.ts';
import { int4Array, int8Array, textArray } from '../../postgres/binary-array.ts';
import { Database, type DatabaseLimits, type DatabaseStats } from '../../postgres/database.ts';
import { migrate, pgName } from '../../postgres/migrate.ts';
import { refuseBadText, refuseBadWrites } from './bad-text.ts';
import { PostgresFeed } from './postgres-feed.ts';
import { refusals, stampOf, storeMigrations } from './postgres-schema.ts';
import type { Change, Changes, Condition, Item, RangeOptions, Store, WatchOptions, Write } from './store.ts';

export interface PostgresStoreOptions {
  /** Of what expires. Without it the database's, so that all servers agree. */
  readonly now?: (() => Date) | undefined;
  /** How often the change log is read without having been told to; also the heartbeat of its connection, ms. */
  readonly pollMs?: number;
  readonly sweepMs?: number;
  /** Changes kept for watches: one that is further behind ends. */
  readonly keepChanges?: number;
  /** Default `sallyport`. */
  readonly schema?: string;
  readonly limits?: Partial<DatabaseLimits>;
  readonly observe?: ((operation: string, seconds: number, failed: boolean) => void) | undefined;
}

export interface PostgresStoreStats extends DatabaseStats {
  /** Commits that wait for their batch. */
  readonly pending: number;
  /** From a change's commit until the watches here had it, ms; of the newest. */
  readonly watchLagMs: number;
  readonly watches: number;
  /** The change log's connection was lost and made again. */
  readonly resumes: number;
}

interface Row {
  readonly key: string;
  readonly value: string;
  readonly revision: string;
  readonly expires: string | null;
}

/** A change; without a key: there is none, and only the head is told. */
interface ChangedRow extends Omit<Row, 'key'> {
  readonly head: string;
  readonly key: string | null;
  /** False: the item is gone. */
  readonly there: boolean;
}

interface Pending {
  readonly writes: readonly Write[];
  readonly resolve: (items: readonly Item[]) => void;
  readonly reject: (error: AppError) => void;
}

/** Commits that may wait. */
const maxPending = 10_000;
/** Characters of their values. */
const maxPendingChars = 64 * 1024 * 1024;
/** Of a batch: so much is lost to others' waiting while it runs. */
const maxBatchWrites = 1_000;
const maxBatchChars = 4 * 1024 * 1024;
const sweptAtOnce = 1_000;
/** Sorts after every key: U+10FFFF is no character. */
const last = '\u{10ffff}';

export class PostgresStore implements Store {
  readonly #database: Database;
  readonly #schema: string;
  readonly #options: PostgresStoreOptions;
  readonly #feed: PostgresFeed;
  readonly #sweeper: NodeJS.Timeout;
  readonly #writer = randomUUID();
  #batch = 0;
  #pending: Pending[] = [];
  #pendingChars = 0;
  #draining: Promise<void> | undefined;
  #sweeping: Promise<unknown> | undefined;
  #closed = false;

  private constructor(database: Database, schema: string, options: PostgresStoreOptions, feed: PostgresFeed) {
    this.#database = database;
    this.#schema = schema;
    this.#options = options;
    this.#feed = feed;
    this.#sweeper = setInterval(() => {
      this.#sweeping ??= this.#sweep();
    }, options.sweepMs ?? 5_000).unref();
  }

  /** Makes or brings forward the tables. */
  static async open(address: PostgresAddress, options: PostgresStoreOptions = {}): Promise<PostgresStore> {
    const { schema = 'sallyport', limits, observe } = options;
    const database = await Database.open({
      address,
      applicationName: 'sallyport store',
      ...(limits === undefined ? {} : { limits }),
      observe,
    });
    try {
      await migrate(database, schema, storeMigrations);
      const feed = await PostgresFeed.open(database, pgName(schema), options.pollMs ?? 2_000);
      return new PostgresStore(database, pgName(schema), options, feed);
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  /** Why the store cannot be used just now; undefined: it can. */
  get problem(): string | undefined {
    return this.#feed.problem;
  }

  get stats(): PostgresStoreStats {
    const { lagMs, watches, resumes } = this.#feed;
    return { ...this.#database.stats, pending: this.#pending.length, watchLagMs: lagMs, watches, resumes };
  }

  async get(key: string): Promise<Item | undefined> {
    this.#refuseClosed();
    refuseBadText(key);
    const [row] = await this.#database.run<Row>('get', {
      name: 'store_get',
      text: `SELECT key, value, revision, expires FROM ${this.#schema}.items
        WHERE key = $1 AND (expires IS NULL OR expires > ${this.#schema}.clock($2))`,
      values: [key, this.#clock()],
    });
    return row === undefined ? undefined : itemOf(row);
  }

  async range(prefix: string, { after = '', limit }: RangeOptions = {}): Promise<readonly Item[]> {
    this.#refuseClosed();
    refuseBadText(prefix, after);
    const rows = await this.#database.run<Row>('range', {
      name: 'store_range',
      text: `SELECT key, value, revision, expires FROM ${this.#schema}.items
        WHERE key >= $1 AND key < $2 AND key > $3 AND (expires IS NULL OR expires > ${this.#schema}.clock($4))
        ORDER BY key LIMIT $5`,
      values: [prefix, prefix + last, after, this.#clock(), limit ?? null],
    });
    return rows.map(itemOf);
  }

  commit(writes: readonly Write[]): Promise<readonly Item[]> {
    try {
      this.#refuseClosed();
      refuseBadWrites(writes);
      if (this.#pending.length >= maxPending || this.#pendingChars > maxPendingChars)
        throw new AppError('limit', 'store.queue_full', 'Too many commits wait for the database.');
    } catch (error) {
      return Promise.reject(error);
    }
    if (writes.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      this.#pending.push({ writes, resolve, reject });
      this.#pendingChars += charsOf(writes);
      this.#draining ??= this.#drain();
    });
  }

  watch(options: WatchOptions): AsyncIterable<Change> {
    return this.#feed.watch(options, this.#closed);
  }

  async position(): Promise<string> {
    const [row] = await this.#database.run<{ head: string }>('position', {
      name: 'store_position',
      text: `SELECT h.revision || '-' || coalesce(${stampOf('c')}, 0) AS head
        FROM ${this.#schema}.head h LEFT JOIN ${this.#schema}.changes c USING (revision)`,
    });
    return row?.head ?? '';
  }

  async changesSince(position: string, prefixes: readonly string[]): Promise<Changes | undefined> {
    this.#refuseClosed();
    refuseBadText(...prefixes);
    const [, revision, stamp] = /^(\d{1,18})-(\d{1,18})$/.exec(position) ?? [];
    if (revision === undefined) return undefined;
    // The change itself must be there still, then all after it are.
    const rows = await this.#database.run<ChangedRow>('changes', {
      name: 'store_changes_since',
      text: `SELECT h.revision || '-' || coalesce(${stampOf('hc')}, 0) AS head, d.*,
          d.value IS NOT NULL AND (d.expires IS NULL OR d.expires > ${this.#schema}.clock($4)) AS there
        FROM ${this.#schema}.head h
        LEFT JOIN ${this.#schema}.changes hc USING (revision)
        JOIN ${this.#schema}.changes known ON known.revision = $1 AND ${stampOf('known')} = $2
        LEFT JOIN (
          SELECT c.key, i.value, i.revision, i.expires
          FROM (SELECT DISTINCT key FROM ${this.#schema}.changes WHERE revision > $1) c
          LEFT JOIN ${this.#schema}.items i ON i.key = c.key
          WHERE EXISTS (SELECT FROM unnest($3::text[]) p WHERE starts_with(c.key, p))) d ON true`,
      values: [revision, stamp, prefixes, this.#clock()],
    });
    const [first] = rows;
    if (first === undefined) return undefined;
    const changes = rows.flatMap(({ key, there, head: _, ...row }): Change[] => {
      if (key === null) return [];
      return [there ? { type: 'put', item: itemOf({ key, ...row }) } : { type: 'delete', key }];
    });
    return { changes, position: first.head };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#sweeper);
    await this.#draining;
    await this.#sweeping;
    await this.#feed.close();
    await this.#database.close();
  }

  /** Only one runs at a time: a writer's batches come in order. */
  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      // One turn later, so that commits made in one go share a batch.
      await new Promise<void>((resolve) => setImmediate(resolve));
      const batch = this.#takeBatch();
      const error = await this.#send(batch);
      if (error === undefined) continue;
      // Something in one of them the database cannot take: the others shall not suffer for it.
      if (batch.length > 1 && error.kind !== 'unavailable')
        for (const one of batch) await this.#send([one]).then((own) => own && one.reject(own));
      else for (const { reject } of batch) reject(error);
    }
    this.#draining = undefined;
  }

  #takeBatch(): Pending[] {
    let writes = 0;
    let chars = 0;
    let count = 0;
    for (const one of this.#pending) {
      writes += one.writes.length;
      chars += charsOf(one.writes);
      if (count > 0 && (writes > maxBatchWrites || chars > maxBatchChars)) break;
      count++;
    }
    const batch = this.#pending.splice(0, count);
    for (const one of batch) this.#pendingChars -= charsOf(one.writes);
    return batch;
  }

  async #send(batch: readonly Pending[]): Promise<AppError | undefined> {
    const writes = batch.flatMap((one, part) => one.writes.map((write) => ({ write, part })));
    const number = ++this.#batch;
    try {
      const [row] = await this.#database.run<{ readonly answer: string[] }>('commit', {
        name: 'store_commit',
        text: `SELECT ${this.#schema}.commit_batch($1, $2, $3, $4, $5, $6, $7, $8, $9)::text[] AS answer`,
        values: [
          this.#writer,
          number,
          this.#clock(),
          int4Array(writes.map(({ part }) => part)),
          textArray(writes.map(({ write }) => write.type)),
          textArray(writes.map(({ write }) => write.key)),
          textArray(writes.map(({ write }) => (write.type === 'put' ? write.value : null))),
          int8Array(
            writes.map(({ write }) => (write.type === 'put' ? (write.expires?.getTime() ?? null) : null)),
          ),
          textArray(writes.map(({ write }) => shownCondition(write.expect))),
        ],
      });
      this.#settle(batch, row?.answer ?? []);
      return undefined;
    } catch (thrown) {
      return uncertain(AppError.from(thrown));
    }
  }

  #settle(batch: readonly Pending[], answer: readonly string[]): void {
    // Before anybody hears of it: a watch that is asked for next begins behind it.
    this.#feed.committed(answer.reduce((most, revision) => Math.max(most, Number(revision)), 0));
    let at = 0;
    for (const { writes, resolve, reject } of batch) {
      const answers = answer.slice(at, at + writes.length);
      at += writes.length;
      const refused = answers.findIndex((text) => Number(text) < 0 && Number(text) !== refusals.skipped);
      if (refused >= 0) {
        reject(conflictOn(writes[refused]?.key ?? '', Number(answers[refused])));
        continue;
      }
      resolve(
        writes.flatMap((write, i) => {
          if (write.type !== 'put') return [];
          return { key: write.key, value: write.value, revision: answers[i] ?? '', expires: write.expires };
        }),
      );
    }
  }

  async #sweep(): Promise<void> {
    const { keepChanges = 20_000 } = this.#options;
    try {
      await this.#database.run('sweep', {
        text: `SELECT ${this.#schema}.sweep($1, $2, $3)`,
        values: [this.#clock(), keepChanges, sweptAtOnce],
      });
    } catch {
      // The database is away, which others tell; the next round tries again, nothing depends on it.
    }
    this.#sweeping = undefined;
  }

  #clock(): number | null {
    return this.#options.now?.().getTime() ?? null;
  }

  #refuseClosed(): void {
    if (this.#closed) throw new AppError('unavailable', 'store.closed', 'The store is closed.');
  }
}

function itemOf({ key, value, revision, expires }: Row): Item {
  return { key, value, revision, expires: expires === null ? undefined : new Date(Number(expires)) };
}

function charsOf(writes: readonly Write[]): number {
  return writes.reduce((sum, write) => sum + (write.type === 'put' ? write.value.length : 0), 0);
}

/** As commit_batch reads it. */
function shownCondition(expect: Condition | undefined): string {
  if (expect === undefined || expect === 'anything') return 'any';
  if (expect === 'nothing') return 'none';
  if (expect === 'something') return 'some';
  // What is no revision of ours is nobody's: 0 is never given out.
  return /^\d{1,18}$/.test(expect.revision) ? expect.revision : '0';
}

function conflictOn(key: string, refusal: number): AppError {
  const { absent, present } = refusals;
  const found =
    refusal === absent ? 'is not there' : refusal === present ? 'is there' : 'was changed meanwhile';
  return new AppError('conflict', 'store.conflict', `The item ${key} ${found}.`);
}

/** The retries are over: nobody knows whether the last attempt arrives yet. */
function uncertain(error: AppError): AppError {
  if (error.kind !== 'unavailable') return error;
  return new AppError('unavailable', 'store.unavailable', error.message, {
    cause: error,
    hint: error.hint ?? 'The change may have been made all the same: look before it is made again.',
  });
}
