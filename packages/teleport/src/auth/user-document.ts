// Users and locks: from documents to what we decide with.
import type { LockDocument, UserDocument } from '@sallyport/contracts/api/resources.ts';
import { type Lock, lockTargets } from './lock.ts';
import type { User } from './user.ts';

export function toUser({ metadata, spec }: UserDocument, created: string): User {
  return {
    name: metadata.name,
    roles: spec.roles,
    traits: spec.traits ?? {},
    created: spec.created ?? created,
    ...(spec.created_by === undefined ? {} : { provider: spec.created_by.connector_name }),
  };
}

export function toLock({ metadata, spec }: LockDocument): Lock {
  const target: Readonly<Record<string, string>> = spec.target;
  const kind = lockTargets.find((each) => target[each] !== undefined) ?? 'user';
  return {
    name: metadata.name,
    target: { kind, value: target[kind] ?? '' },
    message: spec.message,
    expires: metadata.expires === undefined ? undefined : new Date(metadata.expires),
  };
}
