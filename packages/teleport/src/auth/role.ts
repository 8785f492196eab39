// A role: what it allows, what it denies, and how its sessions are recorded. Pure data.
import type { LossPolicy, RecordedKind, RecordSession } from '../ca/identity.ts';

/** Every key must match; `*` as key (with `*`) or as value matches anything. An empty selector matches nothing. */
export type LabelSelector = Readonly<Record<string, readonly string[]>>;

export interface RoleConditions {
  /** Host accounts; `{{internal.logins}}` stands for the user's own trait; `*` (deny only) for any. */
  readonly logins: readonly string[];
  readonly nodeLabels: LabelSelector;
}

export interface RoleOptions {
  /** Longest life of a certificate issued through this role. `undefined`: the cluster's maximum. */
  readonly maxSessionTtlMs?: number | undefined;
  /** `undefined`: command + network. An empty list records nothing beyond the terminal. */
  readonly enhancedRecording?: readonly RecordedKind[] | undefined;
  /** `undefined`: strict, a session that cannot be recorded does not start. */
  readonly recordSession?: RecordSession | undefined;
  /** `undefined`: best_effort, what cannot be kept is declared. */
  readonly lossPolicy?: LossPolicy | undefined;
  readonly portForwarding?: boolean | undefined;
}

export interface Role {
  readonly name: string;
  readonly allow: RoleConditions;
  readonly deny: RoleConditions;
  readonly options: RoleOptions;
}

const nothing: RoleConditions = { logins: [], nodeLabels: {} };

/** There without being created, as long as nobody stores a role of that name: every node, the user's own logins. */
export const accessRole: Role = {
  name: 'access',
  allow: { logins: ['{{internal.logins}}'], nodeLabels: { '*': ['*'] } },
  deny: nothing,
  options: {},
};
