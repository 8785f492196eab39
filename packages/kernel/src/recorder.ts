// The kernel recorder as the daemon sees it: watch a session, learn how much of its spool may be read, end
// it. Two implementations: recorder-client.ts (the C program behind its control socket) and no-kernel.ts
// (hosts with enhanced recording off). Events themselves travel through the spool, never through here.
import type { EventKind, Kind, LossPolicy, TotalsByKind } from './kernel-event.ts';

export interface WatchRequest {
  /** The session's uuid in its textual form; also the name of its spool file. */
  readonly sessionId: string;
  /** Inode number of the session's cgroup v2 directory. */
  readonly cgroupId: bigint;
  /** The loginuid session number the leader was given; undefined where the host has no audit. */
  readonly auditSessionId: number | undefined;
  /** The process that will exec the shell and still blocks: the root of the lineage. */
  readonly leaderPid: number;
  /** The launcher, which shares the audit id but is not of the session; 0 when there is none. */
  readonly supervisorPid: number;
  /** What the role records; anything else is filtered in the kernel. */
  readonly kinds: readonly Kind[];
  readonly policy: LossPolicy;
}

export interface Watched {
  /** `session` of every event of it. */
  readonly session: bigint;
  /** CLOCK_REALTIME - CLOCK_BOOTTIME, ns. */
  readonly realtimeOffsetNs: bigint;
}

export interface SessionTotals {
  readonly kinds: TotalsByKind;
  /** The last sequence number the kernel gave out in this session. */
  readonly lastSeq: number;
  /** Bytes of the spool that are valid. */
  readonly spoolLength: number;
  readonly liveTasks: number;
}

export interface WatchedSession {
  readonly sessionId: string;
  readonly session: bigint;
  readonly cgroupId: bigint;
  readonly spoolLength: number;
  readonly liveTasks: number;
  readonly leaderPid: number;
}

export interface RecorderStats {
  readonly ringSize: number;
  readonly ringUsed: number;
  readonly drainedRecords: number;
  readonly drainedBytes: number;
  /** Over all sessions since the recorder's maps were made. */
  readonly ringLost: number;
  /** Records whose session the recorder did not know: 0, or a bug. */
  readonly orphanRecords: number;
  /** Hook runs that ended at once because the task is in no session. */
  readonly outsideTasks: number;
  /** Hook runs the kernel skipped and nothing made up for: in the losses of every session that lived then. */
  readonly programMisses: number;
  readonly sessions: number;
  readonly lineageEntries: number;
  /** Attached BPF programs of another build than the recorder's: 0, seconds after it took over from that one. */
  readonly foreignPrograms: number;
}

/** A part of the kernel half that is attached on this host. `pinned`: it survives the recorder's death. */
export type Feature =
  | 'exec'
  | 'exit'
  | 'lineage'
  | 'sys_exit'
  | 'connect4'
  | 'connect6'
  | 'sock_state'
  | 'cgroup_attach'
  | 'sendmsg4'
  | 'sendmsg6'
  | 'io_uring'
  | 'pinned'
  | 'open_tier1';

export interface RecorderHello {
  /** SHA-256 of bpf/wire.h's layout, hex: both ends were built from the same one. */
  readonly wireHash: string;
  readonly pid: number;
  readonly features: ReadonlySet<Feature>;
  readonly ringSize: number;
  /** CLOCK_BOOTTIME ns when the recorder started. */
  readonly startKtime: bigint;
  /** Sessions taken over from a recorder that died. */
  readonly resumedSessions: number;
}

/** Arguments by event name. */
export interface RecorderEvents {
  /** The session's spool may be read up to `spoolLength`. */
  progress: [sessionId: string, spoolLength: number];
  /** The session's last live task is gone. */
  idle: [sessionId: string];
  /** A loss was declared in the session's spool (policy `strict`: kill it). */
  loss: [sessionId: string];
  /** This connection is over, once; with an error unless `close()` asked for it. */
  closed: [error: Error | undefined];
}

export interface Recorder {
  readonly hello: RecorderHello;
  /** Resolves once every hook filters for the session: only then may its leader go on. */
  watch(request: WatchRequest): Promise<Watched>;
  /** Resolves only after a barrier through every ring: the spool is then complete and closed. */
  end(sessionId: string): Promise<SessionTotals>;
  /** A look at a running session; the figures move on. */
  totals(sessionId: string): Promise<SessionTotals>;
  list(): Promise<readonly WatchedSession[]>;
  stats(): Promise<RecorderStats>;
  on<E extends keyof RecorderEvents>(event: E, listener: (...args: RecorderEvents[E]) => void): this;
  once<E extends keyof RecorderEvents>(event: E, listener: (...args: RecorderEvents[E]) => void): this;
  off<E extends keyof RecorderEvents>(event: E, listener: (...args: RecorderEvents[E]) => void): this;
  /** Ends this connection only: the recorder and its sessions live on. */
  close(): void;
}

export type { EventKind, Kind, LossPolicy, Totals, TotalsByKind } from './kernel-event.ts';

/** Every kind, in the order of the counters in wire.h. */
export const eventKinds: readonly EventKind[] = ['command', 'disk', 'network', 'meta'];
