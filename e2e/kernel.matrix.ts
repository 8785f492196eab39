/**
 * The kernel half on the kernels people run: one object and one recorder on Debian's 5.10, 6.1 and 6.12. Each
 * kernel boots once, under emulation, and records two sessions; the tests judge the spools it sent. Nothing
 * here is a measure of speed.
 */
import assert from 'node:assert/strict';
import process from 'node:process';
import { describe, type TestContext, test } from 'node:test';
import type { ConnectEvent, ExecEvent, KernelEvent, OpenEvent } from '@sallyport/kernel/kernel-event.ts';
import { feature } from '@sallyport/kernel/wire.gen.ts';
import { Unavailable } from '../tools/debian-archive.ts';
import { type CellRun, runCell } from './matrix/cell-run.ts';
import { type Cell, cells } from './matrix/kernels.ts';

const ENOENT = 2;
const ENOEXEC = 8;
const EACCES = 13;
const ECONNREFUSED = 111;

/** What every kernel of the matrix must have attached. */
const expected = [
  'FEATURE_EXEC',
  'FEATURE_EXIT',
  'FEATURE_LINEAGE',
  'FEATURE_SYS_EXIT',
  'FEATURE_CONNECT4',
  'FEATURE_CONNECT6',
  'FEATURE_SOCK_STATE',
  'FEATURE_CGROUP_ATTACH',
  'FEATURE_SENDMSG4',
  'FEATURE_SENDMSG6',
  'FEATURE_PINNED',
] as const;

type Judge = (run: CellRun, t: TestContext) => void;

function describeCell(cell: Cell): void {
  let running: Promise<CellRun> | undefined;
  const onKernel = (name: string, judge: Judge) =>
    test(`linux ${cell.kernel} ${cell.architecture}: ${name}`, async (t) => {
      running ??= runCell(cell);
      try {
        judge(await running, t);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        t.skip(error.message);
      }
    });

  describe(`linux ${cell.kernel} ${cell.architecture}`, () => {
    for (const [name, judge] of Object.entries(judges)) onKernel(name, judge);
  });
}

type Type = KernelEvent['type'];
/** One interface may stand for several types, as the three of a connection do. */
type EventOf<T extends Type> = KernelEvent extends infer E
  ? E extends { type: infer U }
    ? T extends U
      ? E
      : never
    : never
  : never;

/** The events of one type that the process of a stage caused. */
function seen<T extends Type>(run: CellRun, type: T, stage: string): EventOf<T>[] {
  const { pid } = run.stage(stage);
  return run
    .session('evidence')
    .events.filter((event): event is EventOf<T> => event.type === type && event.pid === pid);
}

function only<T extends Type>(run: CellRun, type: T, stage: string): EventOf<T> {
  const events = seen(run, type, stage);
  assert.equal(events.length, 1, `${stage}: one ${type}, not ${events.length}`);
  return events[0] as EventOf<T>;
}

const text = (bytes: Buffer | undefined) => bytes?.toString('latin1');
const words = (event: { argv: readonly Buffer[] }) => event.argv.map((word) => word.toString('latin1'));

const judges: Record<string, Judge> = {
  'every program loads, attaches and is pinned': (run, t) => {
    const attached = Number(run.line('hello'));
    const missing = expected.filter((name) => (attached & (1 << feature[name])) === 0);
    const refusals = [
      ...(run.report.topics.get('probe') ?? []),
      ...(run.report.topics.get('verifier') ?? []),
    ];
    assert.deepEqual(missing, [], refusals.join('\n'));
    const names = Object.entries(feature).filter(([, bit]) => (attached & (1 << bit)) !== 0);
    t.diagnostic(
      `${run.release}: ${names.map(([name]) => name.replace('FEATURE_', '').toLowerCase()).join(' ')}`,
    );
    t.diagnostic(`booted, recorded and off in ${run.report.seconds.toFixed(0)} s`);
  },

  'a session ends whole: emitted = recorded + lost, every number once, every frame readable': (run) => {
    const { events, unreadable, bytes, totals, lastSeq, spoolLength } = run.session('evidence');
    assert.deepEqual(unreadable, []);
    assert.equal(bytes, spoolLength);
    const numbers = events.map((event) => event.seq).filter((seq) => seq > 0);
    assert.deepEqual(
      numbers.sort((a, b) => a - b),
      Array.from({ length: lastSeq }, (_, i) => i + 1),
    );
    for (const [kind, total] of totals) {
      const found = events.filter((event) => event.kind === kind && event.seq > 0).length;
      assert.deepEqual(total, { emitted: found, recorded: found, lost: 0 }, kind);
    }
    assert.equal(events[0]?.type, 'watch');
    const last = events.at(-1);
    assert.ok(last?.type === 'end');
    for (const [kind, total] of totals) assert.deepEqual(last.totals[kind], total, kind);
  },

  'the leader’s own exec is the first event, with its login name in argv': (run) => {
    const { events } = run.session('evidence');
    const first = events.find((event) => event.seq === 1);
    assert.ok(first?.type === 'exec');
    assert.equal(first.pid, run.stage('stages').pid);
    assert.equal(text(first.exe), '/matrix/session');
    assert.equal(words(first)[0], '-session');
  },

  'an exec keeps argv byte for byte, the program, the directory and only the environment that is allowed': (
    run,
  ) => {
    const event: ExecEvent = only(run, 'exec', 'exec');
    assert.deepEqual(words(event), ['true', 'two words', 'line\nfeed', '\x1b[2J', '\xff\xfe', '']);
    assert.equal(event.argvState, 'exact');
    assert.equal(event.argc, 6);
    assert.equal(text(event.path), '/bin/busybox');
    assert.equal(text(event.exe), '/bin/busybox');
    assert.equal(text(event.cwd), '/');
    assert.equal(event.interpreter, undefined);
    assert.equal(event.ppid, run.stage('stages').pid);
    assert.equal(event.mode & 0o7777, 0o755);
    assert.ok(!event.env.some((entry) => text(entry)?.startsWith('SECRET')));
  },

  'a script shows the file that was named, its interpreter and the directory': (run) => {
    const event = only(run, 'exec', 'script');
    assert.equal(text(event.path), './greet.sh');
    assert.equal(text(event.exe), '/bin/busybox');
    assert.equal(text(event.interpreter), '/bin/busybox');
    assert.equal(text(event.cwd), '/matrix/work');
    assert.equal(words(event).at(-1), 'again');
  },

  'an argument of 100,000 bytes is whole, and one beyond the limit is said to be cut': (run) => {
    const long = only(run, 'exec', 'long-argv');
    assert.equal(long.argvState, 'exact');
    assert.deepEqual(
      long.argv.map((word) => word.length),
      [4, 100_000],
    );
    assert.ok(long.argv[1]?.every((byte) => byte === 0x78));
    const longest = only(run, 'exec', 'longest-argv');
    assert.equal(longest.argvState, 'truncated');
    assert.equal(longest.argc, 3);
    assert.equal(longest.argvSize, 5 + 100_001 * 2);
    assert.ok(longest.argv[1]?.length === 100_000);
  },

  'an exec that failed names the file and the error': (run) => {
    const denied = only(run, 'exec_failed', 'exec-denied');
    assert.deepEqual([text(denied.path), denied.error], ['/matrix/work/plain', EACCES]);
    const format = only(run, 'exec_failed', 'exec-format');
    assert.deepEqual([text(format.path), format.error], ['/matrix/work/garbage', ENOEXEC]);
    const missing = only(run, 'exec_failed', 'exec-missing');
    assert.deepEqual(
      [text(missing.path), missing.error, missing.folded],
      ['/matrix/work/nowhere/tool', ENOENT, 1],
    );
  },

  'every process of the session exits once, with its status or signal': (run) => {
    const { events } = run.session('evidence');
    for (const [stage, status] of [
      ['exec', 0],
      ['script', 7],
      ['exit', 3],
      ['thread-exec', 0],
      ['background', 6],
      ['stages', 5],
    ] as const) {
      const event = only(run, 'exit', stage);
      assert.deepEqual([event.status, event.signal], [status, undefined], stage);
    }
    const killed = only(run, 'exit', 'killed');
    assert.deepEqual([killed.status, killed.signal], [undefined, 9]);
    const exits = events.filter((event) => event.type === 'exit').map((event) => event.pid);
    assert.equal(new Set(exits).size, exits.length);
    const pids = new Set(events.filter((event) => event.seq > 0).map((event) => event.pid));
    assert.deepEqual([...pids].sort(), [...new Set(exits)].sort());
  },

  'an exec in a thread keeps the process and its argv': (run) => {
    const event = only(run, 'exec', 'thread-exec');
    assert.deepEqual(words(event), ['true', 'from a thread']);
    assert.equal(event.tid, event.pid);
  },

  'an open names the file by its absolute path, however it was asked for': (run) => {
    const expected: Record<string, string> = {
      open: '/matrix/work/plain',
      'open-relative': '/matrix/work/relative',
      'open-link': '/matrix/work/plain',
      'open-new': '/matrix/work/new',
      'open-device': '/dev/null',
      'open-proc': '/proc/sys/kernel/osrelease',
      'open-tmpfs': '/tmp/file',
      openat2: '/matrix/work/second',
      creat: '/matrix/work/created',
      'open-compat': '/matrix/work/compat',
    };
    for (const [stage, path] of Object.entries(expected)) {
      assert.equal(run.stage(stage).status, 0, `${stage} worked in the guest`);
      const event: OpenEvent = only(run, 'open', stage);
      assert.equal(text(event.path), path, stage);
      assert.ok(event.result >= 3, `${stage}: result ${event.result}`);
      assert.equal(event.compat32, stage === 'open-compat', stage);
    }
    const O_CREAT_EXCL = 0o300;
    assert.equal(only(run, 'open', 'open-new').mode & 0o7777, 0o600);
    // The kernel keeps O_CREAT and O_EXCL out of a file's flags; O_WRONLY stays.
    assert.equal(only(run, 'open', 'open-new').openFlags & ~O_CREAT_EXCL & 3, 1);
    const inner = seen(run, 'open', 'open-at').map((event) => text(event.path));
    assert.deepEqual(inner, ['/matrix/work/data', '/matrix/work/data/inner']);
  },

  'an open from a thread is seen, with the name of the file and not only its number': (run) => {
    const paths = seen(run, 'open', 'open-thread').map((event) => text(event.path));
    assert.ok(paths.includes('/matrix/work/threaded'), paths.join(' '));
  },

  'a file 60 folders deep has its whole path': (run) => {
    const folders = Array.from({ length: 60 }, (_, i) => `folder-${String(i).padStart(3, '0')}`);
    const event = seen(run, 'open', 'open-deep').at(-1);
    assert.ok(event !== undefined);
    assert.equal(text(event.path), `/matrix/work/${folders.join('/')}/deep`);
    assert.equal(event.pathPartial, false);
  },

  'an open that failed keeps what the caller asked for, and from where': (run) => {
    const missing = only(run, 'open', 'open-missing');
    assert.deepEqual([text(missing.userPath), missing.result], ['/matrix/work/missing', -ENOENT]);
    const relative = only(run, 'open', 'open-missing-relative');
    assert.deepEqual([text(relative.userPath), relative.result], ['gone/file', -ENOENT]);
    assert.equal(text(relative.cwd), '/matrix/work');
  },

  'a connect names its destination and what came of it': (run) => {
    const [port4, port6] = run.line('ports').split(' ').map(Number);
    const expected: Record<string, readonly [string, number | undefined, string, number]> = {
      refused4: ['127.0.0.1', 9, 'failed', ECONNREFUSED],
      refused6: ['::1', 9, 'failed', ECONNREFUSED],
      established4: ['127.0.0.1', port4, 'established', 0],
      established6: ['::1', port6, 'established', 0],
      mapped: ['127.0.0.1', port4, 'established', 0],
      datagram: ['127.0.0.1', 5300, 'none', 0],
    };
    for (const [stage, [address, port, outcome, error]] of Object.entries(expected)) {
      const event: ConnectEvent = only(run, 'connect', stage);
      assert.equal(event.dstAddr.replace('::ffff:', ''), address, stage);
      assert.equal(event.dstPort, port, stage);
      assert.deepEqual([event.outcome, event.error], [outcome, error], stage);
    }
    const nonblocking = only(run, 'connect', 'nonblocking');
    const settled =
      nonblocking.outcome === 'pending' ? only(run, 'connect_outcome', 'nonblocking') : nonblocking;
    assert.equal(settled.outcome, 'established');
  },

  'a datagram sent without connect names its destination once': (run) => {
    const event = only(run, 'connect', 'send-only');
    assert.deepEqual([event.operation, event.dstAddr, event.dstPort], ['send', '127.0.0.1', 5301]);
  },

  'a closed connection says how many bytes went through': (run) => {
    const event = only(run, 'socket_close', 'established4');
    assert.equal(event.bytesSent, 5n);
    assert.equal(event.socket, only(run, 'connect', 'established4').socket);
  },

  'a process that leaves the session’s cgroup stays in the session, and the move is evidence': (run) => {
    const paths = seen(run, 'open', 'moved').map((event) => text(event.path));
    assert.ok(paths.includes('/matrix/work/moved'), paths.join(' '));
    assert.equal(only(run, 'attribution', 'moved').reason, 'cgroup_moved');
  },

  'making an io_uring is evidence, as its requests are no system calls': (run) => {
    const paths = seen(run, 'open', 'uring').map((event) => text(event.path));
    assert.ok(
      paths.some((path) => path?.endsWith('[io_uring]')),
      paths.join(' '),
    );
  },

  'what outlives the leader is recorded until it ends': (run) => {
    const paths = seen(run, 'open', 'background').map((event) => text(event.path));
    assert.deepEqual(paths, ['/matrix/work/background']);
    const exits = run.session('evidence').events.filter((event) => event.type === 'exit');
    assert.equal(exits.at(-1)?.pid, run.stage('background').pid);
    assert.ok(run.report.topics.get('idle')?.includes('evidence yes'), 'idle came once it was gone');
  },

  'nothing of a process outside the session is in it': (run) => {
    const stages = (run.report.topics.get('did') ?? []).map((line) => Number(line.split(' ')[1]));
    const strangers = run
      .session('evidence')
      .events.filter((event) => event.seq > 0 && !stages.includes(event.pid));
    assert.deepEqual(strangers, []);
    assert.match(run.line('stats'), / orphans=0 /);
  },

  'a storm beyond the ring is declared to the last event': (run, t) => {
    const { events, unreadable, totals } = run.session('storm');
    assert.deepEqual(unreadable, []);
    let lost = 0;
    for (const [kind, total] of totals) {
      const found = events.filter((event) => event.kind === kind && event.seq > 0).length;
      assert.equal(total.recorded, found, kind);
      assert.equal(total.emitted, total.recorded + total.lost, kind);
      const declared = events.filter((event) => event.type === 'lost' && event.kind === kind);
      const count = declared.reduce((sum, event) => sum + (event.type === 'lost' ? event.count : 0), 0);
      assert.equal(count, total.lost, `${kind}: declared in the spool`);
      lost += total.lost;
    }
    assert.ok(lost > 0, 'the ring of 1 MiB was meant to be too small');
    assert.ok((totals.get('disk')?.emitted ?? 0) >= 9_000);
    t.diagnostic(`${lost} of ${totals.get('disk')?.emitted} opens lost and declared`);
  },

  'the recorder ends cleanly and the kernel has nothing to complain about': (run) => {
    assert.equal(run.line('recorder-exit'), '0');
    assert.deepEqual(run.report.topics.get('splat') ?? [], []);
  },
};

// MATRIX_KERNELS=5.10,6.12 boots only those.
const selected = process.env['MATRIX_KERNELS']?.split(',');
for (const cell of cells('amd64')) {
  if (selected === undefined || selected.includes(cell.kernel)) describeCell(cell);
}
