// One PostgreSQL database: a bounded pool, time limits on both ends, retries with a deadline. Knows nothing of what
// is kept there.
//
// - A statement that the server runs too long is ended by the server (statement_timeout). A server that does not
//   answer at all (stopped, cut off) is given up on by us a second later, and the connection is thrown away.
// - Nothing here holds a transaction open across round trips but migrations: a client that is stopped in the middle
//   keeps no lock from others.
import { readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import pg from 'pg';
import { type PostgresAddress, showPostgresAddress } from '../config/postgres-uri.ts';
import { failureOf } from './postgres-error.ts';

export interface DatabaseOptions {
  readonly address: PostgresAddress;
  /** Shown in pg_stat_activity. */
  readonly applicationName: string;
  readonly limits?: Partial<DatabaseLimits>;
  /** Of every operation: how long it took, retries included, and how it ended. */
  readonly observe?: ((operation: string, seconds: number, failed: boolean) => void) | undefined;
}

export interface DatabaseLimits {
  readonly connections: number;
  readonly connectMs: number;
  /** Of one statement. */
  readonly statementMs: number;
  /** Of an operation with all its retries: what a caller waits at most, give or take one statement. */
  readonly operationMs: number;
  /** Operations that may wait for a connection. */
  readonly waiting: number;
}

export interface Statement {
  /** Prepared once a connection under this name. */
  readonly name?: string;
  readonly text: string;
  readonly values?: readonly unknown[];
  /** One attempt, given up after so long: for whoever only wants to know whether the database answers. */
  readonly onceMs?: number;
}

export interface DatabaseStats {
  readonly connections: number;
  readonly idle: number;
  readonly waiting: number;
  readonly retries: number;
  /** Connections that broke, or were thrown away after a time-out. */
  readonly lost: number;
}

const defaultLimits: DatabaseLimits = {
  connections: 8,
  connectMs: 5_000,
  statementMs: 5_000,
  operationMs: 10_000,
  waiting: 10_000,
};
/** Of one operation, because of other transactions. */
const maxSoonRetries = 20;
/** For a server to hear that we leave, ms. */
const goodbyeMs = 1_000;

export class Database {
  readonly #options: DatabaseOptions;
  readonly #config: pg.ClientConfig;
  readonly #pool: pg.Pool;
  readonly #closing = new AbortController();
  readonly limits: DatabaseLimits;
  /** For messages: without the password. */
  readonly place: string;
  readonly #sockets = new Set<Socket>();
  readonly #own = new WeakMap<pg.Client, Socket>();
  #retries = 0;
  #lost = 0;

  private constructor(options: DatabaseOptions, limits: DatabaseLimits, config: pg.ClientConfig) {
    this.#options = options;
    this.#config = config;
    this.limits = limits;
    this.place = showPostgresAddress(options.address);
    this.#pool = new pg.Pool({
      ...config,
      stream: () => this.#socket(),
      max: limits.connections,
      idleTimeoutMillis: 30_000,
      onConnect: prepareSession,
      // A process that has nothing else to do may end.
      allowExitOnIdle: true,
    });
    // An idle connection broke; the pool has thrown it away, and the next operation makes another.
    this.#pool.on('error', () => this.#lost++);
  }

  /** Reads the certificate files; connects to nothing yet. */
  static async open(options: DatabaseOptions): Promise<Database> {
    const connections = options.address.poolMaxConnections;
    const limits = {
      ...defaultLimits,
      ...(connections === undefined ? {} : { connections }),
      ...options.limits,
    };
    return new Database(options, limits, await clientConfig(options, limits));
  }

  get stats(): DatabaseStats {
    return {
      connections: this.#pool.totalCount,
      idle: this.#pool.idleCount,
      waiting: this.#pool.waitingCount,
      retries: this.#retries,
      lost: this.#lost,
    };
  }

  /**
   * The statement, again and again while the database is away, until the deadline. So it must be one that may be
   * made twice: a read, or a write that knows itself.
   */
  async run<R>(operation: string, statement: Statement): Promise<R[]> {
    const begun = performance.now();
    const limitMs = statement.onceMs === undefined ? this.limits.operationMs : 0;
    let failed = true;
    try {
      const rows = await this.#retrying<R>(statement, begun + limitMs);
      failed = false;
      return rows;
    } finally {
      this.#options.observe?.(operation, (performance.now() - begun) / 1000, failed);
    }
  }

  /** The first connection: waits for a database that is just starting, as one does after a power cut. */
  async connectPatiently(): Promise<pg.Client> {
    const deadline = performance.now() + this.limits.operationMs;
    for (let attempt = 0; ; ) {
      try {
        return await this.#connect();
      } catch (thrown) {
        const { retry, error } = failureOf(thrown, this.place);
        const waitMs = backoffMs(attempt++);
        if (retry === 'never' || performance.now() + waitMs > deadline) throw error;
        await delay(waitMs);
      }
    }
  }

  /** A connection of its own, outside of the pool, for LISTEN and for transactions. The caller leaves it. */
  async connect(): Promise<pg.Client> {
    try {
      return await this.#connect();
    } catch (thrown) {
      throw failureOf(thrown, this.place).error;
    }
  }

  async #connect(): Promise<pg.Client> {
    const socket = this.#socket();
    const client = new pg.Client({ ...this.#config, stream: () => socket });
    this.#own.set(client, socket);
    // Until somebody else listens: an error without a listener would end the process.
    client.on('error', () => undefined);
    try {
      await client.connect();
      await prepareSession(client);
      return client;
    } catch (thrown) {
      this.leave(client);
      throw thrown;
    }
  }

  /** Says goodbye on a connection of `connect`, and cuts it when nobody hears. */
  leave(client: pg.Client): void {
    void client.end().catch(() => undefined);
    const socket = this.#own.get(client);
    setTimeout(() => socket?.destroy(), goodbyeMs).unref();
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    // A server that hangs hears no goodbye.
    const cut = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, goodbyeMs);
    await this.#pool.end();
    clearTimeout(cut);
  }

  #socket(): Socket {
    const socket = new Socket();
    this.#sockets.add(socket);
    return socket.once('close', () => this.#sockets.delete(socket));
  }

  async #retrying<R>(statement: Statement, deadline: number): Promise<R[]> {
    for (let attempt = 0, soon = 0; ; ) {
      try {
        return await this.#once<R>(statement);
      } catch (thrown) {
        const { retry, error, sqlState } = failureOf(thrown, this.place);
        if (sqlState === undefined) this.#lost++;
        const waitMs = retry === 'soon' ? 1 + Math.random() * 2 ** Math.min(soon++, 6) : backoffMs(attempt++);
        const tooLate = performance.now() + waitMs > deadline;
        if (retry === 'never' || soon > maxSoonRetries || tooLate || this.#closing.signal.aborted)
          throw error;
        this.#retries++;
        await delay(waitMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      }
    }
  }

  async #once<R>({ name, text, values, onceMs }: Statement): Promise<R[]> {
    if (this.#closing.signal.aborted)
      throw new AppError('unavailable', 'postgres.closed', 'The database was closed.');
    if (this.#pool.waitingCount >= this.limits.waiting)
      throw new AppError(
        'limit',
        'postgres.busy',
        `More than ${this.limits.waiting} operations wait for the database.`,
      );
    const query = {
      text,
      values: [...(values ?? [])],
      ...(name === undefined ? {} : { name }),
      ...(onceMs === undefined ? {} : { query_timeout: onceMs }),
    };
    const client = await this.#pool.connect();
    // Without a listener it would end the process; the query that runs hears of it, too.
    const ignore = () => undefined;
    client.on('error', ignore);
    let broken: boolean | undefined;
    try {
      const { rows } = await client.query(query);
      return rows as R[];
    } catch (thrown) {
      broken = this.#isBroken(thrown);
      throw thrown;
    } finally {
      client.off('error', ignore);
      client.release(broken);
    }
  }

  /**
   * A statement that was ended or refused leaves a connection that knows its statements and tables: on a busy server
   * a new one may need longer for them than a statement may take, each time.
   */
  #isBroken(thrown: unknown): boolean {
    const { sqlState } = failureOf(thrown, this.place);
    return sqlState === undefined || /^(08|57P|53|25006)/.test(sqlState);
  }
}

/** Full jitter: servers that lost the database together do not come back together. */
export function backoffMs(attempt: number): number {
  return 5 + Math.random() * Math.min(2_000, 25 * 2 ** attempt);
}

async function clientConfig(
  { address, applicationName }: DatabaseOptions,
  limits: DatabaseLimits,
): Promise<pg.ClientConfig> {
  const { host, port, user, password, database } = address;
  return {
    host,
    port,
    user,
    ...(password === undefined ? {} : { password }),
    database,
    ssl: await tlsOf(address),
    application_name: applicationName,
    connectionTimeoutMillis: limits.connectMs,
    statement_timeout: limits.statementMs,
    lock_timeout: limits.statementMs,
    idle_in_transaction_session_timeout: limits.statementMs,
    query_timeout: limits.statementMs + 1_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  };
}

async function tlsOf(address: PostgresAddress): Promise<false | NonNullable<pg.ClientConfig['ssl']>> {
  const { sslMode, sslRootCert, sslCert, sslKey, host } = address;
  if (sslMode === 'disable' || host.startsWith('/')) return false;
  const [ca, cert, key] = await Promise.all([sslRootCert, sslCert, sslKey].map(readPem));
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
    minVersion: 'TLSv1.2',
    rejectUnauthorized: sslMode !== 'require',
    // libpq's verify-ca: the authority counts, the name does not.
    ...(sslMode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
  };
}

async function readPem(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  return readFile(path, 'utf8').catch((cause: unknown) => {
    throw new AppError('unavailable', 'postgres.no_file', `${path} cannot be read.`, { cause });
  });
}

/**
 * Whatever the database's defaults: what is acknowledged is on its disk, and each statement of a function sees what
 * was committed before it began (the commit functions rely on that after they waited for their lock). A name without
 * a schema is the server's own: nobody else's function answers for it. Nothing of ours runs long enough to be compiled
 * first: where a plan only looks dear (a forced index on a table of one row) it took twice the time of all the work.
 */
async function prepareSession(client: pg.ClientBase): Promise<void> {
  await client.query(
    `SELECT set_config('default_transaction_isolation', 'read committed', false),
       set_config('search_path', 'pg_catalog', false),
       set_config('jit', 'off', false),
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END`,
  );
}
