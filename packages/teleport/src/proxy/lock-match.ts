// Which lock of the cluster hits a user or a node. Host accounts are the node's business: the gateway has none.
import type { LockDocument } from '@sallyport/contracts/api/resources.ts';

interface LockedUser {
  readonly user: string;
  readonly roles: readonly string[];
}

interface LockedNode {
  readonly hostUuid: string;
  readonly hostname: string;
}

/** Why the user may do nothing for now; undefined when nothing stands in the way. */
export function userLock(user: LockedUser, locks: readonly LockDocument[], now: Date): string | undefined {
  return reason(locks, now, (target) => {
    if ('user' in target && target.user === user.user) return `user "${target.user}"`;
    return 'role' in target && user.roles.includes(target.role) ? `role "${target.role}"` : undefined;
  });
}

/** A node is locked by its uuid or its name. */
export function nodeLock(node: LockedNode, locks: readonly LockDocument[], now: Date): string | undefined {
  return reason(locks, now, (target) => {
    if (!('node' in target)) return undefined;
    return target.node === node.hostUuid || target.node === node.hostname
      ? `node "${target.node}"`
      : undefined;
  });
}

type Target = LockDocument['spec']['target'];

function reason(
  locks: readonly LockDocument[],
  now: Date,
  hit: (target: Target) => string | undefined,
): string | undefined {
  for (const { metadata, spec } of locks) {
    const ended = metadata.expires !== undefined && new Date(metadata.expires) <= now;
    const what = ended ? undefined : hit(spec.target);
    if (what !== undefined)
      return `${what} is locked${spec.message === undefined ? '' : `: ${spec.message}`}`;
  }
  return undefined;
}
