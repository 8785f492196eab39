// What administrators do: users, devices, roles, joining hosts, locks, certificates.
import { z } from 'zod';
import { connection, instant, status, user } from './blocks.ts';
import { define } from './event-kind.ts';
import { because, shown, who } from './phrase.ts';

/** `user` is who did it, `name` whom or what it was done to. */
const named = { ...user, name: z.string().optional(), expires: instant.optional() };

interface Named {
  readonly user: string;
  readonly name?: string | undefined;
}

const did = (deed: string) => (e: Named) => `${who(e)} ${deed} ${shown(e.name ?? '(unnamed)')}`;

const account = {
  ...named,
  roles: z.array(z.string()).optional(),
  logins: z.array(z.string()).optional(),
  connector: z.string().optional().describe('local, or the identity provider'),
};

export const userCreate = define(
  'user.create',
  'T1002I',
  'A user was created.',
  account,
  did('created user'),
);
export const userUpdate = define(
  'user.update',
  'T1003I',
  'A user was changed.',
  account,
  did('changed user'),
);
export const userDelete = define('user.delete', 'T1004I', 'A user was deleted.', named, did('deleted user'));
export const userPasswordChange = define(
  'user.password_change',
  'T1005I',
  'A password was changed.',
  user,
  (e) => `${who(e)} changed their password`,
);

const device = {
  ...user,
  mfa_device_name: z.string().optional(),
  mfa_device_uuid: z.uuid().optional(),
  mfa_device_type: z.string().optional(),
};

export const mfaAdd = define(
  'mfa.add',
  'T1006I',
  'A second factor was added.',
  device,
  (e) => `${who(e)} added second factor ${shown(e.mfa_device_name ?? '(unnamed)')}`,
);
export const mfaDelete = define(
  'mfa.delete',
  'T1007I',
  'A second factor was removed.',
  device,
  (e) => `${who(e)} removed second factor ${shown(e.mfa_device_name ?? '(unnamed)')}`,
);

const mfaProof = {
  ...user,
  ...connection,
  ...status,
  flow: z.string().optional().describe('what it was asked for: session, add_device, remove_device'),
  subject: z.string().optional().describe('login@node of the session, or the name of the device'),
  mfa_device: z
    .looseObject({ mfa_device_name: z.string().optional(), mfa_device_uuid: z.string().optional() })
    .optional(),
  user_agent: z.string().optional(),
};

const forWhat = ({ subject }: { readonly subject?: string | undefined }) =>
  subject === undefined ? '' : ` for ${shown(subject)}`;

export const mfaProven = define(
  'mfa_auth_challenge.validate',
  'T1016I',
  'Somebody who was logged in proved their second factor anew.',
  mfaProof,
  (e) => `${who(e)} proved their second factor${forWhat(e)}`,
);
export const mfaNotProven = define(
  'mfa_auth_challenge.validate',
  'T1016W',
  'Somebody who was logged in did not prove their second factor.',
  mfaProof,
  (e) => `${who(e)} did not prove their second factor${forWhat(e)}${because(e.error)}`,
);

export const roleCreated = define(
  'role.created',
  'T9000I',
  'A role was created.',
  named,
  did('created role'),
);
export const roleDeleted = define(
  'role.deleted',
  'T9001I',
  'A role was deleted.',
  named,
  did('deleted role'),
);
export const roleUpdated = define(
  'role.updated',
  'T9002I',
  'A role was changed.',
  named,
  did('changed role'),
);

export const oidcCreated = define(
  'oidc.created',
  'T8100I',
  'An OpenID Connect provider was added.',
  named,
  did('created OIDC connector'),
);
export const oidcDeleted = define(
  'oidc.deleted',
  'T8101I',
  'An OpenID Connect provider was removed.',
  named,
  did('deleted OIDC connector'),
);
export const oidcUpdated = define(
  'oidc.updated',
  'T8102I',
  'An OpenID Connect provider was changed.',
  named,
  did('changed OIDC connector'),
);
export const githubCreated = define(
  'github.created',
  'T8000I',
  'GitHub was added as an identity provider.',
  named,
  did('created GitHub connector'),
);
export const githubDeleted = define(
  'github.deleted',
  'T8001I',
  'GitHub was removed as an identity provider.',
  named,
  did('deleted GitHub connector'),
);
export const githubUpdated = define(
  'github.updated',
  'T8002I',
  'GitHub as an identity provider was changed.',
  named,
  did('changed GitHub connector'),
);

export const joinTokenCreate = define(
  'join_token.create',
  'TJT00I',
  'A token for joining hosts was created.',
  { ...named, roles: z.array(z.string()).optional(), join_method: z.string().optional() },
  (e) => `${who(e)} created a join token${e.roles === undefined ? '' : ` for ${shown(e.roles.join(', '))}`}`,
);

const join = {
  ...user,
  user: z.string().optional(),
  host_id: z.string().optional(),
  node_name: z.string().optional(),
  role: z.string().optional(),
  method: z.string().optional(),
  token_name: z.string().optional().describe('masked'),
  success: z.boolean().optional(),
  error: z.string().optional(),
};

export const instanceJoin = define(
  'instance.join',
  'TJ002I',
  'A host joined the cluster.',
  join,
  (e) => `host ${shown(e.node_name ?? e.host_id ?? '(unnamed)')} joined the cluster`,
);
export const instanceJoinFailure = define(
  'instance.join',
  'TJ002E',
  'A host could not join the cluster.',
  join,
  (e) => `host ${shown(e.node_name ?? e.host_id ?? '(unnamed)')} could not join the cluster`,
);

const lock = {
  ...named,
  target: z.record(z.string(), z.string()).optional().describe('what is locked: user, role, login, node, …'),
  message: z.string().optional(),
  issued_before: instant.optional().describe('only certificates made before it are locked'),
};

export const lockCreated = define('lock.created', 'TLK00I', 'A lock was created.', lock, did('created lock'));
export const lockDeleted = define('lock.deleted', 'TLK01I', 'A lock was deleted.', lock, did('deleted lock'));

export const certCreate = define(
  'cert.create',
  'TC000I',
  'A certificate was issued.',
  {
    ...user,
    cert_type: z.enum(['user', 'host']).optional(),
    identity: z
      .strictObject({
        user: z.string().optional(),
        host_id: z.string().optional(),
        principals: z.array(z.string()).optional(),
        roles: z.array(z.string()).optional(),
        serial: z.string().optional(),
        fingerprint: z.string().optional().describe('of the certified key, SHA256:…'),
        valid_after: instant.optional(),
        expires: instant.optional(),
        source_address: z.array(z.string()).optional(),
      })
      .optional(),
  },
  (e) =>
    `a ${e.cert_type ?? 'user'} certificate was issued for ${shown(e.identity?.user ?? e.identity?.host_id ?? who(e))}`,
);
