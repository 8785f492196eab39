// What this room asks of the rest about shared sessions. Roles and their language are not known here: whoever
// composes the node answers.
import type { JoinMode } from '@sallyport/contracts/api/session-trackers.ts';

export interface Person {
  readonly user: string;
  readonly roles: readonly string[];
  readonly traits: Readonly<Record<string, readonly string[]>>;
}

/** Somebody who is in a session besides its owner. */
export interface Present extends Person {
  readonly mode: JoinMode;
}

/** What a role wants and nobody present is. */
export interface Missing {
  readonly role: string;
  /** In words. */
  readonly needs: string;
  /** For a session that began. */
  readonly onLeave: 'terminate' | 'pause';
}

/** Who must be in the sessions of somebody. */
export interface Moderation {
  missing(present: readonly Present[]): readonly Missing[];
  /** Whoever could be one of them: asked for signs of life, and waited for by the session's output. */
  counts(person: Present): boolean;
  /** The connection of such a person may say nothing for so long, ms; then they have left. */
  readonly silenceLimitMs: number;
}

/** Whose session it is. */
export interface SessionOwner {
  readonly user: string;
  readonly roles: readonly string[];
}

export interface SessionSharing {
  /** Why this person may not join in this mode; undefined: they may. Asked at the door, and when roles change. */
  refusesJoin(person: Person, owner: SessionOwner, mode: JoinMode): string | undefined;
  /** How long a session waits for those it requires, ms. */
  readonly holdMs: number;
}

/** What runs in a session, all of it. */
export interface Standstill {
  /** Resolves when nothing of it runs. Rejects when that cannot be had: it must not go on then. */
  stop(): Promise<void>;
  go(): Promise<void>;
}

/** Long enough to call somebody; a forgotten one does not keep a launcher for ever. */
export const defaultHoldMs = 15 * 60_000;

/** For hosts that let nobody join. */
export const noSharing: SessionSharing = {
  refusesJoin: () => 'this node lets nobody join sessions',
  holdMs: defaultHoldMs,
};
