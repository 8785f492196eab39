// The store as one SQLite file, for one auth host: the daemon and any process beside it open the same file.
// - Commits that are made while one is on its way to the disk share the next transaction: a burst costs a few
//   syncs, not one a commit.
// - SQLite blocks its thread while it waits for a lock; so we never let it: who finds the file locked tries again
//   from the event loop.
// - What other processes write shows in `PRAGMA data_version`, which costs microseconds and is polled while
//   somebody watches.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import { refuseBadText, refuseBadWrites } from './bad-text.ts';
import { openDatabase } from './sqlite-file.ts';
import type { Change, Changes, Condition, Item, RangeOptions, Store, WatchOptions, Write } from './store.ts';
import { overflow, WatchQueue } from './watch-queue.ts';

export interface SqliteStoreOptions {
  readonly now?: () => Date;
  /** How often changes of other processes are looked for, ms. */
  readonly pollMs?: number;
  /** How often expired items are deleted, so that watches see them go, ms. */
  readonly sweepMs?: number;
  /** Changes kept for watches: a watch that is further behind ends. */
  readonly keepChanges?: number;
}

interface Row {
  readonly key: string;
  readonly value: string;
  readonly revision: number;
  readonly expires: number | null;
}

interface ChangeRow {
  readonly seq: number;
  readonly changed: string;
  readonly key: string | null;
  readonly value: string;
  readonly revision: number;
  readonly expires: number | null;
}

interface Pending {
  readonly writes: readonly Write[];
  readonly resolve: (items: readonly Item[]) => void;
  readonly reject: (error: AppError) => void;
}

/** Commits that may wait. */
const maxPending = 10_000;
/** How long a commit waits for other processes' locks, ms. */
const lockDeadlineMs = 5_000;
const sqliteBusy = 5;
const sqliteFull = 13;
/** Sorts after every key: U+10FFFF is no character. */
const last = '\u{10ffff}';

export class SqliteStore implements Store {
  readonly #database: DatabaseSync;
  readonly #now: () => Date;
  readonly #keepChanges: number;
  readonly #statements: Statements;
  readonly #timers: NodeJS.Timeout[];
  readonly #watches = new Map<WatchQueue, { readonly from: number }>();
  #pending: Pending[] = [];
  #draining: Promise<void> | undefined;
  #dataVersion: number;
  /** Part of each position: a file that was put back from a backup is opened anew. */
  readonly #epoch = randomUUID();
  /** Changes up to here were handed to the watches. */
  #seen: number;
  #closed = false;

  private constructor(database: DatabaseSync, options: SqliteStoreOptions) {
    this.#database = database;
    this.#now = options.now ?? (() => new Date());
    this.#keepChanges = options.keepChanges ?? 20_000;
    this.#statements = prepare(database);
    this.#seen = this.#lastChange();
    this.#dataVersion = this.#readDataVersion();
    this.#timers = [
      setInterval(() => this.#poll(), options.pollMs ?? 200).unref(),
      setInterval(() => this.#sweep(), options.sweepMs ?? 5_000).unref(),
    ];
  }

  /** `<data_dir>/backend.db`. */
  static async open(dataDir: string, options: SqliteStoreOptions = {}): Promise<SqliteStore> {
    return new SqliteStore(await openDatabase(join(dataDir, 'backend.db')), options);
  }

  async get(key: string): Promise<Item | undefined> {
    refuseBadText(key);
    return this.#item(this.#statements.get.get(key, this.#now().getTime()) as Row | undefined);
  }

  async range(prefix: string, { after, limit }: RangeOptions = {}): Promise<readonly Item[]> {
    refuseBadText(prefix, after ?? '');
    const rows = this.#statements.range.all(
      prefix,
      prefix + last,
      after ?? '',
      this.#now().getTime(),
      limit ?? -1,
    );
    return (rows as unknown as Row[]).flatMap((row) => this.#item(row) ?? []);
  }

  commit(writes: readonly Write[]): Promise<readonly Item[]> {
    if (this.#closed)
      return Promise.reject(new AppError('unavailable', 'store.closed', 'The store is closed.'));
    if (this.#pending.length >= maxPending) {
      return Promise.reject(
        new AppError('limit', 'store.queue_full', `More than ${maxPending} commits wait for the disk.`),
      );
    }
    try {
      refuseBadWrites(writes);
    } catch (error) {
      return Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      this.#pending.push({ writes, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  watch(options: WatchOptions): AsyncIterable<Change> {
    const queue = new WatchQueue(options, (ended) => this.#watches.delete(ended));
    if (this.#closed) queue.end();
    else if (options.signal?.aborted !== true) {
      const from = this.#lastChange();
      if (this.#watches.size === 0) this.#seen = from;
      this.#watches.set(queue, { from });
    }
    return queue;
  }

  async position(): Promise<string> {
    return this.#positionOf(this.#lastChange());
  }

  async changesSince(position: string, prefixes: readonly string[]): Promise<Changes | undefined> {
    const [, epoch, number] = /^([\w-]+)-(\d{1,15})$/.exec(position) ?? [];
    const since = Number(number);
    const oldest = Number(this.#statements.oldestChange.get()?.['seq'] ?? 0);
    if (epoch !== this.#epoch || oldest > since + 1 || since > this.#lastChange()) return undefined;
    const rows = this.#statements.changes.all(since) as unknown as ChangeRow[];
    const asked = rows.filter(({ changed }) => prefixes.some((prefix) => changed.startsWith(prefix)));
    const last = rows.at(-1)?.seq ?? since;
    return { changes: asked.map((row) => this.#changeOf(row)), position: this.#positionOf(last) };
  }

  #positionOf(seq: number): string {
    return `${this.#epoch}-${seq}`;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#draining;
    for (const queue of [...this.#watches.keys()]) queue.end();
    if (this.#database.isOpen) this.#database.close();
  }

  /** Only one runs at a time. */
  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      // One turn later, so that commits made in one go share a transaction.
      await new Promise<void>((resolve) => setImmediate(resolve));
      const error = await this.#begin();
      const batch = this.#pending;
      this.#pending = [];
      if (error === undefined) this.#transact(batch);
      else for (const { reject } of batch) reject(error);
    }
    this.#draining = undefined;
    this.#announce();
  }

  async #begin(): Promise<AppError | undefined> {
    const deadline = performance.now() + lockDeadlineMs;
    for (;;) {
      try {
        this.#database.exec('BEGIN IMMEDIATE');
        return undefined;
      } catch (error) {
        if (errcode(error) !== sqliteBusy) return failed(error);
        if (performance.now() > deadline) return locked(error);
      }
      // There is nothing to wait on; 2 ms is far below what a person notices.
      await delay(2);
    }
  }

  /** From here to the end nothing else runs on this connection: no reader sees half of it. */
  #transact(batch: readonly Pending[]): void {
    const done: (() => void)[] = [];
    try {
      for (const { writes, resolve, reject } of batch) {
        const conflict = this.#conflict(writes);
        if (conflict !== undefined) {
          done.push(() => reject(conflict));
          continue;
        }
        const items = writes.flatMap((write) => this.#write(write) ?? []);
        done.push(() => resolve(items));
      }
      this.#database.exec('COMMIT');
    } catch (error) {
      // A full disk ends the transaction by itself.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      for (const { reject } of batch) reject(failed(error));
      return;
    }
    for (const settle of done) settle();
  }

  /** Every condition before the first write: so a commit that fails has nothing to undo. */
  #conflict(writes: readonly Write[]): AppError | undefined {
    for (const { key, expect } of writes) {
      if (expect === undefined || expect === 'anything') continue;
      const row = this.#statements.get.get(key, this.#now().getTime()) as Row | undefined;
      if (!holds(expect, row)) return conflictOn(key, expect, row);
    }
    return undefined;
  }

  #write(write: Write): Item | undefined {
    if (write.type === 'check') return undefined;
    const { key } = write;
    if (write.type === 'delete') {
      // A delete of what is not there is no change.
      if (this.#statements.remove.run(key).changes !== 0) this.#statements.change.run(key);
      return undefined;
    }
    const revision = Number(this.#statements.change.run(key).lastInsertRowid);
    this.#statements.put.run(key, write.value, revision, write.expires?.getTime() ?? null);
    return { key, value: write.value, revision: String(revision), expires: write.expires };
  }

  #poll(): void {
    if (this.#watches.size === 0) return;
    const version = this.#readDataVersion();
    if (version === this.#dataVersion) return;
    this.#dataVersion = version;
    this.#announce();
  }

  #announce(): void {
    if (this.#closed) return;
    if (this.#watches.size === 0) return;
    const oldest = Number(this.#statements.oldestChange.get()?.['seq'] ?? 0);
    const missed = oldest > this.#seen + 1;
    const rows = this.#statements.changes.all(this.#seen) as unknown as ChangeRow[];
    this.#seen = Math.max(this.#seen, ...rows.map(({ seq }) => seq));
    for (const [queue, { from }] of [...this.#watches]) {
      if (missed) queue.fail(overflow(this.#keepChanges));
      for (const row of rows) if (row.seq > from && queue.wants(row.changed)) queue.push(this.#changeOf(row));
    }
  }

  #changeOf({ seq, changed, key, value, revision, expires }: ChangeRow): Change {
    const position = this.#positionOf(seq);
    const gone = key === null || (expires !== null && expires <= this.#now().getTime());
    const item = gone ? undefined : this.#item({ key, value, revision, expires });
    return item === undefined ? { type: 'delete', key: changed, position } : { type: 'put', item, position };
  }

  /** Readers do not see expired items anyway; this frees their room and tells the watches. */
  #sweep(): void {
    const expired = this.#statements.anyExpired.get(this.#now().getTime());
    const trim = this.#lastChange() - this.#keepChanges;
    const stale = Number(this.#statements.oldestChange.get()?.['seq'] ?? 0) <= trim;
    if (expired === undefined && !stale) return;
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      const rows = this.#statements.removeExpired.all(this.#now().getTime());
      for (const row of rows) this.#statements.change.run(String(row['key']));
      this.#statements.trim.run(trim);
      this.#database.exec('COMMIT');
    } catch {
      // Locked by another process, or the disk is full: the next round tries again, nothing depends on it.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      return;
    }
    this.#announce();
  }

  #item(row: Row | undefined): Item | undefined {
    if (row === undefined) return undefined;
    const { key, value, revision, expires } = row;
    return {
      key,
      value,
      revision: String(revision),
      expires: expires === null ? undefined : new Date(expires),
    };
  }

  #lastChange(): number {
    return Number(this.#statements.lastChange.get()?.['seq'] ?? 0);
  }

  #readDataVersion(): number {
    return Number(this.#statements.dataVersion.get()?.['data_version']);
  }
}

type Statements = ReturnType<typeof prepare>;

function prepare(database: DatabaseSync) {
  const statement = (sql: string): StatementSync => database.prepare(sql);
  return {
    get: statement(
      'SELECT key, value, revision, expires FROM items WHERE key = ? AND (expires IS NULL OR expires > ?)',
    ),
    // LIMIT -1: no limit.
    range: statement(
      `SELECT key, value, revision, expires FROM items
       WHERE key >= ? AND key < ? AND key > ? AND (expires IS NULL OR expires > ?) ORDER BY key LIMIT ?`,
    ),
    put: statement('INSERT OR REPLACE INTO items (key, value, revision, expires) VALUES (?, ?, ?, ?)'),
    remove: statement('DELETE FROM items WHERE key = ?'),
    change: statement('INSERT INTO changes (key) VALUES (?)'),
    // Of several changes of a key only the last counts: its item is read as it is now.
    changes: statement(
      `SELECT max(c.seq) AS seq, c.key AS changed, i.key, i.value, i.revision, i.expires
       FROM changes c LEFT JOIN items i ON i.key = c.key WHERE c.seq > ? GROUP BY c.key ORDER BY seq`,
    ),
    lastChange: statement('SELECT max(seq) AS seq FROM changes'),
    oldestChange: statement('SELECT min(seq) AS seq FROM changes'),
    trim: statement('DELETE FROM changes WHERE seq <= ?'),
    anyExpired: statement('SELECT 1 FROM items WHERE expires <= ? LIMIT 1'),
    removeExpired: statement('DELETE FROM items WHERE expires <= ? RETURNING key'),
    dataVersion: statement('PRAGMA data_version'),
  };
}

function holds(expect: Condition, row: Row | undefined): boolean {
  if (expect === 'anything') return true;
  if (expect === 'nothing') return row === undefined;
  if (expect === 'something') return row !== undefined;
  return row !== undefined && String(row.revision) === expect.revision;
}

function conflictOn(key: string, expect: Condition, row: Row | undefined): AppError {
  const found =
    row === undefined ? 'is not there' : expect === 'nothing' ? 'is there' : 'was changed meanwhile';
  return new AppError('conflict', 'store.conflict', `The item ${key} ${found}.`);
}

function errcode(error: unknown): number | undefined {
  return error instanceof Error && 'errcode' in error ? Number(error.errcode) : undefined;
}

function locked(cause: unknown): AppError {
  const seconds = lockDeadlineMs / 1000;
  return new AppError('unavailable', 'store.locked', `The database was locked for ${seconds} s.`, { cause });
}

function failed(cause: unknown): AppError {
  if (errcode(cause) === sqliteFull)
    return new AppError('unavailable', 'store.disk_full', 'The disk of the database is full.', { cause });
  return new AppError('unavailable', 'store.failed', 'The database cannot be written.', { cause });
}
