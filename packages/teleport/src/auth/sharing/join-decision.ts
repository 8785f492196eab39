// May somebody join a session, and as what? A pure function of the joiner's roles and of the session's owner. Deny
// wins; the order of roles and policies means nothing; no role that says so, no right.
import { type JoinMode, joinModes } from '@sallyport/contracts/api/session-trackers.ts';
import type { Role } from '../role.ts';
import type { JoinPolicy } from './policies.ts';

export interface JoinQuestion {
  readonly user: string;
  /** The joiner's, as they are defined now. */
  readonly roles: readonly Role[];
  readonly session: { readonly owner: string; readonly ownerRoles: readonly string[] };
}

export type JoinDecision =
  | { readonly ok: true; readonly modes: readonly JoinMode[] }
  | { readonly ok: false; readonly reason: string };

/** Joining one's own session from another place takes nothing that one has not; moderating it would. */
const ownModes: readonly JoinMode[] = ['observer', 'peer'];

/** As what: every mode that some role gives and none takes. */
export function joinableModes({ user, roles, session }: JoinQuestion): readonly JoinMode[] {
  const given = new Set(modesOf(roles, session.ownerRoles, 'allow'));
  if (user === session.owner) for (const mode of ownModes) given.add(mode);
  const taken = new Set(modesOf(roles, session.ownerRoles, 'deny'));
  return joinModes.filter((mode) => given.has(mode) && !taken.has(mode));
}

export function decideJoin(question: JoinQuestion, mode: JoinMode): JoinDecision {
  const { roles, session } = question;
  const modes = joinableModes(question);
  if (modes.includes(mode)) return { ok: true, modes };
  const denying = roles.filter((role) =>
    modesOf([role], session.ownerRoles, 'deny').some((denied) => denied === mode),
  );
  if (denying.length > 0) return { ok: false, reason: `denied by role ${namesOf(denying)}` };
  const whose = session.ownerRoles.length === 0 ? 'no role' : [...session.ownerRoles].sort().join(', ');
  const reason = `no role allows to join as ${mode} a session of somebody with ${whose} (roles: ${namesOf(roles)})`;
  return { ok: false, reason };
}

function modesOf(
  roles: readonly Role[],
  ownerRoles: readonly string[],
  side: 'allow' | 'deny',
): readonly JoinMode[] {
  return roles
    .flatMap((role) => role[side].joinSessions ?? [])
    .filter((policy) => appliesTo(policy, ownerRoles))
    .flatMap(({ modes }) => modes)
    .flatMap((mode) => (mode === '*' ? joinModes : [mode]));
}

function appliesTo({ kinds, roles }: JoinPolicy, ownerRoles: readonly string[]): boolean {
  const ofShells = kinds.some((kind) => kind === 'ssh' || kind === '*');
  return ofShells && ownerRoles.some((owned) => roles.some((pattern) => matches(pattern, owned)));
}

/** `*` stands for any text, also for none; every other character for itself. */
function matches(pattern: string, name: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  if (rest.length === 0) return pattern === name;
  if (!name.startsWith(first)) return false;
  const last = rest.pop() ?? '';
  // The leftmost fit of each part leaves most room for those behind it.
  let at = first.length;
  for (const part of rest) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.length - at >= last.length && name.endsWith(last);
}

function namesOf(roles: readonly Role[]): string {
  return roles.length === 0
    ? 'none'
    : roles
        .map(({ name }) => name)
        .sort()
        .join(', ');
}
