// The roles every cluster has without anybody making them. A stored role of the same name takes their place.
import { accessRole, type Role, type RoleConditions } from './role.ts';

const nothing: RoleConditions = { logins: [], nodeLabels: {} };

/** Administer: users, roles, hosts, tokens, locks, authorities. Whoever may change users may become anybody. */
export const editorRole: Role = {
  name: 'editor',
  allow: {
    ...nothing,
    rules: [
      {
        resources: [
          ...['user', 'role', 'token', 'node', 'proxy', 'lock', 'cert_authority', 'cluster_settings'],
          ...['auth_server', 'oidc', 'github', 'static_host_user'],
        ] as const,
        verbs: ['*'],
      },
    ],
  },
  deny: nothing,
  options: {},
};

/** Look: the audit log and recordings. */
export const auditorRole: Role = {
  name: 'auditor',
  allow: { ...nothing, rules: [{ resources: ['event', 'session'], verbs: ['list', 'read'] }] },
  deny: nothing,
  options: {},
};

export const presetRoles: readonly Role[] = [accessRole, auditorRole, editorRole];

export function presetRole(name: string): Role | undefined {
  return presetRoles.find((role) => role.name === name);
}
