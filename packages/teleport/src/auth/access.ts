// The access decision: a pure function of roles, traits, the login asked for and the node. No I/O, no clock.
import type { LossPolicy, RecordedKind, RecordSession } from '../ca/identity.ts';

/** The node a session is asked of, as far as roles can see it. */
export interface AccessNode {
  readonly labels: Readonly<Record<string, string>>;
}

export type AccessDecision =
  | {
      readonly ok: true;
      /** The roles that granted it, sorted. */
      readonly grantedBy: readonly string[];
      /** Union over all the user's roles; where none says anything, command + network. */
      readonly kinds: readonly RecordedKind[];
      readonly lossPolicy: LossPolicy;
      readonly recordSession: RecordSession;
      /** The smallest of the roles' limits. */
      readonly maxSessionTtlMs: number | undefined;
      readonly portForwarding: boolean;
    }
  | { readonly ok: false; readonly reason: string };
