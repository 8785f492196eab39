/**
 * A whole one-host cluster as processes, the way an operator runs it: `teleport start`, `tctl`, and OpenSSH's
 * own `ssh` as the client. Everything lives in a temporary folder; `stop()` leaves nothing behind.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { exitCodes } from '@sallyport/contracts/errors.ts';
import { cgroup2Mount, killTasks, removeCgroup, removeRecorder } from './host-remains.ts';

export const repository = resolve(import.meta.dirname, '..');
const bin = (name: string) => join(repository, 'packages/teleport/bin', name);

export type Event = Record<string, unknown> & { event: string; code: string; time: string };

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface OneHostOptions {
  /** YAML lines put below `ssh_service:`, already indented by two spaces. */
  readonly sshService?: string;
  /** YAML lines put below `teleport:`, already indented by two spaces. */
  readonly teleport?: string;
  readonly enhancedRecording?: boolean;
  /** The folder this cluster lives in, which is kept; default is a new one below the temporary folder. */
  readonly folder?: string;
  /** Taken when it is free; default is any free one. */
  readonly port?: number;
  /** The proxy's web port, taken when it is free. Without it there is no proxy. */
  readonly webPort?: number;
}

/** Waits until `check` gives something other than undefined and false; throws `what` after the deadline. */
export async function until<T>(
  what: string,
  check: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 15_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await delay(20);
  }
}

/** A port that nobody listens on: `wanted` where that is free. */
export async function freePort(wanted = 0): Promise<number> {
  const server = createServer().listen(wanted, '127.0.0.1');
  const taken = await new Promise((done) => {
    server.once('listening', () => done(false));
    server.once('error', () => done(true));
  });
  if (taken === true) return await freePort();
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Runs a program to its end; never throws for its exit status. */
export function run(
  file: string,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number; env?: NodeJS.ProcessEnv } = {},
): Promise<Ran> {
  return new Promise((done) => {
    const child = execFile(
      file,
      args,
      { timeout: options.timeoutMs ?? 60_000, maxBuffer: 256 << 20, env: options.env ?? process.env },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
        done({ status, stdout, stderr });
      },
    );
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input ?? '');
  });
}

export class OneHost {
  /** Promises, so that a signal finds what is only being made as well. Stopping one twice does no harm. */
  static readonly #made: Promise<OneHost>[] = [];

  readonly folder: string;
  readonly port: number;
  /** undefined: no proxy. */
  readonly webPort: number | undefined;
  readonly configPath: string;
  readonly dataDir: string;
  readonly #keepFolder: boolean;
  readonly #cgroupPath: string;
  #daemon: ChildProcess | undefined;
  #identities = new Map<string, string>();

  private constructor(
    folder: string,
    keepFolder: boolean,
    ports: { port: number; webPort: number | undefined },
    cgroupPath: string,
  ) {
    this.folder = folder;
    this.port = ports.port;
    this.webPort = ports.webPort;
    this.configPath = join(folder, 'teleport.yaml');
    this.dataDir = join(folder, 'data');
    this.#keepFolder = keepFolder;
    this.#cgroupPath = cgroupPath;
  }

  static async start(options: OneHostOptions = {}): Promise<OneHost> {
    const made = OneHost.#make(options);
    OneHost.#made.push(made);
    const host = await made;
    try {
      await host.startDaemon();
      return host;
    } catch (error) {
      await host.stop();
      throw error;
    }
  }

  static async #make(options: OneHostOptions): Promise<OneHost> {
    const keep = options.folder !== undefined;
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'sallyport-')));
    await mkdir(folder, { recursive: true });
    // Where the host has none, ours is mounted, as the documented default says.
    const cgroupPath = (await cgroup2Mount()) ?? '/cgroup2';
    const port = await freePort(options.port);
    const webPort = options.webPort === undefined ? undefined : await freePort(options.webPort);
    const host = new OneHost(folder, keep, { port, webPort }, cgroupPath);
    await writeFile(host.configPath, host.#config(options));
    return host;
  }

  /**
   * Ctrl-C and its like stop every cluster of this process in order before it ends; a second one ends it at once.
   * What `onStop` returns is the exit status; default is what a shell says of a signal, 128 + its number.
   */
  static stopOnSignal(onStop: () => number | undefined = () => undefined): void {
    // The terminal may be gone by then: what cannot be said must not keep the rest from being done.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
    for (const [signal, number] of [
      ['SIGINT', 2],
      ['SIGTERM', 15],
      ['SIGHUP', 1],
    ] as const) {
      process.once(signal, async () => {
        const status = onStop() ?? 128 + number;
        await Promise.allSettled(OneHost.#made.map(async (made) => (await made).stop()));
        process.exit(status);
      });
    }
  }

  #config(options: OneHostOptions): string {
    return `version: v2
teleport:
  nodename: ${hostname() || 'localhost'}
  data_dir: ${this.dataDir}
${options.teleport ?? ''}
auth_service:
  enabled: true
  cluster_name: demo
  listen_addr: 127.0.0.1:0
${this.#proxyService}
ssh_service:
  enabled: true
  listen_addr: 127.0.0.1:${this.port}
  enhanced_recording:
    enabled: ${options.enhancedRecording ?? true}
    cgroup_path: ${this.#cgroupPath}
    root_path: ${this.#rootPath}
${options.sshService ?? ''}
`;
  }

  get #proxyService(): string {
    if (this.webPort === undefined) return 'proxy_service:\n  enabled: false';
    return `proxy_service:
  enabled: true
  web_listen_addr: 127.0.0.1:${this.webPort}
  public_addr: 127.0.0.1:${this.webPort}
  listen_addr: 127.0.0.1:0
  tunnel_listen_addr: 127.0.0.1:0`;
  }

  /** What holds the cgroups of its sessions. */
  get cgroup(): string {
    return join(this.#cgroupPath, this.#rootPath);
  }

  get #rootPath(): string {
    return `/sallyport-${this.port}`;
  }

  get daemonPid(): number {
    const pid = this.#daemon?.pid;
    if (pid === undefined) throw new Error('the daemon is not running');
    return pid;
  }

  get daemonLog(): string {
    return join(this.folder, 'teleport.log');
  }

  async startDaemon(): Promise<void> {
    // Straight into the file: a pipe would end with us. In a process group of its own: the terminal's Ctrl-C is
    // ours to act on, in order.
    const log = openSync(this.daemonLog, 'a');
    const daemon = spawn(bin('teleport'), ['start', '-c', this.configPath], {
      stdio: ['ignore', log, log],
      detached: true,
    });
    closeSync(log);
    this.#daemon = daemon;
    let ended = false;
    daemon.once('exit', () => {
      ended = true;
    });
    await until('the node listens', async () => {
      if (ended)
        throw new Error(`teleport start ended:\n${readFileSync(this.daemonLog, 'utf8').slice(-4000)}`);
      return (await accepts(this.port)) && (this.webPort === undefined || (await accepts(this.webPort)));
    });
  }

  /** Sends the daemon a signal and waits until it is gone. */
  async killDaemon(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const gone = new Promise((done) => daemon.once('exit', done));
    daemon.kill(signal);
    const deadline = setTimeout(() => daemon.kill('SIGKILL'), 20_000);
    await gone;
    clearTimeout(deadline);
  }

  tctl(...args: string[]): Promise<Ran> {
    return run(bin('tctl'), ['-c', this.configPath, ...args]);
  }

  /** Makes the user where it is new, and signs an identity for it. Returns the identity file's path. */
  async identity(
    user: string,
    logins: readonly string[] = ['root'],
    roles: readonly string[] = ['access'],
  ): Promise<string> {
    const known = this.#identities.get(user);
    if (known !== undefined) return known;
    const added = await this.tctl(
      'users',
      'add',
      user,
      `--logins=${logins.join(',')}`,
      `--roles=${roles.join(',')}`,
    );
    // A folder that was kept knows the user already.
    const there = this.#keepFolder && added.status === exitCodes.conflict;
    if (added.status !== 0 && !there) throw new Error(`tctl users add: ${added.stderr}`);
    const out = join(this.folder, 'identities', user);
    await mkdir(join(this.folder, 'identities'), { recursive: true });
    const sign = ['auth', 'sign', `--user=${user}`, `--out=${out}`, '--ttl=1h', '--overwrite'];
    const signed = await this.tctl(...sign);
    if (signed.status !== 0) throw new Error(`tctl auth sign: ${signed.stderr}`);
    this.#identities.set(user, out);
    return out;
  }

  /** Arguments of OpenSSH's ssh for that user: strict host key checking by the cluster's host CA, nothing of the home folder. */
  async sshArgs(user: string, login = 'root', logins: readonly string[] = [login]): Promise<string[]> {
    const identity = await this.identity(user, logins);
    return [
      ...['-F', 'none', '-p', String(this.port), '-i', identity],
      ...[
        '-o',
        `CertificateFile=${identity}-cert.pub`,
        '-o',
        'IdentitiesOnly=yes',
        '-o',
        'IdentityAgent=none',
      ],
      ...['-o', `UserKnownHostsFile=${identity}-known_hosts`, '-o', 'GlobalKnownHostsFile=none'],
      ...['-o', 'StrictHostKeyChecking=yes', '-o', 'BatchMode=yes', '-o', 'LogLevel=ERROR'],
      ...['-l', login, '127.0.0.1'],
    ];
  }

  /** `ssh … command` as that user. `options.tty` asks for a terminal, `options.input` is typed into it. */
  async ssh(
    user: string,
    command: string | undefined,
    options: { login?: string; tty?: boolean; input?: string; timeoutMs?: number } = {},
  ): Promise<Ran> {
    const args = await this.sshArgs(user, options.login ?? 'root');
    const tty = options.tty === true ? ['-tt'] : [];
    return run('ssh', [...tty, ...args, ...(command === undefined ? [] : [command])], options);
  }

  /** Types line after line into a terminal, each when the shell prompts for it. Gives what the terminal showed. */
  async type(user: string, lines: readonly string[], prompt = 'demo$ '): Promise<string> {
    // Without the account's own start-up files: what a host puts there is not the demonstration's.
    const shell = 'exec bash --noprofile --norc -i';
    const child = spawn('ssh', ['-tt', ...(await this.sshArgs(user)), shell], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const ended = new Promise((done) => child.once('close', done));
    let shown = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      shown += text;
    });
    // The log-in shell reads the account's start-up files first, and some wait for a lock of their own.
    await until('the shell prompts', () => shown.length > 0, 90_000);
    child.stdin.write(`bind 'set enable-bracketed-paste off'; PS1='${prompt}'\n`);
    let read = 0;
    for (const line of lines) {
      const at = await until('the prompt', () => {
        let found = shown.indexOf(prompt, read);
        // As the shell prints it, not as it was echoed inside of PS1='…'.
        while (found > 0 && shown[found - 1] === "'") found = shown.indexOf(prompt, found + 1);
        return found >= 0 && found;
      });
      read = at + prompt.length;
      child.stdin.write(`${line}\n`);
    }
    await ended;
    return shown;
  }

  get eventsLog(): string {
    return join(this.dataDir, 'log', 'events.log');
  }

  /** Every event in today's audit log, in order. */
  async events(): Promise<Event[]> {
    if (!existsSync(this.eventsLog)) return [];
    const text = await readFile(this.eventsLog, 'utf8');
    // What stands behind the last line's end is still being written.
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Event);
  }

  /** Waits for the `count`-th session.end and returns the events of the session that ended last. */
  async lastSession(count = 1): Promise<Event[]> {
    return await until(`${count} session.end in the audit log`, async () => {
      const events = await this.events();
      const ends = events.filter((event) => event.event === 'session.end');
      const sid = ends[count - 1]?.['sid'];
      return sid !== undefined && events.filter((event) => event['sid'] === sid);
    });
  }

  /** Ends the daemon in order, and whatever it would have kept for its next start. */
  async stop(): Promise<void> {
    // What the daemon's hang-up does not end is ended before its patience (5 s) is over, so that it closes every
    // session itself and stops its recorder.
    const impatience = setTimeout(() => void killTasks(this.cgroup), 2_000);
    await this.killDaemon('SIGTERM');
    clearTimeout(impatience);
    await removeCgroup(this.cgroup);
    await removeRecorder(this.dataDir);
    if (!this.#keepFolder) await rm(this.folder, { recursive: true, force: true });
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      done(true);
    });
    socket.once('error', () => done(false));
  });
}
