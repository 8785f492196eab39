// What a user may do on this node, and what the node says itself. Pure data; who grants it is not this room's matter.
import type { Identity, LossPolicy, RecordedKind, RecordSession } from '../ca/identity.ts';
import { permitExtensions } from '../ca/identity.ts';
import type { WantedHostUser } from './host-users/host-user.ts';
import type { Moderation } from './sharing/sharing.ts';

/** What the access decision grants: the certificate's word narrowed by what the roles say now. */
export interface Grant {
  readonly kinds: readonly RecordedKind[];
  readonly lossPolicy: LossPolicy;
  readonly recordSession: RecordSession;
  readonly portForwarding: boolean;
  readonly forwardAgent: boolean;
  readonly x11Forwarding: boolean;
  readonly sshFileCopy: boolean;
  /** Of the user at once on this node. undefined: as many as the node takes. */
  readonly maxSessions: number | undefined;
  /** undefined: as the node says. */
  readonly clientIdleTimeoutMs: number | undefined;
  /** undefined: as the node says. */
  readonly disconnectExpiredCert: boolean | undefined;
  /** The account is made where the host lacks it. Absent: it is not. */
  readonly hostUser?: WantedHostUser | undefined;
}

/** An authenticated user, and what they may do here. */
export interface Visitor {
  readonly identity: Identity;
  readonly grant: Grant;
  /** Uuid of the second factor that was proven for this very session. */
  readonly mfaDevice?: string | undefined;
  /** Logged in as nobody of this host: joins sessions of others, and does nothing else. */
  readonly joinsOnly?: boolean | undefined;
  /** Who must be in each of the user's sessions; undefined: nobody. */
  readonly moderation?: Moderation | undefined;
}

/**
 * Why nothing that nobody could watch is done for this visitor: forwarding (agents, too), file transfer, commands
 * without a terminal. undefined: it may be.
 */
export function refusesUnattended({ joinsOnly, moderation }: Visitor): string | undefined {
  if (joinsOnly) return 'this log-in only joins sessions of others';
  if (moderation) return 'a role of the user requires that somebody else sees what they do';
  return undefined;
}

/** The node's own word: configuration. */
export interface NodePolicy {
  /** ssh_service.port_forwarding. */
  readonly portForwarding: boolean;
  /** ssh_service.ssh_file_copy. */
  readonly fileCopy: boolean;
  /** ssh_service.x11. */
  readonly x11: { readonly enabled: boolean; readonly firstDisplay: number };
  /** Where no role says anything. undefined: for ever. */
  readonly clientIdleTimeoutMs: number | undefined;
  readonly disconnectExpiredCert: boolean;
}

/** Why ports and sockets are not forwarded; undefined: they are. Node, roles and certificate must all agree. */
export function refusesPorts(visitor: Visitor, policy: NodePolicy): string | undefined {
  const { identity, grant } = visitor;
  const unattended = refusesUnattended(visitor);
  if (unattended !== undefined) return unattended;
  if (!policy.portForwarding) return 'this node forwards no ports (ssh_service.port_forwarding)';
  if (!grant.portForwarding) return 'no role of the user allows port forwarding';
  return lacks(identity, permitExtensions.portForwarding);
}

/** Why the client's agent is not taken; undefined: it is. */
export function refusesAgent(visitor: Visitor): string | undefined {
  const { identity, grant } = visitor;
  const unattended = refusesUnattended(visitor);
  if (unattended !== undefined) return unattended;
  if (!grant.forwardAgent) return 'no role of the user allows agent forwarding';
  return lacks(identity, permitExtensions.agentForwarding);
}

/** Why neither sftp nor scp is served; undefined: they are. */
export function refusesCopies(visitor: Visitor, policy: NodePolicy): string | undefined {
  const { grant } = visitor;
  const unattended = refusesUnattended(visitor);
  if (unattended !== undefined) return unattended;
  if (!policy.fileCopy) return 'this node copies no files (ssh_service.ssh_file_copy)';
  if (!grant.sshFileCopy) return 'a role of the user forbids it (ssh_file_copy)';
  return undefined;
}

/** Why the client's display is not lent to programs; undefined: it is. */
export function refusesX11(visitor: Visitor, policy: NodePolicy): string | undefined {
  const { identity, grant } = visitor;
  const unattended = refusesUnattended(visitor);
  if (unattended !== undefined) return unattended;
  if (!policy.x11.enabled) return 'this node forwards no displays (ssh_service.x11)';
  if (!grant.x11Forwarding) return 'no role of the user allows X11 forwarding';
  return lacks(identity, permitExtensions.x11Forwarding);
}

function lacks({ extensions }: Identity, permit: string): string | undefined {
  return extensions.has(permit)
    ? undefined
    : `the certificate lacks ${permit}; log in again to get a new one`;
}

export interface ConnectionLimits {
  /** undefined: for ever. */
  readonly idleMs: number | undefined;
  /** When the connection ends whatever it does. undefined: never. */
  readonly until: Date | undefined;
}

export function connectionLimits({ identity, grant }: Visitor, policy: NodePolicy): ConnectionLimits {
  const disconnects = grant.disconnectExpiredCert ?? policy.disconnectExpiredCert;
  return {
    idleMs: grant.clientIdleTimeoutMs ?? policy.clientIdleTimeoutMs,
    until: disconnects ? identity.validBefore : undefined,
  };
}
