// What roles say about shared sessions, as values.
import type { JoinMode } from '@sallyport/contracts/api/session-trackers.ts';

type SharedKind = 'ssh' | '*';

/** Whose sessions, as what. */
export interface JoinPolicy {
  readonly name: string;
  /** Of the session's owner; `*` stands for any text. */
  readonly roles: readonly string[];
  readonly kinds: readonly SharedKind[];
  readonly modes: readonly (JoinMode | '*')[];
}

/** Who must be there. */
export interface RequirePolicy {
  readonly name: string;
  /** See filter.ts. */
  readonly filter: string;
  readonly kinds: readonly SharedKind[];
  readonly modes: readonly (JoinMode | '*')[];
  readonly count: number;
  readonly onLeave: OnLeave;
  /** A connection that says nothing for so long is a leaving. 0: as soon as it is noticed. Absent: as usual. */
  readonly silenceLimitMs?: number | undefined;
}

export type OnLeave = 'terminate' | 'pause';
