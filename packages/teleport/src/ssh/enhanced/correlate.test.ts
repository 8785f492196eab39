import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AuditEvent, checkEvent, type EventDraft } from '@sallyport/contracts/events/event.ts';
import type {
  ConnectEvent,
  EventHeader,
  ExecEvent,
  KernelEvent,
  OpenEvent,
} from '@sallyport/kernel/kernel-event.ts';
import { facts } from '../facts.fixture.ts';
import { sessionBlocks } from '../session-facts.ts';
import { correlate } from './correlate.ts';
import { KernelClock } from './kernel-clock.ts';

const context = {
  blocks: sessionBlocks(facts),
  clock: new KernelClock(BigInt(Date.parse('2026-11-21T10:00:00Z')) * 1_000_000n),
};

const header: EventHeader = {
  kind: 'command',
  source: 'sched_process_exec',
  session: 1n,
  seq: 7,
  ktime: 1_500_000_123n,
  cgroupId: 2360n,
  pid: 5007,
  tid: 5007,
  ppid: 4985,
  auditSessionId: 12,
  uid: 1000,
  gid: 1001,
  comm: Buffer.from('curl'),
  compat32: false,
  foreignMountNamespace: false,
  chroot: false,
  userNamespace: false,
};

const exec: ExecEvent = {
  ...header,
  type: 'exec',
  path: Buffer.from('/usr/bin/curl'),
  exe: Buffer.from('/usr/bin/curl'),
  cwd: Buffer.from('/root'),
  argv: [Buffer.from('curl'), Buffer.from('google.com')],
  argvState: 'exact',
  argvError: 0,
  argvSize: 16,
  argc: 2,
  env: [],
  interpreter: undefined,
  memfd: false,
  deleted: false,
  setuid: false,
  ldExec: false,
  shm: false,
  pathPartial: false,
  cwdPartial: false,
  envPartial: false,
  inode: 99n,
  device: 2049,
  mode: 0o100755,
};

const open: OpenEvent = {
  ...header,
  kind: 'disk',
  source: 'sys_exit',
  type: 'open',
  result: 3,
  openFlags: 0o100000,
  mode: 0o100644,
  inode: 5n,
  device: 2049,
  nlink: 1,
  pathSource: 'fd',
  path: Buffer.from('/etc/passwd'),
  userPath: undefined,
  cwd: undefined,
  pathPartial: false,
  dup: false,
  syscall: 257,
};

const connect: ConnectEvent = {
  ...header,
  kind: 'network',
  source: 'cgroup_connect',
  type: 'connect',
  family: 2,
  protocol: 6,
  srcAddr: '172.31.34.128',
  srcPort: 40000,
  dstAddr: '5.9.243.187',
  dstPort: 443,
  operation: 'connect',
  outcome: 'established',
  error: 0,
  socket: 77n,
  bytesSent: 0n,
  bytesReceived: 0n,
  durationNs: 0n,
  unixPath: undefined,
};

/** Correlates, and proves that what came out is an event the wire contract knows, field by field. */
function correlated(event: KernelEvent): Record<string, unknown> {
  const draft = correlate(event, context) as EventDraft;
  const whole = { ...draft, ei: 1, uid: facts.sid, cluster_name: 'demo' } as AuditEvent;
  const checked = checkEvent(whole, 'writing');
  assert.ok(checked.ok, checked.ok ? '' : checked.detail);
  return whole as unknown as Record<string, unknown>;
}

test('a command names the program, and its arguments without argv[0]', () => {
  const event = correlated(exec);
  assert.equal(event['event'], 'session.command');
  assert.equal(event['path'], '/usr/bin/curl');
  assert.deepEqual(event['argv'], ['google.com']);
  assert.equal(event['return_code'], 0);
  assert.equal(event['argv_state'], 'exact');
  assert.deepEqual(
    [event['pid'], event['ppid'], event['cgroup_id'], event['program']],
    [5007, 4985, 2360, 'curl'],
  );
  assert.deepEqual([event['user'], event['login'], event['sid']], ['alice', 'root', facts.sid]);
  assert.deepEqual([event['process_uid'], event['process_gid']], [1000, 1001]);
});

test('the event time is the kernel’s, to the nanosecond in ktime and to the millisecond in time', () => {
  const event = correlated(exec);
  assert.equal(event['ktime'], '2026-11-21T10:00:01.500000123Z');
  assert.equal(event['time'], '2026-11-21T10:00:01.500Z');
});

test('arguments that are not UTF-8 keep their bytes', () => {
  const event = correlated({ ...exec, argv: [Buffer.from('x'), Buffer.from([0xff, 0x1b])] });
  assert.deepEqual(event['argv_bytes'], ['/xs=']);
});

test('a cut or unreadable argv says so', () => {
  const cut = correlated({ ...exec, argvState: 'truncated', argc: 900 });
  assert.equal(cut['argv_state'], 'truncated(2 of 900)');
  const unreadable = correlated({ ...exec, argv: [], argvState: 'unreadable', argvError: 14 });
  assert.equal(unreadable['argv_state'], 'unreadable(EFAULT)');
});

test('what is special about a binary stands in its flags', () => {
  const event = correlated({ ...exec, memfd: true, setuid: true, compat32: true });
  assert.deepEqual(event['flags'], ['memfd', 'setuid', 'compat32']);
});

test('an exec that failed is a command with a negative errno', () => {
  const event = correlated({
    ...header,
    type: 'exec_failed',
    error: 13,
    folded: 3,
    path: Buffer.from('./secret'),
    cwd: Buffer.from('/root'),
    argv: [Buffer.from('./secret'), Buffer.from('-x')],
  });
  assert.deepEqual([event['return_code'], event['path'], event['folded']], [-13, './secret', 3]);
  assert.deepEqual(event['argv'], ['-x']);
});

test('a process end tells status or signal, and its times in milliseconds', () => {
  const end = {
    ...header,
    type: 'exit',
    status: 3,
    signal: undefined,
    coreDumped: false,
    durationNs: 1_500_000n,
    cpuNs: 250_000n,
  } as const;
  const exited = correlated(end);
  assert.deepEqual([exited['exit_status'], exited['duration_ms'], exited['cpu_ms']], [3, 1.5, 0.25]);
  const killed = correlated({ ...end, status: undefined, signal: 9 });
  assert.deepEqual([killed['signal'], 'exit_status' in killed], [9, false]);
});

test('an opened file is named by the kernel, and its return code is the descriptor', () => {
  const event = correlated(open);
  assert.deepEqual(
    [event['path'], event['return_code'], event['path_source'], event['flags']],
    ['/etc/passwd', 3, 'fd', 0o100000],
  );
});

test('a file that could not be opened is named as it was asked for', () => {
  const event = correlated({
    ...open,
    result: -2,
    path: Buffer.alloc(0),
    userPath: Buffer.from('nope'),
    cwd: Buffer.from('/root'),
  });
  assert.deepEqual(
    [event['path'], event['return_code'], event['path_source'], event['cwd']],
    ['nope', -2, 'user', '/root'],
  );
});

test('a connection tells both ends, its IP version and how it went', () => {
  const event = correlated(connect);
  assert.deepEqual(
    [
      event['src_addr'],
      event['dst_addr'],
      event['dst_port'],
      event['version'],
      event['operation'],
      event['action'],
    ],
    ['172.31.34.128', '5.9.243.187', 443, 4, 0, 0],
  );
  assert.deepEqual([event['outcome'], event['protocol']], ['established', 'tcp']);
});

test('a failed connect is told by its cause', () => {
  const outcomes = [111, 110, 104, 113, 13, 5].map((error) => {
    const event = correlated({ ...connect, outcome: 'failed', error });
    return [event['outcome'], event['error']];
  });
  assert.deepEqual(outcomes, [
    ['refused', 'ECONNREFUSED'],
    ['timeout', 'ETIMEDOUT'],
    ['reset', 'ECONNRESET'],
    ['unreachable', 'EHOSTUNREACH'],
    ['denied', 'EACCES'],
    ['failed', 'EIO'],
  ]);
});

test('the later outcome and the close are events of their own, tied by the socket', () => {
  const later = correlated({ ...connect, type: 'connect_outcome', outcome: 'failed', error: 111 });
  assert.deepEqual(
    [later['event'], later['outcome'], later['socket']],
    ['session.network.outcome', 'refused', 77],
  );
  const closed = correlated({ ...connect, type: 'socket_close', bytesSent: 10n, bytesReceived: 2n ** 60n });
  assert.deepEqual([closed['bytes_sent'], closed['bytes_received']], [10, String(2n ** 60n)]);
});

test('an AF_UNIX connect carries its path and no IP version', () => {
  const event = correlated({
    ...connect,
    family: 1,
    srcAddr: '',
    dstAddr: '',
    srcPort: 0,
    dstPort: 0,
    unixPath: Buffer.from('/run/docker.sock'),
  });
  assert.deepEqual(
    [event['unix_path'], event['protocol'], 'version' in event],
    ['/run/docker.sock', 'unix', false],
  );
});

test('a change of attribution tells old and new', () => {
  const event = correlated({
    ...header,
    kind: 'meta',
    type: 'attribution',
    reason: 'cgroup_moved',
    oldValue: 1n,
    newValue: 2n,
  });
  assert.deepEqual([event['code'], event['old_value'], event['new_value']], ['T4021W', 1, 2]);
});

test('a declared loss tells how many, of what, when and why', () => {
  const event = correlated({
    ...header,
    kind: 'disk',
    seq: 0,
    type: 'lost',
    count: 12,
    firstKtime: 0n,
    lastKtime: 1_000_000n,
    cause: 'ring_full',
  });
  assert.deepEqual(
    [event['code'], event['kind'], event['count'], event['cause'], event['last_time']],
    ['T4020W', 'disk', 12, 'ring_full', '2026-11-21T10:00:00.001Z'],
  );
});
