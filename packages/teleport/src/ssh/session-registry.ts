// The sessions that live on this node: how many there may be, and who they are. Forgets a session when it is
// over in the log, so that a lingering one still counts.

import type { SessionReport } from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { SessionFacts } from './session-facts.ts';
import type { Party } from './sharing/party.ts';

export interface RegistryLimits {
  readonly maxSessions: number;
  /** Different users at a time. */
  readonly maxUsers: number;
}

export interface LiveSession {
  readonly facts: SessionFacts;
  /** Absent: nobody can join it. */
  readonly party?: Party;
  end(reason: AppError): void;
  hangUp(message: string): void;
  /** The service goes down: nothing more is written of the session, and nothing of it is killed. */
  detach(): Promise<void>;
}

/** `maximum` goes into session.rejected; absent where no limit was reached. */
export type Admission =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: string; readonly maximum?: number };

export class SessionRegistry {
  readonly #limits: RegistryLimits;
  readonly #sessions = new Map<string, LiveSession>();
  readonly #listeners = new Set<(sid: string) => void>();
  readonly #overListeners = new Set<() => void>();
  #whenEmpty: (() => void)[] = [];

  constructor(limits: RegistryLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** Oldest first. */
  list(): readonly SessionFacts[] {
    return [...this.#sessions.values()].map((session) => session.facts);
  }

  /** `mayHave`: how many sessions the user's roles allow; what is forwarded does not count. */
  admits(user: string, mayHave?: number): Admission {
    const { maxSessions, maxUsers } = this.#limits;
    const counted = this.list().filter(({ purpose }) => purpose !== 'forwarding');
    if (counted.length >= maxSessions) {
      return { ok: false, reason: 'The node has as many sessions as it may.', maximum: maxSessions };
    }
    if (mayHave !== undefined && counted.filter((facts) => facts.user === user).length >= mayHave) {
      return { ok: false, reason: 'The user has as many sessions as the roles allow.', maximum: mayHave };
    }
    const users = new Set(this.list().map((facts) => facts.user));
    if (!users.has(user) && users.size >= maxUsers) {
      return { ok: false, reason: 'The node has as many users as it may.', maximum: maxUsers };
    }
    return { ok: true };
  }

  /** Those that are listed to the cluster, as they are now. */
  reports(): readonly SessionReport[] {
    return [...this.#sessions.values()].flatMap(({ party }) => party?.report ?? []);
  }

  partyOf(sid: string): Party | undefined {
    return this.#sessions.get(sid)?.party;
  }

  /** What is listed of a session is different now. */
  onChange(listener: (sid: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed(sid: string): void {
    for (const listener of this.#listeners) listener(sid);
  }

  /** Roles changed: whoever may not be in a session of another any more leaves it. */
  recheckParties(): void {
    for (const { party } of this.#sessions.values()) party?.recheck();
  }

  add(session: LiveSession): void {
    this.#sessions.set(session.facts.sid, session);
  }

  /** A session is over, and nothing of it is left on disk. */
  onOver(listener: () => void): () => void {
    this.#overListeners.add(listener);
    return () => this.#overListeners.delete(listener);
  }

  remove(sid: string): void {
    this.#sessions.delete(sid);
    for (const listener of this.#overListeners) listener();
    if (this.#sessions.size > 0) return;
    for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }

  /** Rejects with `not_found` for a session that is over. */
  end(sid: string, reason: AppError): void {
    const session = this.#sessions.get(sid);
    if (!session) throw new AppError('not_found', 'session.not_found', `There is no live session ${sid}.`);
    session.end(reason);
  }

  /** Ends every session for which there is a reason, also those whose user has left. Tells how many. */
  endWhere(reason: (facts: SessionFacts) => AppError | undefined): number {
    let ended = 0;
    for (const session of this.#sessions.values()) {
      const why = reason(session.facts);
      if (!why) continue;
      session.end(why);
      ended += 1;
    }
    return ended;
  }

  hangUpAll(message: string): void {
    for (const session of this.#sessions.values()) session.hangUp(message);
  }

  async detachAll(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.detach()));
  }

  /** True when the last session is over before the deadline. */
  async empty(deadlineMs: number): Promise<boolean> {
    if (this.#sessions.size === 0) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#whenEmpty.push(() => resolve(true));
    const timer = setTimeout(() => resolve(false), deadlineMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }
}
