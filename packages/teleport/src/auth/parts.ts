// What the parts of the auth service share.
import type { Authorities } from '../ca/authorities.ts';
import type { Caller } from './api/handler.ts';
import type { AuthLog } from './auth-log.ts';
import type { AuthSettings } from './auth-settings.ts';
import type { Challenges } from './credentials/challenge.ts';
import type { Directory } from './directory.ts';
import type { Journal } from './journal.ts';
import type { Store } from './store/store.ts';

export interface Parts {
  readonly store: Store;
  readonly journal: Journal;
  readonly directory: Directory;
  readonly challenges: Challenges;
  readonly authorities: Authorities;
  readonly settings: AuthSettings;
  readonly version: string;
  readonly log: AuthLog;
  readonly now: () => Date;
}

/** Who did it, for the audit log. */
export function actorOf(caller: Caller): { user: string; user_kind: 1 | 2 | 3 } {
  switch (caller.kind) {
    case 'admin':
      return { user: caller.user, user_kind: 3 };
    case 'user':
      return { user: caller.user, user_kind: 1 };
    case 'host':
      return { user: caller.hostUuid, user_kind: 3 };
    case 'anyone':
      return { user: 'anyone', user_kind: 3 };
  }
}
