// A real PostgreSQL for tests: Debian's, in a folder of its own, as the user postgres, on a unix socket (and on
// loopback, where a test is about the network). One a test file; tests take a schema or a database each.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { type PostgresAddress, parsePostgresUri } from '../config/postgres-uri.ts';
import { Database, type DatabaseOptions } from './database.ts';

export interface PostgresServerOptions {
  /** fsync: for tests that measure. The others survive kill -9 without it; only a power cut would need it. */
  readonly durable?: boolean;
  /** Also on 127.0.0.1, where a password is asked for; with TLS when a certificate is given. */
  readonly tcp?: true | { readonly certPem: string; readonly keyPem: string };
}

const versions = ['17', '16', '15', '14', '13'];
const binDir = versions.map((version) => `/usr/lib/postgresql/${version}/bin`).find((dir) => existsSync(dir));
const startMs = 20_000;
/** Of the role that may come by TCP. */
export const fixturePassword = 'fixture: p%40ss';

export class PostgresServer {
  readonly dir: string;
  readonly port: number;
  readonly #owner: { readonly uid: number; readonly gid: number };
  #process: ChildProcess | undefined;

  private constructor(dir: string, port: number, owner: { uid: number; gid: number }) {
    this.dir = dir;
    this.port = port;
    this.#owner = owner;
    process.once('exit', () => {
      this.#signalAll('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    });
  }

  static async start(options: PostgresServerOptions = {}): Promise<PostgresServer> {
    if (binDir === undefined) throw new Error('PostgreSQL is not installed: apt-get install postgresql');
    // Short: the path of a unix socket has 107 characters at most.
    const dir = mkdtempSync('/tmp/sallyport-pg-');
    const owner = ownerIds();
    chownSync(dir, owner.uid, owner.gid);
    const server = new PostgresServer(dir, await freePort(), owner);
    const init = [
      '-D',
      join(dir, 'data'),
      '-U',
      'sallyport',
      '-A',
      'trust',
      '-E',
      'UTF8',
      '--locale=C.UTF-8',
      '--no-sync',
    ];
    execFileSync(join(binDir, 'initdb'), init, { ...owner, cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
    server.#configure(options);
    await server.boot();
    await server.sql(`CREATE DATABASE sallyport`, 'postgres');
    if (options.tcp)
      await server.sql(
        `CREATE ROLE visitor LOGIN PASSWORD '${fixturePassword}'; GRANT CREATE ON DATABASE sallyport TO visitor`,
      );
    return server;
  }

  /** By the socket, as its superuser. */
  uri(database = 'sallyport', more = ''): string {
    return `postgresql://sallyport@localhost/${database}?host=${this.dir}&port=${this.port}${more}`;
  }

  address(database?: string): PostgresAddress {
    return addressOf(this.uri(database));
  }

  database(more: Partial<DatabaseOptions> = {}): Promise<Database> {
    return Database.open({ address: this.address(), applicationName: 'test', ...more });
  }

  /** A name no other test has, for a schema. */
  freshName(): string {
    return `t${randomBytes(6).toString('hex')}`;
  }

  /** A database no other test has. */
  async freshDatabase(): Promise<string> {
    const name = this.freshName();
    await this.sql(`CREATE DATABASE ${name}`, 'postgres');
    return name;
  }

  async sql(text: string, database = 'sallyport'): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ host: this.dir, port: this.port, user: 'sallyport', database });
    await client.connect();
    try {
      return (await client.query(text)).rows as Record<string, unknown>[];
    } finally {
      await client.end();
    }
  }

  /** Again, after killAll or stop: recovers from its log as after a crash. */
  async boot(): Promise<void> {
    // What of the killed server still ends would keep the new one from starting.
    const deadline = Date.now() + startMs;
    while (this.#pids().length > 0 && Date.now() < deadline) await delay(10);
    rmSync(join(this.dir, 'data', 'postmaster.pid'), { force: true });
    const { uid, gid } = this.#owner;
    // SIGQUIT when this process is killed: a server without its test ends, and its children with it.
    const asOwner = [
      '--pdeathsig=QUIT',
      ...(process.getuid?.() === 0 ? [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'] : []),
    ];
    const server = [join(binDir ?? '', 'postgres'), '-D', join(this.dir, 'data')];
    this.#process = spawn('setpriv', [...asOwner, ...server], { cwd: this.dir, stdio: 'ignore' });
    for (;;) {
      try {
        await this.sql('SELECT 1', 'postgres');
        return;
      } catch (error) {
        if (Date.now() > deadline)
          throw new Error(`PostgreSQL does not start:\n${this.#logTail()}`, { cause: error });
        await delay(10);
      }
    }
  }

  /** kill -9, every process of it. */
  async killAll(): Promise<void> {
    const ended = this.#process === undefined ? undefined : once(this.#process, 'exit');
    this.#signalAll('SIGKILL');
    await ended;
    this.#process = undefined;
  }

  /** As a host that hangs, or a network that swallows everything: connections stay, nobody answers. */
  freeze(): void {
    this.#signalAll('SIGSTOP');
  }

  thaw(): void {
    this.#signalAll('SIGCONT');
  }

  async close(): Promise<void> {
    this.thaw();
    await this.killAll();
    rmSync(this.dir, { recursive: true, force: true });
  }

  #configure({ durable = false, tcp }: PostgresServerOptions): void {
    const data = join(this.dir, 'data');
    const lines = [
      `unix_socket_directories = '${this.dir}'`,
      `port = ${this.port}`,
      `listen_addresses = '${tcp ? '127.0.0.1' : ''}'`,
      `fsync = ${durable ? 'on' : 'off'}`,
      'max_connections = 200',
      'shared_buffers = 64MB',
      'max_wal_size = 1GB',
      'logging_collector = on',
      `log_directory = '${this.dir}'`,
      "log_filename = 'postgres.log'",
    ];
    if (typeof tcp === 'object') {
      writeFileSync(join(data, 'server.crt'), tcp.certPem);
      writeFileSync(join(data, 'server.key'), tcp.keyPem, { mode: 0o600 });
      for (const name of ['server.crt', 'server.key'])
        chownSync(join(data, name), this.#owner.uid, this.#owner.gid);
      lines.push('ssl = on');
    }
    appendFileSync(join(data, 'postgresql.conf'), `${lines.join('\n')}\n`);
    writeFileSync(
      join(data, 'pg_hba.conf'),
      `local all all trust\n${typeof tcp === 'object' ? 'hostssl' : 'host'} all all 127.0.0.1/32 scram-sha-256\n`,
    );
  }

  #signalAll(signal: NodeJS.Signals): void {
    for (const pid of this.#pids()) {
      try {
        process.kill(pid, signal);
      } catch {
        // It ended meanwhile.
      }
    }
  }

  /** The postmaster first. Its children make sessions of their own, so they are found by the folder they work in. */
  #pids(): number[] {
    const data = join(this.dir, 'data');
    const found = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && workingDir(name) === data);
    return found
      .map(Number)
      .sort((a, b) => Number(b === this.#process?.pid) - Number(a === this.#process?.pid));
  }

  #logTail(): string {
    const path = join(this.dir, 'postgres.log');
    return existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(-10).join('\n') : 'no log';
  }
}

export function addressOf(uri: string): PostgresAddress {
  const parsed = parsePostgresUri(uri);
  if (!parsed.ok) throw new Error(`${uri} ${parsed.problem}`);
  return parsed.address;
}

/** The server refuses to run as root. */
function ownerIds(): { uid: number; gid: number } {
  if (process.getuid?.() !== 0) return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

function workingDir(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
