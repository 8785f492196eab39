// Users that exist on an identity provider's word: made at log-in, gone with their certificates. Decides whether a
// name is theirs to have; a user of the cluster's own is never taken over.
import type { UserDocument } from '@sallyport/contracts/api/resources.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { bounded, traitBounds } from './attributes.ts';
import type { IdentityProvider, Vouched } from './identity-provider.ts';

type CreatedBy = NonNullable<UserDocument['spec']['created_by']>;

/** Why this person may not have the name; undefined: they may. Pure. */
export function nameTaken(
  existing: UserDocument | undefined,
  provider: Pick<IdentityProvider, 'kind' | 'name'>,
  subject: string,
): string | undefined {
  if (existing === undefined) return undefined;
  const { created_by: owner } = existing.spec;
  const name = existing.metadata.name;
  if (owner === undefined)
    return `"${name}" is a user of the cluster's own, which no identity provider takes over`;
  if (owner.connector_kind !== provider.kind || owner.connector_name !== provider.name)
    return `"${name}" is a user of the identity provider ${owner.connector_name}`;
  return owner.subject === subject
    ? undefined
    : `"${name}" is another person of ${provider.name} at the moment`;
}

/** Whose second factors `credential/<name>` are: those of an earlier person of the name are not this one's. */
export function ownerOf({ connector_kind: kind, connector_name: name, subject }: CreatedBy): string {
  return `${kind}/${name}#${subject}`;
}

export interface SsoUserOptions {
  readonly vouched: Vouched;
  readonly provider: Pick<IdentityProvider, 'kind' | 'name'>;
  readonly existing: UserDocument | undefined;
  readonly now: Date;
}

export function ssoUser({ vouched, provider, existing, now }: SsoUserOptions): UserDocument {
  const { username, roles, attributes, subject } = vouched;
  return {
    kind: 'user',
    version: 'v2',
    metadata: { name: username },
    spec: {
      roles: [...roles],
      traits: bounded(attributes, traitBounds, ['logins', 'email', 'preferred_username', 'groups']),
      created: existing?.spec.created ?? now.toISOString(),
      created_by: {
        connector_kind: provider.kind,
        connector_name: provider.name,
        subject,
        time: now.toISOString(),
      },
    },
  };
}

/** An earlier log-in's certificates may live longer than these. */
export function livingUntil(
  user: UserDocument,
  existing: UserDocument | undefined,
  until: string,
): UserDocument {
  const before = existing?.metadata.expires ?? until;
  return { ...user, metadata: { ...user.metadata, expires: before > until ? before : until } };
}

export function userCreated(
  user: UserDocument,
  provider: Pick<IdentityProvider, 'kind' | 'name'>,
): EventDraft {
  const { name, expires } = user.metadata;
  return {
    event: 'user.create',
    code: 'T1002I',
    name,
    roles: [...user.spec.roles],
    connector: provider.name,
    ...(expires === undefined ? {} : { expires }),
    user: `${provider.kind}/${provider.name}`,
    user_kind: 3,
  };
}
