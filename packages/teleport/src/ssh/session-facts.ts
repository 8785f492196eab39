// Who, where and through what: everything about a session that is known when it opens and never changes. Plain
// data, because it is also what the journal keeps: after a kill -9 the events of the session must still say it.
import type { LossPolicy, RecordedKind, RecordSession } from '../ca/identity.ts';
import type { WantedHostUser } from './host-users/host-user.ts';

/** The node, as its events name it (block Srv). */
export interface NodeFacts {
  readonly serverId: string;
  readonly hostname: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly version: string;
}

/** A terminal's size in characters. */
export interface TerminalSize {
  readonly cols: number;
  readonly rows: number;
}

export interface SessionFacts {
  readonly sid: string;
  /** Absent: a shell or a command. */
  readonly purpose?: 'forwarding' | 'sftp' | undefined;
  readonly user: string;
  readonly login: string;
  readonly roles: readonly string[];
  readonly traits: Readonly<Record<string, readonly string[]>>;
  readonly node: NodeFacts;
  /** `host:port` of both ends of the connection. */
  readonly localAddr: string;
  readonly remoteAddr: string;
  /** RFC 3339 UTC, ms. */
  readonly started: string;
  /** Absent: a login shell. */
  readonly command?: string | undefined;
  /** Absent: no terminal. */
  readonly terminal?: TerminalSize | undefined;
  readonly recordingMode: 'node' | 'node-sync' | 'proxy' | 'proxy-sync' | 'off';
  /** The kernel is asked to watch this session at all. */
  readonly enhanced: boolean;
  readonly kinds: readonly RecordedKind[];
  readonly lossPolicy: LossPolicy;
  readonly recordSession: RecordSession;
  /** Somebody else must be in it: nothing of it goes on when its people are gone. Absent: not so. */
  readonly attended?: boolean | undefined;
  /** Uuid of the second factor that was proven for this session. */
  readonly mfaDevice?: string | undefined;
  /** The account is made where the host lacks it. Absent: it is not. */
  readonly hostUser?: WantedHostUser | undefined;
}

/** Blocks U, S and Srv: what every kernel event of the session carries. */
export function sessionBlocks(facts: SessionFacts) {
  return {
    ...userBlock(facts),
    sid: facts.sid,
    ...(facts.mfaDevice === undefined ? {} : { with_mfa: facts.mfaDevice }),
    ...serverBlock(facts.node),
  };
}

/** Blocks U, S, Srv and C. */
export function sessionAndConnectionBlocks(facts: SessionFacts) {
  return { ...sessionBlocks(facts), ...connectionBlock(facts.localAddr, facts.remoteAddr) };
}

export function serverBlock(node: NodeFacts) {
  return {
    namespace: 'default',
    server_id: node.serverId,
    server_hostname: node.hostname,
    server_addr: node.address,
    server_labels: { ...node.labels },
    server_version: node.version,
  };
}

export function connectionBlock(local: string, remote: string) {
  return { 'addr.local': local, 'addr.remote': remote, proto: 'ssh' };
}

export interface UserFacts {
  readonly user: string;
  readonly login: string;
  readonly roles: readonly string[];
  readonly traits: Readonly<Record<string, readonly string[]>>;
}

export function userBlock(facts: UserFacts) {
  return {
    user: facts.user,
    login: facts.login,
    user_kind: 1 as const, // 1 = a person; bots are not issued certificates yet
    user_roles: [...facts.roles],
    user_traits: Object.fromEntries(Object.entries(facts.traits).map(([key, values]) => [key, [...values]])),
  };
}
