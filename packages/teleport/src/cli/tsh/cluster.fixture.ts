// A whole cluster in one process, on loopback ports, for the tests of `tsh`: `teleport start` and `tctl` as an operator
// runs them, people who signed up, and `tsh` with a home of each person's own.

import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { createClient } from '@sallyport/contracts/api/client.ts';
import type { ResourceDocument } from '@sallyport/contracts/api/resources.ts';
import type { SessionTracker } from '@sallyport/contracts/api/session-trackers.ts';
import { generateSync } from 'otplib';
import { freePort } from '../../free-port.fixture.ts';
import { socketTransport } from '../../membership/transport.ts';
import { until } from '../../until.fixture.ts';
import { certifyAnew } from '../certify-anew.fixture.ts';
import { removeCgroups, removeRecorders } from '../teleport/host-remains.fixture.ts';
import { isAlive } from '../teleport/until.fixture.ts';

const bin = (name: string) => resolve(import.meta.dirname, '../../../bin', name);

export { freePort, until };

export const tshProgram = bin('tsh');
export const skip = process.getuid?.() === 0 ? false : 'sessions are started as root';

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
}

export interface Person {
  readonly name: string;
  readonly password: string;
  readonly secret: string;
}

export interface PersonOptions {
  readonly logins?: string;
  readonly roles?: string;
  readonly app?: boolean;
}

export interface ClusterOptions {
  readonly name?: string;
  /** Of `authentication:`. */
  readonly secondFactor?: string;
  /** Without it: auth and proxy only. */
  readonly node?: boolean;
  /** The kernel records the node's sessions, too. */
  readonly enhanced?: boolean;
}

/** A program to its end; never throws for its exit status. */
export function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { input = '', env = process.env, timeoutMs = 60_000 } = options;
  return new Promise((done) => {
    const limits = { timeout: timeoutMs, maxBuffer: 64 << 20, env };
    const child = execFile(file, args, limits, (error, stdout, stderr) =>
      done({
        status: error === null ? 0 : typeof error.code === 'number' ? error.code : null,
        stdout,
        stderr,
      }),
    );
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** An account of this host whose shell reads nothing of root's own: start-up files there may do anything. */
export class Account {
  readonly name: string;
  readonly home: string;

  constructor(purpose: string) {
    this.name = `spt${process.pid}${purpose}`;
    this.home = `/home/${this.name}`;
    execFileSync('useradd', ['--create-home', '--shell', '/bin/sh', this.name], { stdio: 'pipe' });
    process.once('exit', this.#removeLate);
  }

  readonly #removeLate = () => this.remove();

  remove(): void {
    process.off('exit', this.#removeLate);
    execFileSync('userdel', ['--force', '--remove', this.name], { stdio: 'ignore' });
  }
}

const stepSeconds = 30;
/** One cluster of a process records with the kernel; its sessions' cgroups are below. */
export const rootPath = `/sallyport-tsh-${process.pid}`;

/** `teleport start`, its log beside its configuration. */
class Daemon {
  static readonly #all: Daemon[] = [];
  readonly #config: string;
  #child: ChildProcess;
  readonly #log: string;

  constructor(config: string) {
    this.#config = config;
    this.#log = `${config}.log`;
    this.#child = this.#start();
    if (Daemon.#all.push(this) === 1) Daemon.#endWithTests();
  }

  #start(): ChildProcess {
    const log = openSync(this.#log, 'a');
    const child = spawn(bin('teleport'), ['start', '-c', this.#config], { stdio: ['ignore', log, log] });
    closeSync(log);
    return child;
  }

  /** SIGKILL: nothing is tidied up. Resolves when it is gone. */
  async kill(): Promise<void> {
    const gone = new Promise((done) => this.#child.once('exit', done));
    this.#child.kill('SIGKILL');
    await gone;
  }

  /** After `kill`. Resolves when it serves. */
  async startAgain(): Promise<void> {
    const before = this.#served;
    this.#child = this.#start();
    await until('the daemon serves again', () => this.#served > before, 60_000);
  }

  /** A run that is cut short leaves no daemon behind. */
  static #endWithTests(): void {
    process.once('exit', () => {
      for (const daemon of Daemon.#all) daemon.#child.kill('SIGKILL');
    });
    for (const [signal, number] of [
      ['SIGTERM', 15],
      ['SIGINT', 2],
    ] as const) {
      process.once(signal, () => process.exit(128 + number));
    }
  }

  get log(): string {
    return readFileSync(this.#log, 'utf8');
  }

  async ready(): Promise<void> {
    await until(
      'the daemon is ready',
      () => {
        if (this.#child.exitCode !== null) throw new Error(`teleport start ended:\n${this.log}`);
        return /the ssh service (listens|is off)/.test(this.log);
      },
      60_000,
    );
  }

  get #served(): number {
    return this.log.split('the ssh service listens').length;
  }

  /** SIGHUP; resolves when the next daemon serves in this one's place. */
  async reload(): Promise<void> {
    const before = this.#served;
    this.#child.kill('SIGHUP');
    await until('the next daemon serves', () => this.#served > before, 60_000);
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill('SIGTERM');
    const impatience = setTimeout(() => child.kill('SIGKILL'), 15_000);
    await gone;
    clearTimeout(impatience);
  }
}

export class TestCluster {
  readonly folder: string;
  readonly name: string;
  readonly proxy: string;
  readonly #daemon: Daemon;
  readonly #nodes: Daemon[] = [];
  readonly #authPort: number;
  readonly #people = new Map<string, Person>();
  readonly #usedSteps = new Map<string, number>();
  pin = '';

  private constructor(folder: string, name: string, ports: Record<'web' | 'auth', number>) {
    this.folder = folder;
    this.name = name;
    this.proxy = `localhost:${ports.web}`;
    this.#authPort = ports.auth;
    this.#daemon = new Daemon(join(folder, 'teleport.yaml'));
  }

  static async start(options: ClusterOptions = {}): Promise<TestCluster> {
    const { name = 'tsh.test' } = options;
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-tsh-'));
    const [web = 0, ssh, tunnel, auth = 0, node] = await Promise.all([1, 2, 3, 4, 5].map(freePort));
    await writeFile(
      join(folder, 'teleport.yaml'),
      `version: v3
teleport: {nodename: node-1, data_dir: ${folder}/data}
auth_service:
  enabled: true
  cluster_name: ${name}
  listen_addr: 127.0.0.1:${auth}
  authentication: {type: local, second_factor: ${options.secondFactor ?? 'otp'}, webauthn: {rp_id: localhost}}
proxy_service:
  enabled: true
  web_listen_addr: 127.0.0.1:${web}
  listen_addr: 127.0.0.1:${ssh}
  tunnel_listen_addr: 127.0.0.1:${tunnel}
  public_addr: localhost:${web}
ssh_service:
  enabled: ${options.node ?? true}
  listen_addr: 127.0.0.1:${node}
  labels: {env: test, role: web}
  enhanced_recording: {enabled: ${options.enhanced ?? false}, cgroup_path: /sys/fs/cgroup/unified, root_path: ${rootPath}}
`,
    );
    const cluster = new TestCluster(folder, name, { web, auth });
    try {
      await cluster.#ready();
      return cluster;
    } catch (error) {
      await cluster.remove();
      throw error;
    }
  }

  async #ready(): Promise<void> {
    await this.#daemon.ready();
    this.pin = JSON.parse(await this.tctl('status', '--format=json')).ca_pin;
  }

  /** A daemon takes the place of the one that runs; sessions stay where they are. */
  reload(): Promise<void> {
    return this.#daemon.reload();
  }

  /** kill -9 of auth, proxy and node at once. */
  killDaemon(): Promise<void> {
    return this.#daemon.kill();
  }

  /** After `killDaemon`. */
  startAgain(): Promise<void> {
    return this.#daemon.startAgain();
  }

  /** Daemons that took another's place: started by it, not by us. */
  async #stopSuccessors(): Promise<void> {
    const folder = join(this.folder, 'data/generations');
    const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.json'));
    for (const name of names) {
      const { pid } = JSON.parse(await readFile(join(folder, name), 'utf8')) as { pid: number };
      if (!isAlive(pid)) continue;
      process.kill(pid, 'SIGTERM');
      await until('a daemon has ended', () => !isAlive(pid)).catch(() => process.kill(pid, 'SIGKILL'));
    }
  }

  /** Another node: at an address, or reached through a tunnel to the proxy. Nothing is recorded there. */
  async addNode(nodename: string, { tunnel = false }: { readonly tunnel?: boolean } = {}): Promise<void> {
    const folder = join(this.folder, `node-${this.#nodes.length}`);
    await mkdir(folder);
    const [token] = JSON.parse(await this.tctl('nodes', 'add', '--roles=node', '--format=json'));
    const config = join(folder, 'teleport.yaml');
    const upstream = tunnel ? `proxy_server: "${this.proxy}"` : `auth_server: "127.0.0.1:${this.#authPort}"`;
    await writeFile(
      config,
      `version: v3
teleport: {nodename: ${nodename}, data_dir: ${folder}/data, ${upstream}, auth_token: ${token}, ca_pin: "${this.pin}"}
auth_service: {enabled: false}
proxy_service: {enabled: false}
ssh_service:
  enabled: true
  listen_addr: "127.0.0.1:${await freePort()}"
  enhanced_recording: {enabled: false, cgroup_path: /sys/fs/cgroup/unified, root_path: ${rootPath}}
`,
    );
    const node = new Daemon(config);
    this.#nodes.push(node);
    await node.ready();
  }

  /** Must succeed. */
  async tctl(...args: string[]): Promise<string> {
    const ran = await run(bin('tctl'), ['-c', join(this.folder, 'teleport.yaml'), ...args]);
    if (ran.status !== 0) throw new Error(`tctl ${args.join(' ')}: ${ran.stderr}`);
    return ran.stdout;
  }

  /** As the administrator at the auth host's socket. */
  async put(document: ResourceDocument): Promise<void> {
    const transport = socketTransport(join(this.folder, 'data/auth.sock'));
    const params = { kind: document.kind, name: document.metadata.name };
    await createClient(authRoutes, transport).putResource({ params, body: document });
    transport.close();
  }

  /** As the administrator sees them. */
  async sessions(): Promise<SessionTracker[]> {
    const transport = socketTransport(join(this.folder, 'data/auth.sock'));
    const { sessions } = await createClient(authRoutes, transport).listSessions({});
    transport.close();
    return sessions;
  }

  /** A new user and the link to sign up with. */
  async invite(name: string, logins = 'root', roles = 'access'): Promise<string> {
    const added = await this.tctl('users', 'add', name, `--logins=${logins}`, `--roles=${roles}`);
    const url = /https:\/\/\S+/.exec(added)?.[0];
    if (url === undefined) throw new Error(added);
    return url;
  }

  /** Signs up as a person would: the page's form, posted. `app`: with a second factor, where there is a choice. */
  async person(name: string, options: PersonOptions = {}): Promise<Person> {
    const { logins = 'root', roles = 'access', app = true } = options;
    const url = await this.invite(name, logins, roles);
    const curl = (...args: string[]) => run('curl', ['-sk', '--max-time', '20', ...args, url]);
    const page = (await curl()).stdout;
    const secret = app ? (/id="secret">([A-Z2-7]+)</.exec(page)?.[1] ?? '') : '';
    const password = `correct horse ${name}`;
    const person = { name, password, secret };
    this.#people.set(name, person);
    const fields = { password, again: password, otp: secret === '' ? '' : await this.code(name) };
    const { stdout } = await curl(
      ...Object.entries(fields).flatMap(([key, value]) => ['--data-urlencode', `${key}=${value}`]),
    );
    if (!/is ready/.test(stdout)) throw new Error(`${page}\n${stdout}`);
    return person;
  }

  /** A code is good once, half a minute before its time at the earliest: whoever is faster waits. */
  async code(name: string): Promise<string> {
    const { secret } = this.#person(name);
    const step = await until(
      'the next code',
      () => {
        const now = Math.floor(Date.now() / 1000 / stepSeconds);
        const next = Math.max(now, (this.#usedSteps.get(secret) ?? 0) + 1);
        return next <= now + 1 && next;
      },
      40_000,
    );
    this.#usedSteps.set(secret, step);
    return generateSync({ secret, epoch: step * stepSeconds });
  }

  #person(name: string): Person {
    const person = this.#people.get(name);
    if (person === undefined) throw new Error(`nobody is called ${name}`);
    return person;
  }

  async answers(name: string): Promise<string> {
    const { password, secret } = this.#person(name);
    return secret === '' ? `${password}\n\n` : `${password}\n${await this.code(name)}\n`;
  }

  async logIn(name: string, ...flags: string[]): Promise<Ran> {
    const args = ['login', `--proxy=${this.proxy}`, `--user=${name}`, `--ca-pin=${this.pin}`, ...flags];
    return this.tsh(name, args, { input: await this.answers(name) });
  }

  /** Their SSH certificate anew, for so long from now; others are as they were. */
  async certifyFor(name: string, ttlMs: number): Promise<void> {
    const path = join(this.home(name), 'keys/localhost', `${name}-ssh`, `${this.name}-cert.pub`);
    await certifyAnew(path, await readFile(join(this.folder, 'teleport.yaml'), 'utf8'), ttlMs);
  }

  tsh(name: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return run(tshProgram, args, { ...options, env: { ...this.env(name), ...options.env } });
  }

  /** As that person has it, with nothing of whoever runs the test. */
  env(name: string): NodeJS.ProcessEnv {
    return {
      PATH: process.env['PATH'],
      TERM: 'xterm',
      NO_COLOR: '1',
      HOME: join(this.folder, 'home', name),
      TELEPORT_HOME: this.home(name),
      // Nothing opens a browser.
      BROWSER: '/bin/true',
    };
  }

  home(name: string): string {
    return join(this.folder, 'home', name, '.tsh');
  }

  async events(event: string): Promise<Record<string, unknown>[]> {
    const text = await readFile(join(this.folder, 'data/log/events.log'), 'utf8').catch(() => '');
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((each) => each['event'] === event);
  }

  /** Names of the events in a finished recording's own part, once it is there. */
  async recordedEvents(sid: string): Promise<string[]> {
    const log = join(this.folder, 'data/log');
    const part = `${sid}-0.events.gz`;
    const found = await until('the recording is finished', async () => {
      const names = await readdir(log, { recursive: true });
      return names.find((name) => name.endsWith(part));
    });
    const lines = gunzipSync(await readFile(join(log, found))).toString();
    return [...lines.matchAll(/"event":"([a-z._]+)"/g)].map((match) => match[1] ?? '');
  }

  async makeHome(name: string): Promise<void> {
    await mkdir(join(this.folder, 'home', name), { recursive: true });
  }

  async remove(): Promise<void> {
    await Promise.all([this.#daemon, ...this.#nodes].map((daemon) => daemon.stop()));
    await this.#stopSuccessors();
    await removeCgroups(rootPath);
    await removeRecorders(join(this.folder, 'data'));
    await rm(this.folder, { recursive: true, force: true });
  }
}
