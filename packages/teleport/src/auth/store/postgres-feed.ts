// The change log → the watches. One connection listens; a notification only says that it is time to read, and so does
// a timer, so one that was lost costs time and no change. What was read is remembered by number: after a lost
// connection reading goes on where it stopped. Numbers have no holes, so a log that was trimmed meanwhile shows, and
// ends the watches instead of leaving something out.
import { setTimeout as delay } from 'node:timers/promises';
import type { AppError } from '@sallyport/contracts/errors.ts';
import type pg from 'pg';
import { backoffMs, type Database } from '../../postgres/database.ts';
import { failureOf } from '../../postgres/postgres-error.ts';
import { channelOf, stampOf } from './postgres-schema.ts';
import type { Change, WatchOptions } from './store.ts';
import { overflow, WatchQueue } from './watch-queue.ts';

interface ChangeRow {
  readonly revision: string;
  readonly key: string;
  readonly gone: boolean;
  /** NULL: the item is not there any more, or this was not its last change. */
  readonly value: string | null;
  readonly held: string | null;
  readonly expires: string | null;
  readonly lag_ms: string;
  readonly stamp: string;
}

/** Changes of one read. */
const pageSize = 1_000;
/** Given up on after so long: it is what tells that the database hangs, ms. */
const readMs = 3_000;

export class PostgresFeed {
  readonly #database: Database;
  readonly #schema: string;
  readonly #pollMs: number;
  readonly #ending = new AbortController();
  readonly #watches = new Map<WatchQueue, { readonly from: number }>();
  #client: pg.Client;
  #clientIsLost = false;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #woken = false;
  /** Changes up to here were handed to the watches. */
  #seen: number;
  /** What this process committed itself goes up to here; the feed may not have read it yet. */
  #committed = 0;
  #problem: AppError | undefined;
  #lagMs = 0;
  #resumes = 0;

  private constructor(database: Database, schema: string, pollMs: number, client: pg.Client, seen: number) {
    this.#database = database;
    this.#schema = schema;
    this.#pollMs = pollMs;
    this.#client = client;
    this.#seen = seen;
  }

  /** `schema`: quoted. */
  static async open(database: Database, schema: string, pollMs: number): Promise<PostgresFeed> {
    const client = await database.connect();
    try {
      const feed = new PostgresFeed(database, schema, pollMs, client, 0);
      await feed.#listen();
      feed.#seen = await feed.#head();
      feed.#running = feed.#run();
      return feed;
    } catch (thrown) {
      database.leave(client);
      throw failureOf(thrown, database.place).error;
    }
  }

  get problem(): string | undefined {
    return this.#problem?.message;
  }

  get lagMs(): number {
    return this.#lagMs;
  }

  get watches(): number {
    return this.#watches.size;
  }

  get resumes(): number {
    return this.#resumes;
  }

  /** This process knows of everything up to `revision`: a watch that begins now need not hear of it. */
  committed(revision: number): void {
    this.#committed = Math.max(this.#committed, revision);
  }

  watch(options: WatchOptions, closed: boolean): AsyncIterable<Change> {
    const queue = new WatchQueue(options, (ended) => this.#watches.delete(ended));
    if (closed) queue.end();
    else if (options.signal?.aborted !== true)
      // Never ahead of the log: what was read and what was committed here are in it.
      this.#watches.set(queue, { from: Math.max(this.#seen, this.#committed) });
    return queue;
  }

  async close(): Promise<void> {
    this.#ending.abort();
    this.#rouse();
    for (const queue of [...this.#watches.keys()]) queue.end();
    // Cut under whatever runs.
    this.#database.leave(this.#client);
    await this.#running;
  }

  /** Until it is closed: reads, waits, reads; makes the connection anew when it is lost. */
  async #run(): Promise<void> {
    for (let attempt = 0; !this.#ending.signal.aborted; ) {
      try {
        if (this.#clientIsLost) await this.#reconnect();
        await this.#read();
        attempt = 0;
        this.#problem = undefined;
        await this.#rest();
      } catch (thrown) {
        this.#lose();
        this.#problem = failureOf(thrown, this.#database.place).error;
        await delay(backoffMs(attempt++), undefined, { signal: this.#ending.signal }).catch(() => undefined);
      }
    }
  }

  async #reconnect(): Promise<void> {
    const client = await this.#database.connect();
    if (this.#ending.signal.aborted) return this.#database.leave(client);
    this.#client = client;
    this.#clientIsLost = false;
    await this.#listen();
    this.#resumes++;
  }

  async #listen(): Promise<void> {
    const client = this.#client;
    const lost = () => {
      if (client !== this.#client) return;
      this.#clientIsLost = true;
      this.#rouse();
    };
    client.on('notification', () => this.#rouse());
    client.on('error', lost);
    client.on('end', lost);
    await client.query(`LISTEN "${channelOf(this.#schema)}"`);
  }

  #lose(): void {
    this.#clientIsLost = true;
    this.#database.leave(this.#client);
  }

  #rouse(): void {
    this.#woken = true;
    this.#wake?.();
  }

  async #rest(): Promise<void> {
    if (!this.#woken) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.#pollMs).unref();
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#wake = undefined;
    this.#woken = false;
    if (this.#clientIsLost && !this.#ending.signal.aborted) throw new Error('the connection was lost');
  }

  async #read(): Promise<void> {
    const head = this.#watches.size === 0 ? await this.#head() : undefined;
    // Who began to watch meanwhile must hear of what happened meanwhile.
    if (head !== undefined && this.#watches.size === 0) {
      this.#seen = head;
      return;
    }
    for (;;) {
      const rows = await this.#page();
      const [first] = rows;
      if (
        first === undefined
          ? (await this.#head()) !== this.#seen && (await this.#isCut())
          : Number(first.revision) !== this.#seen + 1
      )
        return this.#overflow(await this.#head());
      for (const row of rows) this.#announce(row);
      if (rows.length < pageSize) return;
    }
  }

  async #page(): Promise<ChangeRow[]> {
    const { rows } = await this.#client.query({
      name: 'store_changes',
      text: `SELECT c.revision, c.key, c.gone, i.revision AS held, i.expires,
          CASE WHEN i.revision = c.revision THEN i.value END AS value,
          extract(epoch FROM clock_timestamp() - c.at) * 1000 AS lag_ms, ${stampOf('c')} AS stamp
        FROM ${this.#schema}.changes c LEFT JOIN ${this.#schema}.items i ON i.key = c.key
        WHERE c.revision > $1 ORDER BY c.revision LIMIT ${pageSize}`,
      values: [this.#seen],
      query_timeout: readMs,
    } as pg.QueryConfig);
    return rows as ChangeRow[];
  }

  async #head(): Promise<number> {
    const { rows } = await this.#client.query({
      text: `SELECT revision, pg_is_in_recovery() AS standby FROM ${this.#schema}.head`,
      query_timeout: readMs,
    } as pg.QueryConfig);
    const { revision, standby } = rows[0] as { revision: string; standby: boolean };
    // After a failover the server we listen to may live on as a standby: nobody is notified there.
    if (standby) throw new Error('it has become a standby');
    return Number(revision);
  }

  /** Nothing is behind what we saw, yet the head is elsewhere: trimmed, or the database was put back from a backup. */
  async #isCut(): Promise<boolean> {
    const rows = await this.#page();
    return rows.length === 0 || Number(rows[0]?.revision) !== this.#seen + 1;
  }

  /** Of several changes of a key only the last counts: its item is read as it is now. */
  #announce({ revision, key, gone, held, value, expires, lag_ms, stamp }: ChangeRow): void {
    const position = `${revision}-${stamp}`;
    this.#seen = Number(revision);
    this.#lagMs = Math.max(0, Number(lag_ms));
    let change: Change | undefined;
    if (gone && held === null) change = { type: 'delete', key, position };
    else if (!gone && held === revision && value !== null) {
      const item = {
        key,
        value,
        revision,
        expires: expires === null ? undefined : new Date(Number(expires)),
      };
      change = { type: 'put', item, position };
    }
    if (change === undefined) return;
    for (const [queue, { from }] of this.#watches)
      if (this.#seen > from && queue.wants(key)) queue.push(change);
  }

  #overflow(head: number): void {
    this.#seen = head;
    // What we committed ourselves may be gone with it.
    this.#committed = Math.min(this.#committed, head);
    for (const queue of [...this.#watches.keys()]) queue.fail(overflow(pageSize));
  }
}
