// A node in a temporary folder, in this process, and OpenSSH's own `ssh` as its client. For root tests.
import { type ChildProcess, type ExecFileException, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { createClient } from '@sallyport/contracts/api/client.ts';
import type { ResourceDocument } from '@sallyport/contracts/api/resources.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import { EventStamp } from '../../audit/session-emitter.ts';
import { accessRole, type RoleOptions } from '../../auth/role.ts';
import { toRoleDocument } from '../../auth/role-document.ts';
import { parsePublicKeyLine, publicKeyLine } from '../../ca/public-key.ts';
import { loadConfig } from '../../config/load-config.ts';
import type { NodeLog } from '../../ssh/node-log.ts';
import { openAuthCore, openAuthState } from '../auth-core.ts';
import { certifyAnew } from '../certify-anew.fixture.ts';
import { removeCgroups, removeRecorders } from './host-remains.fixture.ts';
import { type RunningTeleport, type ServiceOptions, startTeleport } from './service.ts';
import { isAlive, until } from './until.fixture.ts';

export { isAlive, until };

/** An event as a test looks at it. */
export type SeenEvent = AuditEvent & Record<string, unknown>;

export interface Ran {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface OneNodeOptions {
  readonly enhanced?: boolean;
  readonly role?: RoleOptions;
  /** Accounts alice may log in to, besides root. */
  readonly logins?: readonly string[];
  /** YAML lines below ssh_service.enhanced_recording, indented by four. */
  readonly enhancedYaml?: string;
  /** A YAML line of ssh_service, indented by two. */
  readonly sshYaml?: string;
  /** A YAML line of auth_service's braces: `client_idle_timeout: 2s`. */
  readonly authYaml?: string;
  /** Further YAML of the `teleport` section, in braces' form: `diag_addr: …, log: { … }`. */
  readonly teleportYaml?: string;
  readonly service?: Partial<ServiceOptions>;
  /** Default: one of this node's own. */
  readonly rootPath?: string;
  /** Where the data directory lies; default: in the folder of the test. */
  readonly dataDir?: string;
}

export interface SshOptions {
  readonly tty?: boolean;
  /** `command` names a subsystem. */
  readonly subsystem?: boolean;
  readonly input?: string;
  readonly login?: string;
}

let instances = 0;

export class OneNode {
  readonly folder: string;
  readonly options: OneNodeOptions;
  /** Service log lines, as objects. */
  readonly logged: Record<string, unknown>[] = [];
  service: RunningTeleport | undefined;
  #port = 0;
  #child: ChildProcess | undefined;
  childLog = '';
  readonly rootPath: string;

  private constructor(folder: string, options: OneNodeOptions) {
    this.folder = folder;
    this.options = options;
    instances += 1;
    this.rootPath = options.rootPath ?? `/sallyport-test-${process.pid}-${instances}`;
  }

  static async create(options: OneNodeOptions = {}): Promise<OneNode> {
    const node = new OneNode(await mkdtemp(join(tmpdir(), 'sp-')), options);
    await promisify(execFile)('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(node.folder, 'id')]);
    await node.#issue();
    return node;
  }

  static async start(options: OneNodeOptions = {}): Promise<OneNode> {
    const node = await OneNode.create(options);
    await node.start();
    return node;
  }

  get dataDir(): string {
    return this.options.dataDir ?? join(this.folder, 'data');
  }

  get port(): number {
    return this.#port;
  }

  yaml(port = this.#port): string {
    return `version: v2
teleport: { nodename: node-1, data_dir: ${this.dataDir}, ${this.options.teleportYaml ?? ''} }
auth_service: { enabled: true, cluster_name: demo, listen_addr: "127.0.0.1:0", ${this.options.authYaml ?? ''} }
proxy_service: { enabled: false }
ssh_service:
  enabled: true
  listen_addr: 127.0.0.1:${port}
  enhanced_recording:
    enabled: ${this.options.enhanced ?? true}
    cgroup_path: /sys/fs/cgroup/unified
    root_path: ${this.rootPath}
${this.options.enhancedYaml ?? ''}
${this.options.sshYaml ?? ''}
`;
  }

  async start(service: Partial<ServiceOptions> = this.options.service ?? {}): Promise<void> {
    const { config } = loadConfig(this.yaml());
    this.service = await startTeleport(config, {
      version: '0.1.0',
      log: this.#log(),
      ...testRecorder(),
      ...service,
    });
    this.#port = this.service.ssh?.address.port ?? 0;
  }

  /** `teleport start`, as an operator runs it. Its port is not known before its log says it. */
  async startCommand(): Promise<Daemon> {
    const path = join(this.folder, 'teleport.yaml');
    await writeFile(path, this.yaml());
    return new Daemon(path, this);
  }

  /** From the daemon's own log. */
  listensOn(port: number): void {
    this.#port = port;
  }

  /** The same node in a process of its own, which can be killed. */
  async startChild(): Promise<void> {
    const path = join(this.folder, 'teleport.yaml');
    await writeFile(path, this.yaml());
    const program = fileURLToPath(new URL('daemon.fixture.ts', import.meta.url));
    const child = spawn(process.execPath, [program, path], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    child.stderr.on('data', (chunk: Buffer) => {
      this.childLog += chunk;
    });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk;
    });
    const [, port] = await until(
      'the daemon listens',
      () => {
        if (child.exitCode !== null) throw new Error(`the daemon ended:\n${this.childLog}`);
        return /listening (\d+)/.exec(said) ?? undefined;
      },
      40_000,
    );
    this.#port = Number(port);
  }

  async killChild(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  #log(): NodeLog {
    const keep = (level: string) => (fields: object, message: string) => {
      this.logged.push({ level, message, ...fields });
      if (process.env['SALLYPORT_TEST_LOG']) console.error(level, message, fields);
    };
    return { debug: keep('debug'), info: keep('info'), warn: keep('warn'), error: keep('error') };
  }

  async #issue(): Promise<void> {
    const { config } = loadConfig(this.yaml());
    const state = await openAuthState(config, true, this.#log());
    const nowhere = { append: async () => {}, async *search() {} };
    const stamp = new EventStamp({ clusterName: 'demo' });
    const core = await openAuthCore(
      { config, audit: nowhere, hostUuid: randomUUID(), stamp, version: '0.1.0', log: this.#log() },
      state,
    );
    const admin = createClient(authRoutes, core.transportAs({ kind: 'admin', user: 'test' }));
    const put = (document: ResourceDocument) => {
      const params = { kind: document.kind, name: document.metadata.name };
      return admin.putResource({ params, query: { mode: 'upsert' }, body: document });
    };
    const options: RoleOptions = { enhancedRecording: ['command', 'disk', 'network'], ...this.options.role };
    await put(toRoleDocument({ ...accessRole, name: 'tested', options }));
    await put({
      kind: 'user',
      metadata: { name: 'alice' },
      spec: { roles: ['tested'], traits: { logins: ['root', ...(this.options.logins ?? [])] } },
    });
    const publicKey = parsePublicKeyLine(await readFile(join(this.folder, 'id.pub'), 'utf8'));
    const issued = await admin.issueCertificates({
      params: { name: 'alice' },
      body: { ssh_public_key: publicKey.toString('base64') },
    });
    await core.close();
    await state.close();
    const certificate = publicKeyLine(Buffer.from(issued.ssh_certificate, 'base64'));
    await writeFile(join(this.folder, 'id-cert.pub'), `${certificate}\n`);
    const hosts = issued.trust.ssh_host_cas.map((line) => `@cert-authority * ${line}\n`);
    await writeFile(join(this.folder, 'known_hosts'), hosts.join(''));
  }

  /** Alice's certificate again, with a life shorter than auth would give. */
  async certifyFor(ttlMs: number): Promise<void> {
    await certifyAnew(join(this.folder, 'id-cert.pub'), this.yaml(), ttlMs);
  }

  sshArgs(login = 'root'): string[] {
    const options = [
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
      `UserKnownHostsFile=${join(this.folder, 'known_hosts')}`,
      'GlobalKnownHostsFile=none',
      'StrictHostKeyChecking=yes',
      'BatchMode=yes',
      'LogLevel=ERROR',
    ].flatMap((option) => ['-o', option]);
    return [
      ...['-F', 'none', '-p', String(this.#port), '-i', join(this.folder, 'id'), ...options],
      ...['-l', login, '127.0.0.1'],
    ];
  }

  /** OpenSSH's ssh to its end. */
  ssh(command: string | undefined, options: SshOptions = {}): Promise<Ran> {
    const flags = [...(options.tty ? ['-tt'] : []), ...(options.subsystem ? ['-s'] : [])];
    const args = [...flags, ...this.sshArgs(options.login)];
    if (command !== undefined) args.push(command);
    return new Promise((resolve) => {
      const limits = { timeout: 30_000, maxBuffer: 64 << 20 };
      const child = execFile('ssh', args, limits, (error: ExecFileException | null, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
        resolve({ status, signal: error?.signal ?? null, stdout, stderr });
      });
      child.stdin?.on('error', () => {});
      child.stdin?.end(options.input ?? '');
    });
  }

  /** OpenSSH's ssh, still running. */
  spawnSsh(command: string | undefined, options: { tty?: boolean; login?: string } = {}) {
    const args = [...(options.tty ? ['-tt'] : []), ...this.sshArgs(options.login)];
    return spawn('ssh', command === undefined ? args : [...args, command], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  async events(): Promise<SeenEvent[]> {
    const text = await readFile(join(this.dataDir, 'log', 'events.log'), 'utf8').catch(() => '');
    const lines = text.split('\n');
    lines.pop(); // what follows the last newline is a line being written
    return lines.map((line) => JSON.parse(line) as SeenEvent);
  }

  /** The events of the sessions that have ended, by session, in the order they ended; once there are `count`. */
  async ended(count = 1, timeoutMs = 20_000): Promise<SeenEvent[][]> {
    return until(
      `${count} session.end in the log`,
      async () => {
        const events = await this.events();
        const ends = events.filter(({ event }) => event === 'session.end');
        if (ends.length < count) return undefined;
        return ends.map((end) => events.filter((event) => event['sid'] === end['sid']));
      },
      timeoutMs,
    );
  }

  /** Runs a command in a session of its own, waits for its end, and gives what the log has of it. */
  async session(command: string | undefined, options: SshOptions = {}) {
    const before = (await this.events()).filter(({ event }) => event === 'session.end').length;
    const ran = await this.ssh(command, options);
    const sessions = await this.ended(before + 1).catch(async (thrown: Error) => {
      const last = [...(await this.events()), ...this.logged].slice(-20).map((line) => JSON.stringify(line));
      throw new Error(`${thrown.message}\n${JSON.stringify(ran).slice(0, 2_000)}\n${last.join('\n')}`);
    });
    return { ran, events: sessions.at(-1) ?? [] };
  }

  /** What the terminal showed, from the recording. */
  async recordedOutput(sid: string): Promise<string> {
    const folder = join(this.dataDir, 'log', this.service?.hostUuid ?? '', 'sessions', 'default');
    await until('the recording is whole', () => existsSync(join(folder, `${sid}.index`)));
    return String(gunzipSync(await readFile(join(folder, `${sid}-0.chunks.gz`))));
  }

  async stop(): Promise<void> {
    await this.service?.stop('the test is over');
    this.service = undefined;
  }

  /** Stops the node and whatever it left, and removes the folder. */
  async remove(): Promise<void> {
    await this.killChild();
    await this.stop();
    await removeRecorders(this.dataDir);
    await removeCgroups(this.rootPath);
    await rm(this.folder, { recursive: true, force: true });
  }
}

export type LogLine = Record<string, unknown>;

/** The command `teleport start` with a log in JSON on its standard error. */
export class Daemon {
  readonly child: ChildProcess;
  /** Path of its configuration. */
  readonly config: string;
  readonly #node: OneNode;
  #said = '';

  constructor(config: string, node: OneNode) {
    this.config = config;
    this.#node = node;
    const program = fileURLToPath(new URL('main.ts', import.meta.url));
    this.child = spawn(process.execPath, [program, 'start', '-c', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.#said += chunk;
    });
  }

  get log(): LogLine[] {
    const lines = this.#said.split('\n').filter((line) => line.startsWith('{'));
    return lines.map((line) => JSON.parse(line) as LogLine);
  }

  /** All it said, for what is no JSON: the refusal of a start. */
  get said(): string {
    return this.#said;
  }

  saidOnce(message: string): LogLine | undefined {
    return this.log.find((line) => line['msg'] === message);
  }

  async says(message: string): Promise<LogLine> {
    return await until(`the daemon says "${message}"`, () => this.saidOnce(message), 40_000).catch(
      (thrown) => {
        throw new Error(`${thrown}\n${this.#said}`);
      },
    );
  }

  async ready(): Promise<void> {
    const { address } = await this.says('the ssh service listens');
    this.#node.listensOn(Number(String(address).split(':').at(-1)));
  }

  /** Its exit status. */
  async end(signal?: NodeJS.Signals): Promise<number | null> {
    const { child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const gone = new Promise((resolve) => child.once('close', resolve));
    if (signal) child.kill(signal);
    await gone;
    return child.exitCode;
  }
}

/** A recorder under development, instead of the one that is built here. */
export function testRecorder(): { recorder?: string } {
  const path = process.env['SALLYPORT_TEST_RECORDER'];
  return path === undefined ? {} : { recorder: path };
}
