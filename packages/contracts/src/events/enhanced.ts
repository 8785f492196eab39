// What the kernel saw in a session: commands, opened files, connections, and what went wrong with seeing them.
import { z } from 'zod';
import { instant, kernelInstant, optionalText, server, session, text, user, wideInteger } from './blocks.ts';
import { define } from './event-kind.ts';
import { because, commandLine, count, endpoint, shown, where, who } from './phrase.ts';

/** Which hook saw it: an answer to "how do you know?", and the key to that hook's known limits. */
export const hookSource = z.enum([
  'none',
  'sched_process_exec',
  'sched_process_exit',
  'sys_exit',
  'cgroup_connect',
  'cgroup_sendmsg',
  'cgroup_attach',
  'sock_state',
  'task_newtask',
  'file_open',
  'io_uring',
  'sweep',
  'recorder',
  'unknown',
]);

export const recordedKind = z.enum(['command', 'disk', 'network']);

/** B, and what Sallyport adds to every kernel event. */
export const kernelTask = {
  pid: z.int().nonnegative().describe('thread group id'),
  cgroup_id: z.int().nonnegative(),
  ...text('program', 'name of the task, at most 15 bytes; a process may set its own'),
  audit_session_id: z
    .int()
    .nonnegative()
    .max(0xffffffff)
    .optional()
    .describe('absent where the host has no audit'),
  seq: z
    .int()
    .positive()
    .optional()
    .describe("the kernel's own count in the session: contiguous, gaps are losses"),
  ktime: kernelInstant.optional().describe('when the kernel saw it'),
  source: hookSource.optional().describe('the hook that saw it'),
  process_uid: z.int().nonnegative().optional().describe('effective user id of the process'),
  process_gid: z.int().nonnegative().optional(),
  process_flags: z
    .array(z.enum(['compat32', 'mount_ns', 'chroot', 'user_ns']))
    .optional()
    .describe('the task lives in another mount or user namespace, a chroot, or used the 32-bit ABI'),
};

const kernelEvent = { ...user, ...session, ...server, ...kernelTask };

export const sessionCommand = define(
  'session.command',
  'T4000I',
  'A program was executed, or could not be.',
  {
    ...kernelEvent,
    ppid: z.int().nonnegative(),
    ...text('path', 'the program, as it was named to execve'),
    argv: z.array(z.string()).describe('without argv[0]: `path` is the program'),
    argv_bytes: z.array(z.base64()).optional(),
    return_code: z.int().max(0).describe('of execve: 0, or a negative errno'),
    ...optionalText('exe', 'resolved absolute path of the binary that runs; of a script, its interpreter'),
    ...optionalText('cwd', 'working directory'),
    ...optionalText('interpreter', 'when the file is a script'),
    argv_state: z
      .string()
      .regex(/^(exact|truncated\([0-9]+ of [0-9]+\)|unreadable\([A-Z0-9]+\))$/)
      .optional()
      .describe('exact, truncated(n of m) or unreadable(errno)'),
    flags: z
      .array(
        z.enum(['memfd', 'deleted', 'setuid', 'ld_exec', 'shm', 'compat32', 'path_partial', 'cwd_partial']),
      )
      .optional(),
    environment: z.array(z.string()).optional().describe('KEY=VALUE of the allow-listed keys'),
    environment_bytes: z.array(z.base64()).optional(),
    folded: z
      .int()
      .positive()
      .optional()
      .describe('failed tries of one name along PATH this event stands for'),
    inode: wideInteger.optional(),
    device: z.int().nonnegative().optional().describe('st_dev of stat(2)'),
    mode: z.int().nonnegative().optional(),
  },
  (e) => {
    const line = commandLine(e.path, e.argv);
    if (e.return_code < 0) return `${who(e)} could not run ${line}${where(e)} (errno ${-e.return_code})`;
    return `${who(e)} ran ${line}${where(e)}`;
  },
);

export const sessionCommandExit = define(
  'session.command.exit',
  'T4010I',
  'A process of the session ended.',
  {
    ...kernelEvent,
    ppid: z.int().nonnegative().optional(),
    exit_status: z.int().min(0).max(255).optional().describe('absent when a signal ended it'),
    signal: z.int().positive().optional(),
    core_dumped: z.boolean().optional(),
    duration_ms: z.number().nonnegative().describe("since the process's last exec, or its fork"),
    cpu_ms: z.number().nonnegative().describe('user and system time of all its threads'),
  },
  (e) => {
    const how = e.signal === undefined ? `with status ${e.exit_status ?? 0}` : `by signal ${e.signal}`;
    return `${shown(e.program)} (${e.pid}) of ${who(e)} ended ${how}${where(e)}`;
  },
);

export const sessionDisk = define(
  'session.disk',
  'T4001I',
  'A file was opened, or could not be.',
  {
    ...kernelEvent,
    ppid: z.int().nonnegative().optional(),
    ...text('path', 'the file that was opened, as the kernel resolved it; empty when the open failed'),
    flags: z.int().nonnegative().describe('O_* of open(2)'),
    return_code: z.int().describe('the descriptor, or a negative errno'),
    path_source: z
      .enum(['file_open', 'fd', 'fd_shared', 'uring', 'user', 'unknown'])
      .optional()
      .describe('how the path was learnt; fd_shared: another thread could have swapped the descriptor'),
    path_partial: z.boolean().optional().describe('the beginning of the path is missing'),
    ...optionalText('user_path', "the caller's own string, read when the call returned"),
    ...optionalText('cwd', 'the directory a relative user_path starts from'),
    duplicate: z.boolean().optional().describe('reported by dup2/dup3 over a shared descriptor table'),
    syscall: z.int().optional(),
    inode: wideInteger.optional(),
    device: z.int().nonnegative().optional().describe('st_dev of stat(2)'),
    nlink: z.int().nonnegative().optional(),
    mode: z.int().nonnegative().optional(),
  },
  (e) => {
    const what = shown(e.path === '' ? (e.user_path ?? '') : e.path);
    if (e.return_code < 0)
      return `${who(e)} could not open ${what} with ${shown(e.program)}${where(e)} (errno ${-e.return_code})`;
    return `${who(e)} opened ${what} with ${shown(e.program)}${where(e)}`;
  },
);

/** How a connect ended; `pending` is settled by a session.network.outcome. */
export const networkOutcome = z.enum([
  'none',
  'established',
  'pending',
  'refused',
  'timeout',
  'reset',
  'unreachable',
  'denied',
  'failed',
  'closed',
  'unknown',
]);

const socketEnds = {
  src_addr: z.string(),
  src_port: z.int().min(0).max(65535).optional(),
  dst_addr: z.string(),
  dst_port: z.int().min(0).max(65535),
  version: z
    .union([z.literal(4), z.literal(6)])
    .optional()
    .describe('of IP; absent for AF_UNIX'),
  protocol: z.string().optional().describe('tcp, udp, icmp, unix, …'),
  ...optionalText('unix_path', 'of an AF_UNIX socket; a leading NUL marks the abstract namespace'),
  socket: wideInteger.optional().describe('ties connect, outcome and close of one socket together'),
};

const networkBase = {
  ...kernelEvent,
  ppid: z.int().nonnegative().optional(),
  ...socketEnds,
  outcome: networkOutcome.optional(),
  error: z.string().optional().describe('errno by name: ECONNREFUSED'),
};

interface SocketFields {
  readonly dst_addr: string;
  readonly dst_port: number;
  readonly unix_path?: string | undefined;
}

const peer = (e: SocketFields) =>
  e.unix_path === undefined ? endpoint(e.dst_addr, e.dst_port) : shown(e.unix_path);

const couldNot = 'could not connect to';

const connecting: Readonly<Record<z.output<typeof networkOutcome>, string>> = {
  none: 'connected to',
  established: 'connected to',
  pending: 'began to connect to',
  closed: 'began to connect to',
  unknown: 'began to connect to',
  refused: couldNot,
  timeout: couldNot,
  reset: couldNot,
  unreachable: couldNot,
  denied: couldNot,
  failed: couldNot,
};

export const sessionNetwork = define(
  'session.network',
  'T4002I',
  'A program connected to an address, or sent to one.',
  {
    ...networkBase,
    operation: z.union([z.literal(0), z.literal(1)]).describe('0 connect, 1 send'),
    action: z.union([z.literal(0), z.literal(1)]).describe('0 observed, 1 denied'),
  },
  (e) => {
    const verb = e.operation === 1 ? 'sent to' : connecting[e.outcome ?? 'none'];
    const failure = verb === couldNot ? because(e.error ?? e.outcome) : '';
    return `${who(e)} ${verb} ${peer(e)} with ${shown(e.program)}${where(e)}${failure}`;
  },
);

const settled = (e: { outcome: string; error?: string | undefined }) =>
  e.error === undefined ? e.outcome : `${e.outcome} (${shown(e.error)})`;

export const sessionNetworkOutcome = define(
  'session.network.outcome',
  'T4012I',
  'How a connect that was still pending ended.',
  { ...networkBase, outcome: networkOutcome, duration_ms: z.number().nonnegative().optional() },
  (e) => `the connection of ${who(e)} to ${peer(e)} with ${shown(e.program)}${where(e)} was ${settled(e)}`,
);

export const sessionNetworkClose = define(
  'session.network.close',
  'T4011I',
  'A connection of the session was closed.',
  {
    ...networkBase,
    bytes_sent: wideInteger,
    bytes_received: wideInteger,
    duration_ms: z.number().nonnegative().describe('since it was established'),
  },
  (e) =>
    `${shown(e.program)} of ${who(e)} closed ${peer(e)}${where(e)}: ${e.bytes_sent} bytes sent, ${e.bytes_received} received`,
);

export const sessionEventsLost = define(
  'session.events_lost',
  'T4020W',
  'Kernel events of the session are missing: how many, when and why.',
  {
    ...user,
    ...session,
    ...server,
    kind: z.enum(['command', 'disk', 'network', 'meta']),
    count: z.int().positive(),
    first_time: instant.describe('bounds of the window in which it happened'),
    last_time: instant,
    cause: z.enum(['ring_full', 'recorder_down', 'spool_write', 'lineage_full', 'spool_corrupt', 'unknown']),
    source: hookSource.optional(),
  },
  (e) => `${count(e.count, `${e.kind} event`)} of ${who(e)}'s session${where(e)} were lost (${e.cause})`,
);

export const sessionAttribution = define(
  'session.attribution',
  'T4021W',
  "A process's lineage, cgroup and audit session id disagree about its session.",
  {
    ...kernelEvent,
    ppid: z.int().nonnegative().optional(),
    reason: z.enum([
      'cgroup_moved',
      'audit_id_changed',
      'adopted_cgroup',
      'adopted_audit',
      'cgroup_foreign',
      'unknown',
    ]),
    old_value: wideInteger.describe('cgroup id or audit session id, by `reason`'),
    new_value: wideInteger,
  },
  (e) =>
    `${shown(e.program)} (${e.pid}) of ${who(e)}'s session${where(e)}: ${e.reason}, ${e.old_value} to ${e.new_value}`,
);
