// The access decision: a pure function of roles, traits, the login asked for and the node. No I/O, no clock.

import { type Lock, lockOn, lockReason } from '@sallyport/contracts/api/lock.ts';
import { loginName } from '@sallyport/contracts/api/resources.ts';
import { joinLogin } from '@sallyport/contracts/api/session-trackers.ts';
import {
  type LossPolicy,
  lossPolicies,
  type RecordedKind,
  type RecordSession,
  recordedKinds,
} from '../ca/identity.ts';
import type { HostUserMode, LabelSelector, Role, RoleConditions } from './role.ts';
import type { SessionMfa } from './session-mfa.ts';

/** The node a session is asked of, as far as roles and locks can see it. */
export interface AccessNode {
  readonly labels: Readonly<Record<string, string>>;
  /** Labels whose command gave no value: no role allows by them, every role that denies by them denies. */
  readonly unknownLabels?: ReadonlySet<string> | undefined;
  readonly hostUuid?: string | undefined;
  readonly hostname?: string | undefined;
}

export interface AccessQuestion {
  readonly user: string;
  readonly roles: readonly Role[];
  readonly traits: Readonly<Record<string, readonly string[]>>;
  readonly login: string;
  readonly node: AccessNode;
  /** Second factor the user logged in with, where it is known. */
  readonly mfaDevice?: string | undefined;
  /** The cluster asks for the second factor at each session, whatever the roles say. Default: no. */
  readonly requireSessionMfa?: boolean | undefined;
  /** What the certificate proves of a second factor for this very session; absent: nothing. */
  readonly sessionMfa?: Pick<SessionMfa, 'node' | 'login'> | undefined;
  /** When the certificate was made: some locks are on older ones only. */
  readonly issued?: Date | undefined;
  readonly locks: readonly Lock[];
  /** For locks that end. */
  readonly now: Date;
}

export type AccessDecision =
  | ({
      readonly ok: true;
      /** The roles that granted it, sorted. */
      readonly grantedBy: readonly string[];
      /** The account is made where the host lacks it. `undefined`: it is not. */
      readonly hostUser: HostUserGrant | undefined;
    } & SessionOptions)
  | {
      readonly ok: false;
      readonly reason: string;
      /** All that is missing: the second factor for this session. */
      readonly needsMfa?: true;
    };

/** What sessions of somebody with these roles are like, whatever the node. */
export interface SessionOptions {
  /** Union over all the user's roles; where none says anything, command + network. */
  readonly kinds: readonly RecordedKind[];
  /** The strictest of all the user's roles. */
  readonly lossPolicy: LossPolicy;
  readonly recordSession: RecordSession;
  /** The smallest of the roles' limits, as are the next two. `undefined`: none has one. */
  readonly maxSessionTtlMs: number | undefined;
  readonly maxSessions: number | undefined;
  readonly clientIdleTimeoutMs: number | undefined;
  /** True when any role says so. `undefined`: no role says anything, the cluster's setting holds. */
  readonly disconnectExpiredCert: boolean | undefined;
  readonly portForwarding: boolean;
  readonly forwardAgent: boolean;
  readonly x11Forwarding: boolean;
  readonly sshFileCopy: boolean;
  /** Some role asks for the second factor at each session. */
  readonly requireSessionMfa: boolean;
}

const defaultKinds: readonly RecordedKind[] = ['command', 'network'];

/**
 * One role that denies outweighs all that allow; allow needs login and labels in the same role. The order of
 * roles means nothing. `root` of a role cannot be combined with the labels of another.
 */
export function decideAccess(question: AccessQuestion): AccessDecision {
  const { roles, traits, login, node } = question;
  const lock = lockOn(subjectOf(question), question.locks, question.now);
  if (lock !== undefined) return { ok: false, reason: lockReason(lock) };
  if (roles.length === 0) return { ok: false, reason: 'the user has no role' };
  const denying = names(roles.filter((role) => denies(role.deny, traits, login, node)));
  if (denying.length > 0) return { ok: false, reason: `denied by role ${denying.join(', ')}` };
  const granting = names(roles.filter((role) => allows(role.allow, traits, login, node)));
  if (granting.length > 0)
    return (
      mfaRefusal(question) ?? {
        ...{ ok: true, grantedBy: granting, hostUser: hostUserGrant(roles, traits, node) },
        ...sessionOptions(roles),
      }
    );
  const knownLogin = roles.some((role) => expandLogins(role.allow.logins, traits).includes(login));
  const all = names(roles).join(', ');
  const what = knownLogin ? `login "${login}" on this node` : `login "${login}"`;
  return { ok: false, reason: `no role allows ${what} (roles: ${all})` };
}

/**
 * May somebody come in who only joins sessions of others? They need no login here. Locks and denials hold all the
 * same; which sessions they may join is decided at each.
 */
export function decideJoiner(question: Omit<AccessQuestion, 'login'>): AccessDecision {
  const { roles, traits, node } = question;
  const lock = lockOn(subjectOf({ ...question, login: joinLogin }), question.locks, question.now);
  if (lock !== undefined) return { ok: false, reason: lockReason(lock) };
  if (roles.length === 0) return { ok: false, reason: 'the user has no role' };
  const denying = names(roles.filter((role) => denies(role.deny, traits, joinLogin, node)));
  if (denying.length > 0) return { ok: false, reason: `denied by role ${denying.join(', ')}` };
  const refusal = mfaRefusal({ ...question, login: joinLogin });
  if (refusal !== undefined) return refusal;
  const granting = names(roles.filter(({ allow }) => allow.joinSessions !== undefined));
  return { ok: true, grantedBy: granting, hostUser: undefined, ...sessionOptions(roles) };
}

/** Allowed, if perhaps with the second factor. */
export function mayReach(decision: AccessDecision): boolean {
  return decision.ok || decision.needsMfa === true;
}

/**
 * A certificate made for one session is good there and nowhere else, asked for or not: whoever takes it from one node
 * has nothing for another.
 */
function mfaRefusal(question: AccessQuestion): Extract<AccessDecision, { ok: false }> | undefined {
  const { roles, node, login, sessionMfa, requireSessionMfa } = question;
  if (sessionMfa === undefined) {
    const asking = names(roles.filter(({ options }) => options.requireSessionMfa === true));
    if (asking.length === 0 && requireSessionMfa !== true) return undefined;
    const who = asking.length > 0 ? `role ${asking.join(', ')}` : 'the cluster';
    return { ok: false, needsMfa: true, reason: `${who} asks for the second factor at each session` };
  }
  if (sessionMfa.node === node.hostUuid && sessionMfa.login === login) return undefined;
  return { ok: false, reason: 'the certificate is for one session of another node or login' };
}

function subjectOf({ user, roles, login, node, mfaDevice, issued }: AccessQuestion) {
  const { hostUuid, hostname } = node;
  return { user, roles: roles.map((role) => role.name), login, hostUuid, hostname, mfaDevice, issued };
}

/**
 * Options join over all roles of the user, not over the granting ones only: a role that asks for more evidence
 * asks for it wherever the user goes. A limit of any role limits; what is forbidden by default needs one role
 * that allows it; what is allowed by default, one that forbids it.
 */
export function sessionOptions(roles: readonly Role[]): SessionOptions {
  const options = roles.map((role) => role.options);
  const stated = options.flatMap(({ enhancedRecording }) => (enhancedRecording ? [enhancedRecording] : []));
  const union = stated.length === 0 ? defaultKinds : stated.flat();
  const disconnect = options.flatMap(({ disconnectExpiredCert }) => disconnectExpiredCert ?? []);
  return {
    kinds: recordedKinds.filter((kind) => union.includes(kind)),
    lossPolicy: strictest(options.flatMap(({ lossPolicy }) => lossPolicy ?? [])),
    recordSession: joinRecordSession(options.map(({ recordSession }) => recordSession)),
    maxSessionTtlMs: smallest(options.map(({ maxSessionTtlMs }) => maxSessionTtlMs)),
    maxSessions: smallest(options.map(({ maxSessions }) => maxSessions)),
    clientIdleTimeoutMs: smallest(options.map(({ clientIdleTimeoutMs }) => clientIdleTimeoutMs)),
    disconnectExpiredCert: disconnect.length === 0 ? undefined : disconnect.includes(true),
    portForwarding: options.some(({ portForwarding }) => portForwarding === true),
    forwardAgent: options.some(({ forwardAgent }) => forwardAgent === true),
    x11Forwarding: options.some(({ x11Forwarding }) => x11Forwarding === true),
    sshFileCopy: !options.some(({ sshFileCopy }) => sshFileCopy === false),
    requireSessionMfa: options.some(({ requireSessionMfa }) => requireSessionMfa === true),
  };
}

function smallest(limits: readonly (number | undefined)[]): number | undefined {
  const stated = limits.filter((limit) => limit !== undefined);
  return stated.length === 0 ? undefined : Math.min(...stated);
}

/** Every login the roles give this user, sorted: the principals of a certificate. */
export function allowedLogins(roles: readonly Role[], traits: AccessQuestion['traits']): string[] {
  const denied = new Set(
    roles.flatMap((role) => (selectsEverything(role.deny) ? expandLogins(role.deny.logins, traits) : [])),
  );
  if (denied.has('*')) return [];
  const granted = roles.flatMap((role) => expandLogins(role.allow.logins, traits));
  return [...new Set(granted)].filter((login) => login !== '*' && !denied.has(login)).sort();
}

export interface HostUserGrant {
  readonly mode: Exclude<HostUserMode, 'off'>;
  readonly groups: readonly string[];
  readonly sudoers: readonly string[];
  readonly shell: string | undefined;
}

/**
 * Of the roles whose labels select the node: one that says `off` ends it; `keep` outweighs `insecure-drop`; groups and
 * lines of sudoers join, less what any role denies; the first shell of the roles in their order by name.
 */
export function hostUserGrant(
  roles: readonly Role[],
  traits: AccessQuestion['traits'],
  node: AccessNode,
): HostUserGrant | undefined {
  const here = roles
    .filter(({ allow }) => selects(allow.nodeLabels, node))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const modes = here.flatMap(({ options }) => options.createHostUserMode ?? []);
  if (modes.length === 0 || modes.includes('off')) return undefined;
  const deniedGroups = new Set(roles.flatMap(({ deny }) => expandLogins(deny.hostGroups ?? [], traits)));
  const deniedSudoers = new Set(roles.flatMap(({ deny }) => deny.hostSudoers ?? []));
  const groups = here.flatMap(({ allow }) => expandLogins(allow.hostGroups ?? [], traits));
  const sudoers = here.flatMap(({ allow }) => allow.hostSudoers ?? []);
  return {
    mode: modes.includes('keep') ? 'keep' : 'insecure-drop',
    groups: [...new Set(groups)].filter((group) => !deniedGroups.has(group)),
    sudoers: deniedSudoers.has('*') ? [] : [...new Set(sudoers)].filter((line) => !deniedSudoers.has(line)),
    shell: here.flatMap(({ options }) => options.createHostUserDefaultShell ?? [])[0],
  };
}

/** A deny that is not tied to particular nodes can be carried out when the certificate is made. */
function selectsEverything({ nodeLabels }: RoleConditions): boolean {
  return Object.keys(nodeLabels).length === 0 || nodeLabels['*']?.includes('*') === true;
}

function allows(
  allow: RoleConditions,
  traits: AccessQuestion['traits'],
  login: string,
  node: AccessNode,
): boolean {
  // `*` is no login an allow can give: it would make every account of the host a matter of one character.
  return (
    login !== '*' && expandLogins(allow.logins, traits).includes(login) && selects(allow.nodeLabels, node)
  );
}

/** A deny with logins only holds on every node; with labels only, for every login. */
function denies(
  deny: RoleConditions,
  traits: AccessQuestion['traits'],
  login: string,
  node: AccessNode,
): boolean {
  const hasLogins = deny.logins.length > 0;
  const hasLabels = Object.keys(deny.nodeLabels).length > 0;
  if (!hasLogins && !hasLabels) return false;
  const logins = expandLogins(deny.logins, traits);
  const loginHit = !hasLogins || logins.includes(login) || logins.includes('*');
  return loginHit && (!hasLabels || selects(deny.nodeLabels, node, true));
}

/** Every key must match. An empty selector selects nothing: access is said, not left out. */
export function selects(selector: LabelSelector, node: AccessNode, unknownMatches = false): boolean {
  const entries = Object.entries(selector);
  const matches = ([key, values]: [string, readonly string[]]) =>
    node.unknownLabels?.has(key) ? unknownMatches : labelMatches(key, values, node.labels);
  return entries.length > 0 && entries.every(matches);
}

function labelMatches(key: string, values: readonly string[], labels: AccessNode['labels']): boolean {
  if (key === '*') return values.includes('*');
  if (!Object.hasOwn(labels, key)) return false;
  return values.includes('*') || values.includes(labels[key] ?? '');
}

/** `{{internal.logins}}` (and `{{traits.x}}`-like forms) stand for the user's own lists. */
function expandLogins(logins: readonly string[], traits: AccessQuestion['traits']): string[] {
  return logins.flatMap((login) => {
    const trait = /^\{\{\s*(?:internal|external)\.([A-Za-z0-9_-]+)\s*\}\}$/.exec(login)?.[1];
    if (trait === undefined) return [login];
    return Object.hasOwn(traits, trait) ? (traits[trait] ?? []).filter(isLogin) : [];
  });
}

/** An identity provider's word may hold anything; a leading dash would be an option to some program one day. */
function isLogin(value: string): boolean {
  return loginName.safeParse(value).success;
}

function strictest(policies: readonly LossPolicy[]): LossPolicy {
  const ranks = policies.map((policy) => lossPolicies.indexOf(policy));
  return lossPolicies[Math.max(0, ...ranks)] ?? 'strict';
}

/** best_effort only when a role says so and none says strict; silence means strict. */
function joinRecordSession(said: readonly (RecordSession | undefined)[]): RecordSession {
  return said.includes('best_effort') && !said.includes('strict') ? 'best_effort' : 'strict';
}

function names(roles: readonly Role[]): string[] {
  return roles.map((role) => role.name).sort();
}
