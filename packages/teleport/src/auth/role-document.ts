// Roles as documents ↔ roles as we decide with them.
import type { RoleDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { formatDuration, parseDuration } from '../config/duration.ts';
import type { Role, RoleConditions, RoleOptions } from './role.ts';
import { parseFilter } from './sharing/filter.ts';
import type { RequirePolicy } from './sharing/policies.ts';

type Spec = NonNullable<RoleDocument['spec']>;
type Conditions = NonNullable<Spec['allow'] | Spec['deny']>;
type Options = NonNullable<Spec['options']>;
type Requirements = NonNullable<NonNullable<Spec['allow']>['require_session_join']>;

const shortestTtlMs = 60_000;
/** Whoever says nothing for longer is not there. */
const longestSilenceMs = 300_000;

/** Throws AppError `auth.bad_resource` for what the shape alone does not say. */
export function toRole({ metadata, spec }: RoleDocument): Role {
  return {
    name: metadata.name,
    allow: toConditions(spec?.allow),
    deny: toConditions(spec?.deny),
    options: toOptions(spec?.options ?? {}),
  };
}

function toConditions(raw: Conditions = {}): RoleConditions {
  const selector = Object.entries(raw.node_labels ?? {}).map(([key, value]) => [
    key,
    Array.isArray(value) ? value : [value],
  ]);
  return {
    logins: raw.logins ?? [],
    nodeLabels: Object.fromEntries(selector) as RoleConditions['nodeLabels'],
    ...(raw.rules === undefined ? {} : { rules: raw.rules }),
    ...(raw.host_groups === undefined ? {} : { hostGroups: raw.host_groups }),
    ...(raw.host_sudoers === undefined ? {} : { hostSudoers: raw.host_sudoers }),
    ...(raw.join_sessions === undefined ? {} : { joinSessions: raw.join_sessions }),
    ...('require_session_join' in raw && raw.require_session_join !== undefined
      ? { requireSessionJoin: toRequirements(raw.require_session_join) }
      : {}),
  };
}

/** A filter that cannot be read is told when the role is written, not when somebody waits for it. */
function toRequirements(policies: Requirements): RequirePolicy[] {
  return policies.map(({ on_leave, silence_limit, ...policy }, index) => {
    const where = `spec.allow.require_session_join[${index}]`;
    try {
      parseFilter(policy.filter);
    } catch (thrown) {
      const { message, hint } = AppError.from(thrown);
      throw new AppError('bad_input', 'auth.bad_resource', `${where}.filter: ${message}`, {
        hint,
        cause: thrown,
      });
    }
    const limit = toSilenceLimit(silence_limit, where);
    return { ...policy, onLeave: on_leave ?? 'terminate', ...limit };
  });
}

function toSilenceLimit(text: string | undefined, where: string): Pick<RequirePolicy, 'silenceLimitMs'> {
  if (text === undefined) return {};
  const ms = parseDuration(text);
  if (ms !== undefined && ms <= longestSilenceMs) return { silenceLimitMs: ms };
  throw new AppError(
    'bad_input',
    'auth.bad_resource',
    `${where}.silence_limit: must be at most ${formatDuration(longestSilenceMs)}.`,
  );
}

function requirementsSpec(policies: readonly RequirePolicy[]): Requirements {
  return policies.map(({ onLeave, silenceLimitMs, kinds, modes, ...policy }) => ({
    ...policy,
    kinds: [...kinds],
    modes: [...modes],
    on_leave: onLeave,
    ...(silenceLimitMs === undefined ? {} : { silence_limit: formatDuration(silenceLimitMs) }),
  }));
}

function toOptions(options: Options): RoleOptions {
  const record = options.record_session;
  return {
    maxSessionTtlMs: toMs(options.max_session_ttl, 'max_session_ttl', shortestTtlMs),
    enhancedRecording: options.enhanced_recording,
    recordSession: typeof record === 'object' ? (record.ssh ?? record.default) : record,
    lossPolicy: options.loss_policy,
    portForwarding: options.port_forwarding,
    forwardAgent: options.forward_agent,
    x11Forwarding: options.permit_x11_forwarding,
    sshFileCopy: options.ssh_file_copy,
    maxSessions: options.max_sessions,
    createHostUserMode: toHostUserMode(options),
    createHostUserDefaultShell: options.create_host_user_default_shell,
    clientIdleTimeoutMs: toMs(options.client_idle_timeout, 'client_idle_timeout', 1000),
    disconnectExpiredCert: options.disconnect_expired_cert,
    requireSessionMfa: options.require_session_mfa,
  };
}

/** The older spelling says less; where both are there, it does not count. */
function toHostUserMode({ create_host_user_mode: mode, create_host_user: legacy }: Options) {
  if (mode !== undefined || legacy === undefined) return mode;
  return legacy ? 'insecure-drop' : 'off';
}

function toMs(text: string | undefined, key: string, least: number): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDuration(text) ?? 0;
  if (ms >= least) return ms;
  throw new AppError(
    'bad_input',
    'auth.bad_resource',
    `spec.options.${key}: must be a duration of at least ${formatDuration(least)}, such as 8h.`,
  );
}

export function toRoleDocument(role: Role): RoleDocument {
  return {
    kind: 'role',
    version: 'v7',
    metadata: { name: role.name },
    spec: present({
      allow: conditionsSpec(role.allow),
      deny: conditionsSpec(role.deny),
      options: optionsSpec(role.options),
    }),
  };
}

function optionsSpec(options: RoleOptions): Options {
  const duration = (ms: number | undefined) => (ms === undefined ? undefined : formatDuration(ms));
  return present({
    max_session_ttl: duration(options.maxSessionTtlMs),
    enhanced_recording: options.enhancedRecording && [...options.enhancedRecording],
    record_session: options.recordSession,
    loss_policy: options.lossPolicy,
    port_forwarding: options.portForwarding,
    forward_agent: options.forwardAgent,
    permit_x11_forwarding: options.x11Forwarding,
    ssh_file_copy: options.sshFileCopy,
    max_sessions: options.maxSessions,
    create_host_user_mode: options.createHostUserMode,
    create_host_user_default_shell: options.createHostUserDefaultShell,
    client_idle_timeout: duration(options.clientIdleTimeoutMs),
    disconnect_expired_cert: options.disconnectExpiredCert,
    require_session_mfa: options.requireSessionMfa,
  });
}

function conditionsSpec(conditions: RoleConditions): Spec['allow'] | undefined {
  const { logins, nodeLabels, hostGroups, hostSudoers, rules, joinSessions, requireSessionJoin } = conditions;
  const selector = Object.entries(nodeLabels).map(([key, values]) => [key, [...values]]);
  const spec = present({
    logins: logins.length === 0 ? undefined : [...logins],
    node_labels: selector.length === 0 ? undefined : Object.fromEntries(selector),
    host_groups: hostGroups && [...hostGroups],
    host_sudoers: hostSudoers && [...hostSudoers],
    rules: rules?.map((rule) => ({ resources: [...rule.resources], verbs: [...rule.verbs] })),
    join_sessions: joinSessions?.map(({ roles, kinds, modes, ...policy }) => ({
      ...policy,
      roles: [...roles],
      kinds: [...kinds],
      modes: [...modes],
    })),
    require_session_join: requireSessionJoin && requirementsSpec(requireSessionJoin),
  });
  return Object.keys(spec).length === 0 ? undefined : spec;
}

/** Without the keys that hold nothing: they would be printed. */
function present<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
