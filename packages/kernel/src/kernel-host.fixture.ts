// For the tests that need the kernel: a recorder of the test file's own and sessions to watch. Everything it
// makes (directory, cgroups, pins, processes) carries a name of its own, so that many may run at once, and
// is gone when the test is.
import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import { recorderBinary, testProgramDir } from './binaries.ts';
import { cgroup2MountIn } from './host-probe.ts';
import type { KernelEvent, TotalsByKind } from './kernel-event.ts';
import { eventKinds, type SessionTotals, type WatchRequest } from './recorder.ts';
import type { RecorderClient } from './recorder-client.ts';
import { SpoolReader } from './spool.ts';
import { startRecorder } from './start-recorder.ts';

const cgroupRoot = cgroup2MountIn(readFileSync('/proc/self/mountinfo', 'utf8'));

/** Why these tests cannot run here; false where they can. */
export const skip: string | false =
  process.geteuid?.() !== 0
    ? 'needs root'
    : cgroupRoot === undefined
      ? 'needs a mounted cgroup v2'
      : !existsSync(recorderBinary) && 'needs the recorder: make -C packages/kernel';

export const program = (name: string) => join(testProgramDir, name);

export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  ms = 10_000,
): Promise<NonNullable<T>> {
  const deadline = Date.now() + ms;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await delay(5);
  }
}

export interface SessionOptions extends Partial<Pick<WatchRequest, 'kinds' | 'policy' | 'auditSessionId'>> {
  /** Environment of the leader; nothing else is inherited. */
  readonly env?: Record<string, string>;
  readonly cwd?: string;
}

/** Hosts not stopped yet: a test run that is cut short leaves no recorder and no pin behind. */
const running = new Set<KernelHost>();
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    for (const host of running) host.abandon();
    process.exit(1);
  });
}

/** A recorder with its own directory. */
export class KernelHost {
  readonly dir: string;
  client!: RecorderClient;
  readonly #ringBytes: number;
  readonly #name: string;
  readonly #cgroups: string[] = [];

  private constructor(dir: string, ringBytes: number) {
    this.dir = dir;
    this.#ringBytes = ringBytes;
    this.#name = `sallyport-test-${randomBytes(6).toString('hex')}`;
  }

  static async start(ringBytes = 16 * 1024 * 1024): Promise<KernelHost> {
    const host = new KernelHost(await mkdtemp(join(tmpdir(), 'kernel-host-')), ringBytes);
    await mkdir(join(cgroupRoot ?? '', host.#name));
    running.add(host);
    await host.connect();
    return host;
  }

  /** Connects to the living recorder, or starts one. */
  async connect(binary = recorderBinary): Promise<RecorderClient> {
    this.client = await startRecorder({
      binary,
      socketPath: join(this.dir, 'recorder.sock'),
      spoolDir: this.spoolDir,
      ringBytes: this.#ringBytes,
      log: join(this.dir, 'recorder.log'),
      args: ['--pin-dir', this.#pinDir, '--cgroup-root', cgroupRoot ?? ''],
    });
    return this.client;
  }

  get spoolDir(): string {
    return join(this.dir, 'spool');
  }

  get #pinDir(): string {
    return join('/sys/fs/bpf', this.#name);
  }

  /** What is pinned in the kernel for it. */
  async pins(): Promise<string[]> {
    return readdir(this.#pinDir).catch(() => []);
  }

  /** By the name of each gate the id of the program that it leads to. */
  async behindGates(): Promise<ReadonlyMap<string, number>> {
    const found = new Map<string, number>();
    for (const pin of (await this.pins()).filter((name) => name.startsWith('behind_'))) {
      const [entry] = JSON.parse(bpftool('-j', 'map', 'dump', 'pinned', join(this.#pinDir, pin)));
      if (entry) found.set(pin, Number(Buffer.from(entry.value.map(Number)).readUInt32LE()));
    }
    return found;
  }

  /**
   * Takes back what do_state_again has made up for, and one run a CPU more, as if the kernel had skipped the programs and
   * nobody had noticed. How many that are.
   */
  loseTransitions(): number {
    const pin = join(this.#pinDir, 'handled');
    const [entry] = JSON.parse(bpftool('-j', 'map', 'dump', 'pinned', pin));
    const { values } = entry as { values: { value: string[] }[] };
    const made = values.map(({ value }) => Buffer.from(value.map(Number)).readUInt32LE(value.length - 8));
    const minusOne = Array.from({ length: 40 }, (_, byte) => (byte < 32 ? '0' : '255'));
    bpftool('map', 'update', 'pinned', pin, 'key', '0', '0', '0', '0', 'value', ...minusOne);
    return made.reduce((n, rescued) => n + rescued + 1, 0);
  }

  get socketPath(): string {
    return join(this.dir, 'recorder.sock');
  }

  async log(): Promise<string> {
    return readFile(join(this.dir, 'recorder.log'), 'utf8').catch(() => '');
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.client.hello.pid, signal);
  }

  /** Kills the recorder without a chance to tidy up, and waits until it is gone. */
  async kill(): Promise<void> {
    const { pid } = this.client.hello;
    process.kill(pid, 'SIGKILL');
    this.client.close();
    await until('the recorder is gone', () => !alive(pid));
  }

  abandon(): void {
    process.kill(this.client.hello.pid, 'SIGKILL');
    rmSync(this.#pinDir, { recursive: true, force: true });
  }

  async stop(): Promise<void> {
    running.delete(this);
    const { pid } = this.client.hello;
    this.client.close();
    if (alive(pid)) process.kill(pid, 'SIGCONT');
    if (alive(pid)) process.kill(pid, 'SIGTERM');
    await until('the recorder ends', () => !alive(pid), 3000).catch(() => process.kill(pid, 'SIGKILL'));
    await rm(this.#pinDir, { recursive: true, force: true });
    for (const dir of [...this.#cgroups, join(cgroupRoot ?? '', this.#name)]) await removeCgroup(dir);
    await rm(this.dir, { recursive: true });
  }

  async makeCgroup(): Promise<{ dir: string; id: bigint }> {
    const dir = join(cgroupRoot ?? '', this.#name, `s${this.#cgroups.length}`);
    this.#cgroups.push(dir);
    await mkdir(dir);
    return { dir, id: (await stat(dir, { bigint: true })).ino };
  }

  /** A leader that blocks in its own cgroup, watched; `go` lets it become `argv`. */
  async open(t: TestContext, argv: readonly string[], options: SessionOptions = {}): Promise<TestSession> {
    const session = await TestSession.block(this, argv, options);
    t.after(() => session.remove());
    await this.client.watch({ ...session.request, sessionId: session.id });
    return session;
  }

  /** Runs `argv` as a session from its first exec to the exit of its last process. */
  async record(t: TestContext, argv: readonly string[], options: SessionOptions = {}): Promise<Recording> {
    const session = await this.open(t, argv, options);
    session.go();
    await session.idle();
    return session.end();
  }

  async events(sessionId: string): Promise<KernelEvent[]> {
    const reader = await SpoolReader.open(join(this.spoolDir, `${sessionId}.spool`));
    try {
      const events: KernelEvent[] = [];
      for await (const item of reader.read()) {
        if (item.type !== 'event') assert.fail(`spool of ${sessionId}: ${inspect(item)}`);
        events.push(item.event);
      }
      return events;
    } finally {
      await reader.close();
    }
  }
}

export interface Recording {
  readonly events: readonly KernelEvent[];
  readonly totals: SessionTotals;
  /** What the session printed. */
  readonly stdout: string;
  readonly session: TestSession;
}

/** The leader takes an audit id of its own, says its pid and that id, waits for one line, then executes. */
const leaderScript =
  'echo 0 >/proc/self/loginuid; read -r id </proc/self/sessionid; echo "$$ $id"; read -r go || exit 99; exec "$@"';

export class TestSession {
  readonly id = randomUUID() as string;
  readonly host: KernelHost;
  readonly leader: ChildProcessByStdio<Writable, Readable, null>;
  readonly cgroupDir: string;
  readonly request: Omit<WatchRequest, 'sessionId'>;
  readonly #output: Buffer[] = [];

  private constructor(
    host: KernelHost,
    leader: ChildProcessByStdio<Writable, Readable, null>,
    cgroupDir: string,
    request: Omit<WatchRequest, 'sessionId'>,
  ) {
    this.host = host;
    this.leader = leader;
    this.cgroupDir = cgroupDir;
    this.request = request;
    leader.stdout.on('data', (chunk: Buffer) => this.#output.push(chunk));
  }

  static async block(
    host: KernelHost,
    argv: readonly string[],
    options: SessionOptions = {},
  ): Promise<TestSession> {
    const cgroup = await host.makeCgroup();
    const leader = spawn('/bin/sh', ['-c', leaderScript, 'leader', ...argv], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: options.env ?? { PATH: '/usr/bin:/bin' },
      cwd: options.cwd ?? '/',
    });
    const [pid, auditId] = await firstLine(leader.stdout);
    await writeFile(join(cgroup.dir, 'cgroup.procs'), String(pid));
    return new TestSession(host, leader, cgroup.dir, {
      cgroupId: cgroup.id,
      auditSessionId: auditId === 0xffff_ffff ? undefined : auditId,
      leaderPid: pid,
      supervisorPid: 0,
      kinds: ['command', 'disk', 'network'],
      policy: 'best_effort',
      ...withoutEnv(options),
    });
  }

  get output(): string {
    return Buffer.concat(this.#output).toString('latin1');
  }

  go(): void {
    this.leader.stdin.end('go\n');
  }

  /** Resolves once the session's last task is gone. */
  async idle(ms = 20_000): Promise<void> {
    // Polled as well as notified: the notification may have come before this call.
    await until(
      'the session is idle',
      async () => (await this.host.client.totals(this.id)).liveTasks === 0,
      ms,
    );
  }

  async end(): Promise<Recording> {
    const totals = await this.host.client.end(this.id);
    const events = await this.host.events(this.id);
    checkSpool(events, totals);
    return { events, totals, stdout: this.output, session: this };
  }

  /** The processes in the session's cgroup. */
  async processes(): Promise<number[]> {
    const text = await readFile(join(this.cgroupDir, 'cgroup.procs'), 'utf8');
    return text.split('\n').filter(Boolean).map(Number);
  }

  async remove(): Promise<void> {
    await this.host.client.end(this.id).catch(() => {});
    await writeFile(join(this.cgroupDir, 'cgroup.kill'), '1').catch(() => {});
    this.leader.kill('SIGKILL');
    await removeCgroup(this.cgroupDir);
  }
}

/** Busy while its last task is still being reaped. */
async function removeCgroup(dir: string): Promise<void> {
  await until(`${dir} can be removed`, () =>
    rmdir(dir).then(
      () => true,
      (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
    ),
  );
}

function withoutEnv({ env: _env, cwd: _cwd, ...rest }: SessionOptions) {
  return rest;
}

function bpftool(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('bpftool', args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr || stdout);
  return stdout;
}

async function firstLine(stream: Readable): Promise<[pid: number, auditId: number]> {
  const chunks: string[] = [];
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    chunks.push(String(chunk));
    if (chunks.join('').includes('\n')) break;
  }
  const [pid, auditId] = chunks.join('').trim().split(' ').map(Number);
  assert.ok(pid !== undefined && auditId !== undefined, `leader said ${chunks.join('')}`);
  return [pid, auditId];
}

export function alive(pid: number): boolean {
  try {
    // A zombie has ended, although its parent has not looked yet.
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** What must hold of every finished spool, whatever happened in the session. */
export function checkSpool(events: readonly KernelEvent[], totals: SessionTotals): void {
  assert.equal(events[0]?.type, 'watch');
  const end = events.at(-1);
  assert.ok(end?.type === 'end');
  assert.deepEqual(end.totals, totals.kinds);
  assert.equal(end.lastSeq, totals.lastSeq);
  const numbered = events.filter((event) => event.seq > 0);
  const seqs = numbered.map((event) => event.seq);
  assert.equal(new Set(seqs).size, seqs.length, 'an event is recorded twice');
  for (const kind of eventKinds) {
    const { emitted, recorded, lost } = totals.kinds[kind];
    const count = numbered.filter((event) => event.kind === kind).length;
    const declared = events.reduce((n, e) => n + (e.type === 'lost' && e.kind === kind ? e.count : 0), 0);
    assert.deepEqual(
      { recorded, lost, sum: recorded + lost },
      { recorded: count, lost: declared, sum: emitted },
      `${kind}: emitted = recorded + declared lost`,
    );
  }
  assert.equal(sum(totals.kinds, 'emitted'), totals.lastSeq, 'every emitted event has one number');
  if (sum(totals.kinds, 'lost') === 0) {
    assert.deepEqual(
      [...seqs].sort((a, b) => a - b),
      Array.from({ length: totals.lastSeq }, (_, i) => i + 1),
    );
  }
}

export function sum(kinds: TotalsByKind, of: 'emitted' | 'recorded' | 'lost'): number {
  return eventKinds.reduce((n, kind) => n + kinds[kind][of], 0);
}

type EventOf<T extends KernelEvent['type'], E = KernelEvent> = E extends { type: infer U }
  ? T extends U
    ? E
    : never
  : never;

export function ofType<T extends KernelEvent['type']>(events: readonly KernelEvent[], type: T): EventOf<T>[] {
  return events.filter((event) => event.type === type) as EventOf<T>[];
}
