// Users: from documents to what we decide with.
import type { UserDocument } from '@sallyport/contracts/api/resources.ts';
import { ownerOf } from './sso/sso-user.ts';
import type { User } from './user.ts';

export function toUser({ metadata, spec }: UserDocument, created: string): User {
  return {
    name: metadata.name,
    roles: spec.roles,
    traits: spec.traits ?? {},
    created: spec.created ?? created,
    ...(spec.created_by === undefined
      ? {}
      : { provider: spec.created_by.connector_name, owner: ownerOf(spec.created_by) }),
  };
}
