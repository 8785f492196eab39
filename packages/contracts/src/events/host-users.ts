// Accounts of a host that a node makes for its visitors, and takes away again.
import { z } from 'zod';
import { perhapsUser, server, user } from './blocks.ts';
import { define } from './event-kind.ts';
import { because, shown, where, who } from './phrase.ts';

/** `user` is for whom it was done, `login` the account. Absent user: the node tidied up. */
const account = {
  ...perhapsUser,
  ...server,
  mode: z.enum(['keep', 'insecure-drop', 'static']),
  error: z.string().optional(),
};
const rights = {
  groups: z.array(z.string()).optional(),
  sudoers: z.array(z.string()).optional().describe('lines of sudoers(5) that hold while it has sessions'),
};

interface Account {
  readonly login?: string | undefined;
  readonly user?: string | undefined;
  readonly error?: string | undefined;
  readonly server_hostname?: string | undefined;
}

const deed = (verb: string) => (e: Account) =>
  `account ${shown(e.login ?? '(unnamed)')} was ${verb}${e.user === undefined ? '' : ` for ${shown(e.user)}`}${where(e)}${because(e.error)}`;

export const hostUserCreated = define(
  'host_user.created',
  'THU00I',
  'A node made an account for somebody.',
  { ...account, ...rights, shell: z.string().optional() },
  deed('made'),
);
export const hostUserCreateFailure = define(
  'host_user.created',
  'THU00E',
  'A node could not make an account.',
  { ...account, ...rights, shell: z.string().optional() },
  deed('not made'),
);
export const hostUserUpdated = define(
  'host_user.updated',
  'THU02I',
  'An account that a node had made got the groups and sudoers of its next session.',
  { ...account, ...rights },
  deed('changed'),
);
export const hostUserDeleted = define(
  'host_user.deleted',
  'THU01I',
  'A node deleted an account it had made.',
  account,
  deed('deleted'),
);
export const hostUserDeleteFailure = define(
  'host_user.deleted',
  'THU01E',
  'An account could not be deleted yet; the node tries again.',
  account,
  deed('not deleted'),
);

/** The resource, not the account. */
const resource = { ...user, name: z.string().optional() };
const changed = (verb: string) => (e: { user: string; name?: string | undefined }) =>
  `${who(e)} ${verb} static host user ${shown(e.name ?? '(unnamed)')}`;

export const staticHostUserCreated = define(
  'static_host_user.created',
  'TSH00I',
  'A static host user was created.',
  resource,
  changed('created'),
);
export const staticHostUserUpdated = define(
  'static_host_user.updated',
  'TSH01I',
  'A static host user was changed.',
  resource,
  changed('changed'),
);
export const staticHostUserDeleted = define(
  'static_host_user.deleted',
  'TSH02I',
  'A static host user was deleted. Hosts keep the account.',
  resource,
  changed('deleted'),
);
