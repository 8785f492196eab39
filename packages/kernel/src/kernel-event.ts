// What the kernel saw, one type a record of bpf/wire.h, decoded to JavaScript values. This file owns the
// vocabulary only; frames.ts decodes, and turning an event into an audit event is the ssh room's work.
//
// 64-bit ids and times are bigint, counts that fit 2^53 are numbers. Whatever a user chose (path, argv,
// comm, environment) is a Buffer: it may hold newlines, escape codes and invalid UTF-8, and the recording
// must keep the bytes as they were.

/** What a role can switch on; `meta` (attribution, tamper) is always on. */
export type Kind = 'command' | 'disk' | 'network';
export type EventKind = Kind | 'meta';

/** Which hook saw it. `unknown` stands for a number this build does not know. */
export type Source =
  | 'none'
  | 'sched_process_exec'
  | 'sched_process_exit'
  | 'sys_exit'
  | 'cgroup_connect'
  | 'sock_state'
  | 'cgroup_attach'
  | 'task_newtask'
  | 'sweep'
  | 'recorder'
  | 'cgroup_sendmsg'
  | 'io_uring'
  | 'unknown';

/** Leads every event: the task that did it, as it was when it did it. */
export interface EventHeader {
  readonly kind: EventKind;
  readonly source: Source;
  /** The recorder's reference of the session, never reused in one boot. */
  readonly session: bigint;
  /** Per session, from 1, contiguous over what the kernel emitted; 0 on the recorder's own records. */
  readonly seq: number;
  /** CLOCK_BOOTTIME, ns. Wall time = ktime + the `realtimeOffset` of the watch event. */
  readonly ktime: bigint;
  readonly cgroupId: bigint;
  /** Thread group id: what user space calls the process id. */
  readonly pid: number;
  readonly tid: number;
  readonly ppid: number;
  /** Absent where the host has no audit. */
  readonly auditSessionId: number | undefined;
  /** Effective ids in the initial user namespace. */
  readonly uid: number;
  readonly gid: number;
  /** Task name up to its NUL, at most 15 bytes; a process may set its own. */
  readonly comm: Buffer;
  /** A 32-bit system call or binary. */
  readonly compat32: boolean;
  /** The task lives in another mount namespace than init: paths are as seen from there. */
  readonly foreignMountNamespace: boolean;
  /** The task's root is not its namespace's root. */
  readonly chroot: boolean;
  readonly userNamespace: boolean;
}

/** execve succeeded: read after the point of no return, in pages the kernel has just written. */
export interface ExecEvent extends EventHeader {
  readonly type: 'exec';
  /** The name given to execve (bprm->filename). */
  readonly path: Buffer;
  /** Absolute path of the binary that runs; for a script, its interpreter. */
  readonly exe: Buffer;
  readonly cwd: Buffer;
  /** argv[0] included. Only the whole strings when truncated, plus the cut one. */
  readonly argv: readonly Buffer[];
  /** `truncated`: argv holds the first of `argc`. `unreadable`: argv is empty, see `argvError`. */
  readonly argvState: 'exact' | 'truncated' | 'unreadable';
  /** Positive errno when unreadable, else 0. */
  readonly argvError: number;
  /** Bytes of the whole argv area in the process. */
  readonly argvSize: number;
  readonly argc: number;
  /** KEY=VALUE of allow-listed keys. */
  readonly env: readonly Buffer[];
  /** The environment was longer than what was searched for those keys. */
  readonly envPartial: boolean;
  /** bprm->interp when it differs from `path`: the file is a script or a foreign format. */
  readonly interpreter: Buffer | undefined;
  readonly memfd: boolean;
  /** The file had no link left. */
  readonly deleted: boolean;
  /** The setuid or setgid bit took effect. */
  readonly setuid: boolean;
  /** A dynamic loader was run as a program: the real program is in argv. */
  readonly ldExec: boolean;
  /** The file lives on tmpfs (/dev/shm and the like). */
  readonly shm: boolean;
  readonly pathPartial: boolean;
  readonly cwdPartial: boolean;
  readonly inode: bigint;
  /** As stat(2) st_dev. */
  readonly device: number;
  /** i_mode */
  readonly mode: number;
}

export interface ExecFailedEvent extends EventHeader {
  readonly type: 'exec_failed';
  /** Positive errno: 13 EACCES, 8 ENOEXEC, 2 ENOENT… */
  readonly error: number;
  /** How many failed tries of the same basename (a PATH search) this stands for; at least 1. */
  readonly folded: number;
  /** The caller's own string, read at syscall exit: it may have been changed since. */
  readonly path: Buffer;
  readonly cwd: Buffer;
  readonly argv: readonly Buffer[];
}

/** The last thread of a process is gone. */
export interface ExitEvent extends EventHeader {
  readonly type: 'exit';
  /** Undefined when a signal ended it. */
  readonly status: number | undefined;
  /** Signal number, undefined when it exited by itself. */
  readonly signal: number | undefined;
  readonly coreDumped: boolean;
  /** Since the process's last exec, or its fork. */
  readonly durationNs: bigint;
  /** utime + stime of the thread group. */
  readonly cpuNs: bigint;
}

export type PathSource = 'file_open' | 'fd' | 'fd_shared' | 'uring' | 'user' | 'unknown';

export interface OpenEvent extends EventHeader {
  readonly type: 'open';
  /** The descriptor, or a negative errno. */
  readonly result: number;
  /** O_*: the file's own on success, the argument otherwise. */
  readonly openFlags: number;
  readonly mode: number;
  readonly inode: bigint;
  readonly device: number;
  readonly nlink: number;
  /** How the path was learnt; `fd_shared`: a sibling thread could have swapped the descriptor. */
  readonly pathSource: PathSource;
  /** The file that was opened; empty when the open failed. */
  readonly path: Buffer;
  /** The caller's own string, where one was read. */
  readonly userPath: Buffer | undefined;
  /** The directory a relative `userPath` starts from: the working directory, or that of openat's dirfd. */
  readonly cwd: Buffer | undefined;
  readonly pathPartial: boolean;
  /** Reported by dup2/dup3 over a shared descriptor table. */
  readonly dup: boolean;
  /** System call number, of the compat table when `compat32`. */
  readonly syscall: number;
}

export type Outcome = 'none' | 'established' | 'failed' | 'pending' | 'closed' | 'unknown';

export interface ConnectEvent extends EventHeader {
  /** `connect_outcome` settles a `connect` that said pending; `socket_close` carries bytes and duration. */
  readonly type: 'connect' | 'connect_outcome' | 'socket_close';
  /** AF_INET 2, AF_INET6 10, AF_UNIX 1. */
  readonly family: number;
  /** IPPROTO_*: 6 TCP, 17 UDP. */
  readonly protocol: number;
  /** Textual address; empty for AF_UNIX. */
  readonly srcAddr: string;
  readonly srcPort: number;
  readonly dstAddr: string;
  readonly dstPort: number;
  readonly operation: 'connect' | 'send';
  readonly outcome: Outcome;
  /** Positive errno with `failed`: 111 ECONNREFUSED…; 0 otherwise. */
  readonly error: number;
  /** Socket cookie: ties connect, outcome and close together. */
  readonly socket: bigint;
  readonly bytesSent: bigint;
  readonly bytesReceived: bigint;
  /** socket_close: since established. connect_outcome: since connect. */
  readonly durationNs: bigint;
  /** AF_UNIX: the path; a leading NUL marks the abstract namespace. */
  readonly unixPath: Buffer | undefined;
}

export type AttributionReason =
  | 'cgroup_moved'
  | 'audit_id_changed'
  | 'adopted_cgroup'
  | 'adopted_audit'
  | 'cgroup_foreign'
  | 'unknown';

/** The three keys of a session (lineage, cgroup, audit id) disagree about a task. */
export interface AttributionEvent extends EventHeader {
  readonly type: 'attribution';
  readonly reason: AttributionReason;
  /** Cgroup id or audit session id, by `reason`. */
  readonly oldValue: bigint;
  readonly newValue: bigint;
}

/** First frame of a spool. */
export interface WatchEvent extends EventHeader {
  readonly type: 'watch';
  /** The session's uuid, in its textual form. */
  readonly sessionId: string;
  /** CLOCK_REALTIME - CLOCK_BOOTTIME, ns, when the watch began. */
  readonly realtimeOffsetNs: bigint;
  readonly watchedCgroupId: bigint;
  readonly leaderPid: number;
  readonly kinds: readonly Kind[];
  readonly policy: LossPolicy;
}

export type LossPolicy = 'best_effort' | 'throttle' | 'strict';
export type LostCause = 'ring_full' | 'recorder_down' | 'spool_write' | 'lineage_full' | 'unknown';

/** A declared loss of events of `kind`. */
export interface LostEvent extends EventHeader {
  readonly type: 'lost';
  readonly count: number;
  /** Bounds of the window in which it happened, CLOCK_BOOTTIME ns. */
  readonly firstKtime: bigint;
  readonly lastKtime: bigint;
  readonly cause: LostCause;
}

/** emitted = recorded + lost, exactly, once the session has ended. */
export interface Totals {
  readonly emitted: number;
  readonly recorded: number;
  readonly lost: number;
}

export type TotalsByKind = Readonly<Record<EventKind, Totals>>;

/** Last frame of a spool. */
export interface EndEvent extends EventHeader {
  readonly type: 'end';
  readonly totals: TotalsByKind;
  readonly lastSeq: number;
}

export type KernelEvent =
  | ExecEvent
  | ExecFailedEvent
  | ExitEvent
  | OpenEvent
  | ConnectEvent
  | AttributionEvent
  | WatchEvent
  | LostEvent
  | EndEvent;
