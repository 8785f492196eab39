// Whose event it is and which task did it: the fields every kernel event carries.
import type { EventHeader } from '@sallyport/kernel/kernel-event.ts';
import type { sessionBlocks } from '../session-facts.ts';
import type { KernelClock } from './kernel-clock.ts';
import { kernelText } from './kernel-text.ts';

/** Blocks U, S and Srv of the session: made once, spread into each of its events. */
export type SessionBlocks = ReturnType<typeof sessionBlocks>;

export interface CorrelationContext {
  readonly blocks: SessionBlocks;
  readonly clock: KernelClock;
}

/** Blocks U, S, Srv, B and what every kernel event carries besides. */
export function taskBlock(event: EventHeader, { blocks, clock }: CorrelationContext) {
  const flags = processFlags(event);
  return {
    ...blocks,
    time: wallTime(clock, event.ktime),
    pid: event.pid,
    ppid: event.ppid,
    // kernfs ids are 64 bits wide, inode in the low half: beyond 2^53 only after 2 million reuses of one inode
    cgroup_id: Number(event.cgroupId),
    ...kernelText('program', event.comm),
    ...(event.auditSessionId === undefined ? {} : { audit_session_id: event.auditSessionId }),
    seq: event.seq,
    ktime: clock.rfc3339Nanos(event.ktime),
    source: event.source,
    process_uid: event.uid,
    process_gid: event.gid,
    ...(flags.length > 0 ? { process_flags: flags } : {}),
  };
}

function processFlags(event: EventHeader) {
  const flags: ('compat32' | 'mount_ns' | 'chroot' | 'user_ns')[] = [];
  if (event.compat32) flags.push('compat32');
  if (event.foreignMountNamespace) flags.push('mount_ns');
  if (event.chroot) flags.push('chroot');
  if (event.userNamespace) flags.push('user_ns');
  return flags;
}

export function wallTime(clock: KernelClock, ktime: bigint): string {
  return clock.rfc3339Millis(ktime);
}
