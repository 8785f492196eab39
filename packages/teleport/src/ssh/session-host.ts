// What a node lends to each of its sessions.
import type { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { AppendQueue } from '../audit/append-queue.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import { type EventStamp, SessionEmitter } from '../audit/session-emitter.ts';
import type { HostManners } from './host-manners.ts';
import type { KernelSide } from './kernel-watch.ts';
import type { LaunchedSession, LaunchRequest } from './launch.ts';
import type { NodeLog } from './node-log.ts';
import type { NodeFacts, SessionFacts } from './session-facts.ts';
import { SessionRecord } from './session-record.ts';

/** The cgroup `<cgroupPath><rootPath>/<sid>` is a session's. */
export interface CgroupPlace {
  readonly cgroupPath: string;
  readonly rootPath: string;
}

export interface SessionHostOptions {
  readonly node: NodeFacts;
  readonly clusterName: string;
  readonly audit: AuditLog;
  /** `<data_dir>/log`. */
  readonly logDir: string;
  /** `<data_dir>/spool`: journals, and the recorder's spools. */
  readonly spoolDir: string;
  readonly bootId: string;
  /** This daemon, among those that may live beside it; undefined: there are none. */
  readonly generation?: string | undefined;
  /** Path of the launcher program. */
  readonly launcher: string;
  /** How the host receives who logs in. */
  readonly manners: (facts: SessionFacts) => HostManners;
  /** undefined: enhanced recording is off. */
  readonly kernel: KernelSide | undefined;
  /** Cgroups of sessions that must be able to stand still, where nothing is recorded. No other agent's. */
  readonly unrecorded: CgroupPlace;
  readonly launch: (request: LaunchRequest) => Promise<LaunchedSession>;
  readonly log: NodeLog;
}

export interface SessionHost extends SessionHostOptions {
  /** The records of a new session, or of one taken over (`firstEi` behind what it used). */
  record(onBroken: RecordBroken, firstEi?: number): SessionRecord;
  /** For events that must not wait for anything and may wait long themselves. */
  emitLate(stamp: EventStamp, draft: EventDraft): Promise<void>;
  /** Resolves when nothing waits for the log any more, or the log does not come back. */
  close(): Promise<void>;
}

export type RecordBroken = (record: 'terminal' | 'audit', error: AppError) => void;

export function createSessionHost(options: SessionHostOptions): SessionHost {
  const { audit, clusterName, log } = options;
  const queue = new AppendQueue(audit, {
    onRetry: (err, held) => log.error({ err, held }, 'the audit log takes nothing; events are held'),
  });
  return {
    ...options,
    // Its labels change.
    get node() {
      return options.node;
    },
    record(onBroken, firstEi = 0) {
      const emitter = new SessionEmitter({ clusterName, firstEi });
      return new SessionRecord({ emitter, log: audit, queue, onBroken });
    },
    async emitLate(stamp, draft) {
      await queue
        .push([stamp.stamp(draft)])
        .catch((err) => log.error({ err, event: draft.event }, 'an event could not be kept'));
    },
    close: () => queue.close(),
  };
}
