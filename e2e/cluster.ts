/**
 * A cluster as an operator builds it: each service a process of its own on a host of its own (network.ts), joined by
 * tokens, reached with `tsh` or OpenSSH from yet another host. Everything else is as in one-host.ts: real programs,
 * a temporary folder, nothing left behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cgroup2Mount, killTasks, removeCgroup, removeRecorder } from './host-remains.ts';
import { type Host, Network } from './network.ts';
import { type Event, type Ran, repository, run, until } from './one-host.ts';

const bin = (name: string) => join(repository, 'packages/teleport/bin', name);

/** Services of a host, as YAML below the top level. */
export interface HostPlan {
  readonly nodename: string;
  /** Of the file. Default: v3. */
  readonly version?: 'v2';
  /** Lines below `teleport:`, indented by two. */
  readonly teleport?: string;
  /** Whole sections: auth_service, proxy_service, ssh_service. Those not named are off. */
  readonly services: string;
  readonly natted?: boolean;
}

export class Machine {
  readonly host: Host;
  readonly folder: string;
  readonly configPath: string;
  readonly dataDir: string;
  readonly cgroup: string;
  #daemon: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();

  constructor(host: Host, folder: string, cgroup: string) {
    this.host = host;
    this.folder = folder;
    this.cgroup = cgroup;
    this.configPath = join(folder, 'teleport.yaml');
    this.dataDir = join(folder, 'data');
  }

  get log(): string {
    return join(this.folder, 'teleport.log');
  }

  get pid(): number {
    const pid = this.#daemon?.pid;
    if (pid === undefined) throw new Error(`${this.host.name} is not running`);
    return pid;
  }

  /** `ready`: a line its log must show. */
  async start(ready: RegExp): Promise<void> {
    const log = openSync(this.log, 'a');
    const from = readFileSync(this.log).length;
    const [file = '', ...args] = [...this.host.enter, bin('teleport'), 'start', '-c', this.configPath];
    const daemon = spawn(file, args, { stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    this.#daemon = daemon;
    let ended = false;
    this.#exited = new Promise((done) =>
      daemon.once('exit', () => {
        ended = true;
        done();
      }),
    );
    await until(
      `${this.host.name} says ${ready}`,
      () => {
        const said = readFileSync(this.log).subarray(from).toString();
        if (ended) throw new Error(`${this.host.name}: teleport start ended:\n${said.slice(-4000)}`);
        return ready.test(said);
      },
      30_000,
    );
  }

  /** The daemon itself, not its whole group: sessions and the recorder outlive it, as they do on a real host. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (daemon?.pid === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
    daemon.kill(signal);
    const impatience = setTimeout(() => daemon.kill('SIGKILL'), 20_000);
    await this.#exited;
    clearTimeout(impatience);
  }

  async remove(): Promise<void> {
    const impatience = setTimeout(() => void killTasks(this.cgroup), 2_000);
    await this.kill('SIGTERM');
    clearTimeout(impatience);
    await removeCgroup(this.cgroup);
    await removeRecorder(this.dataDir);
  }
}

export class Cluster {
  readonly folder: string;
  readonly network: Network;
  /** Where people sit. */
  readonly desk: Host;
  readonly machines = new Map<string, Machine>();
  readonly #cgroupPath: string;

  private constructor(folder: string, network: Network, cgroupPath: string) {
    this.folder = folder;
    this.network = network;
    this.desk = network.host('desk');
    this.#cgroupPath = cgroupPath;
  }

  static async create(): Promise<Cluster> {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-'));
    return new Cluster(folder, new Network(), (await cgroup2Mount()) ?? '/cgroup2');
  }

  /** Address first, configuration after it: the plan may name the host's own address. */
  async machine(name: string, plan: (host: Host) => HostPlan, natted = false): Promise<Machine> {
    const host = natted ? this.network.natted(name) : this.network.host(name);
    const { nodename, version = 'v3', teleport = '', services } = plan(host);
    const folder = join(this.folder, name);
    await mkdir(folder, { recursive: true });
    const rootPath = `/sallyport-${process.pid}-${name}`;
    const machine = new Machine(host, folder, join(this.#cgroupPath, rootPath));
    const off = ['auth_service', 'proxy_service', 'ssh_service']
      .filter((service) => !services.includes(`${service}:`))
      .map((service) => `${service}: {enabled: false}\n`)
      .join('');
    const text = `version: ${version}
teleport:
  nodename: ${nodename}
  data_dir: ${machine.dataDir}
${teleport}
${off}${services.replaceAll('CGROUP_PATH', this.#cgroupPath).replaceAll('ROOT_PATH', rootPath)}
`;
    await writeFile(machine.configPath, text, { mode: 0o600 });
    this.machines.set(name, machine);
    return machine;
  }

  get(name: string): Machine {
    const machine = this.machines.get(name);
    if (machine === undefined) throw new Error(`there is no machine ${name}`);
    return machine;
  }

  /** On the auth host. */
  async tctl(...args: string[]): Promise<Ran> {
    return this.tctlAt('auth', ...args);
  }

  /** On that auth host. */
  async tctlAt(name: string, ...args: string[]): Promise<Ran> {
    const auth = this.get(name);
    return this.at(auth.host, [bin('tctl'), '-c', auth.configPath, ...args]);
  }

  /** As `tctl`, and it must succeed. */
  async tctlOk(...args: string[]): Promise<string> {
    const ran = await this.tctl(...args);
    if (ran.status !== 0) throw new Error(`tctl ${args.join(' ')}: ${ran.stderr}`);
    return ran.stdout;
  }

  /** At the desk, with a home of that person's own. */
  tsh(
    person: string,
    args: readonly string[],
    options: { input?: string; timeoutMs?: number } = {},
  ): Promise<Ran> {
    return this.at(this.desk, [bin('tsh'), ...args], { ...options, env: this.env(person) });
  }

  env(person: string): NodeJS.ProcessEnv {
    return {
      PATH: process.env['PATH'],
      TERM: 'xterm',
      HOME: this.home(person),
      TELEPORT_HOME: join(this.home(person), '.tsh'),
    };
  }

  home(person: string): string {
    return join(this.folder, 'home', person);
  }

  /** Any program on a host. */
  at(
    host: Host,
    command: readonly string[],
    options: { input?: string; timeoutMs?: number; env?: NodeJS.ProcessEnv } = {},
  ): Promise<Ran> {
    const [file = '', ...args] = [...host.enter, ...command];
    return run(file, args, options);
  }

  /** A program at the desk that goes on; the caller ends it. */
  spawnAtDesk(person: string, command: readonly string[]): ChildProcess {
    const [file = '', ...args] = [...this.desk.enter, ...command];
    return spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'], env: this.env(person) });
  }

  tshCommand(...args: readonly string[]): string[] {
    return [bin('tsh'), ...args];
  }

  /** The log of the auth host: everything that happened anywhere. */
  async events(): Promise<Event[]> {
    const text = await readFile(join(this.get('auth').dataDir, 'log', 'events.log'), 'utf8').catch(() => '');
    // What stands behind the last line's end is still being written.
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Event);
  }

  async remove(): Promise<void> {
    await Promise.allSettled([...this.machines.values()].map((machine) => machine.remove()));
    this.network.remove();
    await rm(this.folder, { recursive: true, force: true });
  }
}
