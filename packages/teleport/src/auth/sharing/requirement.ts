// Who must be in a session, and who of them is missing: pure. Every role of the owner that requires somebody must
// have one of its policies met; the order of roles, policies and people means nothing.
import type { JoinMode } from '@sallyport/contracts/api/session-trackers.ts';
import type { Role } from '../role.ts';
import { type Filter, parseFilter } from './filter.ts';
import type { OnLeave, RequirePolicy } from './policies.ts';

/** Somebody who is there besides the owner. */
export interface Present {
  readonly user: string;
  readonly roles: readonly string[];
  readonly traits: Readonly<Record<string, readonly string[]>>;
  readonly mode: JoinMode;
}

/** One role's word that nobody meets yet. */
export interface Missing {
  readonly role: string;
  /** In words: any one of them would do. */
  readonly needs: string;
  /** What becomes of a session that began: the strictest of the role's policies. */
  readonly onLeave: OnLeave;
}

export interface Requirement {
  /** By role name. Empty: everybody who must be there is. */
  missing(present: readonly Present[]): readonly Missing[];
  /** Somebody who could be one of those who must be there. */
  counts(person: Present): boolean;
  /** How long the connection of such a person may say nothing before they have left: the shortest of the policies'. */
  readonly silenceLimitMs: number;
}

/** Longer than a roaming laptop takes to find its network again. */
export const defaultSilenceLimitMs = 10_000;

/** undefined: nobody needs to be there. Throws AppError `auth.bad_filter` for a filter that cannot be read. */
export function requirementOf(owner: string, roles: readonly Role[]): Requirement | undefined {
  const asking = roles
    .map((role) => ({ role: role.name, policies: policiesOf(role) }))
    .filter(({ policies }) => policies.length > 0)
    .sort((a, b) => (a.role < b.role ? -1 : 1));
  if (asking.length === 0) return undefined;
  const all = asking.flatMap(({ policies }) => policies);
  return {
    silenceLimitMs: Math.min(...all.map(({ silenceLimitMs = defaultSilenceLimitMs }) => silenceLimitMs)),
    counts: (person) => person.user !== owner && all.some((policy) => admits(policy, person)),
    missing: (present) => {
      // Nobody watches over themselves, however many windows they open.
      const others = present.filter(({ user }) => user !== owner);
      return asking
        .filter(({ policies }) => !policies.some((policy) => isMet(policy, others)))
        .map(({ role, policies }) => ({ role, needs: wordsOf(policies), onLeave: strictest(policies) }));
    },
  };
}

interface ReadPolicy extends RequirePolicy {
  readonly accepts: Filter;
}

function policiesOf({ allow }: Role): ReadPolicy[] {
  return (allow.requireSessionJoin ?? [])
    .filter(({ kinds }) => kinds.some((kind) => kind === 'ssh' || kind === '*'))
    .map((policy) => ({ ...policy, accepts: parseFilter(policy.filter) }));
}

/** People are counted, not their windows. */
function isMet(policy: ReadPolicy, others: readonly Present[]): boolean {
  const counted = others.filter((person) => admits(policy, person));
  return new Set(counted.map(({ user }) => user)).size >= policy.count;
}

function admits({ accepts, modes }: ReadPolicy, { user, roles, traits, mode }: Present): boolean {
  return (modes.includes(mode) || modes.includes('*')) && accepts({ name: user, roles, traits });
}

function wordsOf(policies: readonly ReadPolicy[]): string {
  return policies
    .map(({ name, count, modes, filter }) => {
      const who = modes.includes('*') ? 'anybody' : [...modes].sort().join(' or ');
      return `${count} × ${who} by "${name}": ${filter}`;
    })
    .sort()
    .join('; or ');
}

function strictest(policies: readonly ReadPolicy[]): OnLeave {
  return policies.every(({ onLeave }) => onLeave === 'pause') ? 'pause' : 'terminate';
}
