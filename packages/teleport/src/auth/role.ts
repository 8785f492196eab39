// A role: what it allows, what it denies, and what sessions under it are like. Pure data.
import type { RuledResource, Verb } from '@sallyport/contracts/api/route.ts';
import type { LossPolicy, RecordedKind, RecordSession } from '../ca/identity.ts';
import type { JoinPolicy, RequirePolicy } from './sharing/policies.ts';

/** Every key must match; `*` as key (with `*`) or as value matches anything. An empty selector matches nothing. */
export type LabelSelector = Readonly<Record<string, readonly string[]>>;

export interface RoleConditions {
  /** Host accounts; `{{internal.logins}}` stands for the user's own trait; `*` (deny only) for any. */
  readonly logins: readonly string[];
  readonly nodeLabels: LabelSelector;
  /** What may be done to the cluster's resources. Absent: nothing. */
  readonly rules?: readonly Rule[] | undefined;
  /** Whose sessions may (deny: may not) be joined. Absent: nobody's. */
  readonly joinSessions?: readonly JoinPolicy[] | undefined;
  /** Groups of host users that are created; those the host lacks are made, too. Deny: never these. */
  readonly hostGroups?: readonly string[] | undefined;
  /** Lines of sudoers(5) for them, without the name in front. Deny: never these; `*`: none at all. */
  readonly hostSudoers?: readonly string[] | undefined;
  /** Allow only: who must be in the role's sessions. Absent: nobody. */
  readonly requireSessionJoin?: readonly RequirePolicy[] | undefined;
}

/** Each of these verbs on each of these resources. */
export interface Rule {
  readonly resources: readonly (RuledResource | '*')[];
  readonly verbs: readonly (Verb | '*')[];
}

export type HostUserMode = 'off' | 'keep' | 'insecure-drop';

export interface RoleOptions {
  /** Longest life of a certificate issued through this role. `undefined`: the cluster's maximum. */
  readonly maxSessionTtlMs?: number | undefined;
  /** `undefined`: command + network. An empty list records nothing beyond the terminal. */
  readonly enhancedRecording?: readonly RecordedKind[] | undefined;
  /** `undefined`: strict, a session that cannot be recorded does not start. */
  readonly recordSession?: RecordSession | undefined;
  /** `undefined`: best_effort, what cannot be kept is declared. */
  readonly lossPolicy?: LossPolicy | undefined;
  /** `undefined`: no. What goes through a tunnel is not recorded. */
  readonly portForwarding?: boolean | undefined;
  /** `undefined`: no. */
  readonly forwardAgent?: boolean | undefined;
  /** `undefined`: no. */
  readonly x11Forwarding?: boolean | undefined;
  /** `undefined`: yes. scp and sftp. */
  readonly sshFileCopy?: boolean | undefined;
  /** Sessions of the user at once, on a node. `undefined`: as many as the node takes. */
  readonly maxSessions?: number | undefined;
  /** Make the account where the host lacks it. `undefined`: the role says nothing about it. */
  readonly createHostUserMode?: HostUserMode | undefined;
  /** Of accounts that are made. `undefined`: bash, or sh where there is none. */
  readonly createHostUserDefaultShell?: string | undefined;
  /** `undefined`: as the cluster says. */
  readonly clientIdleTimeoutMs?: number | undefined;
  /** A session ends with the certificate it began with. `undefined`: as the cluster says. */
  readonly disconnectExpiredCert?: boolean | undefined;
  /** Each session needs the second factor anew. `undefined`: as the cluster says. */
  readonly requireSessionMfa?: boolean | undefined;
}

export interface Role {
  readonly name: string;
  readonly allow: RoleConditions;
  readonly deny: RoleConditions;
  readonly options: RoleOptions;
}

/** There without being created, as long as nobody stores a role of that name: every node, the user's own logins. */
export const accessRole: Role = {
  name: 'access',
  allow: { logins: ['{{internal.logins}}'], nodeLabels: { '*': ['*'] } },
  deny: { logins: [], nodeLabels: {} },
  options: {},
};
