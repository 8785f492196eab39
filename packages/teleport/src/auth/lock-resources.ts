// Locks as people make them, and the one that stays when a user goes.
import type { LockDocument } from '@sallyport/contracts/api/resources.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Caller } from './api/handler.ts';
import { putDocument, readDocumentOf } from './documents.ts';
import { actorOf, type Parts } from './parts.ts';
import type { Condition, Write } from './store/store.ts';
import { maxTtlMs } from './user-certificates.ts';

export async function putLock(
  { journal, now }: Parts,
  document: LockDocument,
  expect: Condition,
  caller: Caller,
): Promise<void> {
  const { user } = actorOf(caller);
  const made = { created_by: user, created: now().toISOString() };
  const lock = { ...document, spec: { ...document.spec, ...made } };
  await journal.commit([putDocument(lock, { expect })], [lockCreated(lock, caller)]);
}

/**
 * Nodes do not know users, only certificates. So that those of a deleted user end with the user, a lock takes
 * their place until the last of them would have ended by itself.
 */
export function farewellLock(name: string, caller: Caller, now: Date): LockDocument {
  return {
    kind: 'lock',
    version: 'v2',
    metadata: { name: nameOfFarewell(name), expires: new Date(now.getTime() + maxTtlMs).toISOString() },
    spec: { target: { user: name }, message: 'the user was deleted', created_by: actorOf(caller).user },
  };
}

/** What locks the old user's certificates out stays, and does not lock the new user's. */
export async function outlive(parts: Parts, name: string): Promise<Write[]> {
  const lock = await readDocumentOf(parts.store, 'lock', nameOfFarewell(name));
  if (lock === undefined) return [];
  const issued_before = parts.now().toISOString();
  return [putDocument({ ...lock, spec: { ...lock.spec, issued_before } })];
}

export function lockCreated({ metadata, spec }: LockDocument, caller: Caller): EventDraft {
  return {
    event: 'lock.created',
    code: 'TLK00I',
    name: metadata.name,
    target: { ...spec.target },
    ...(spec.message === undefined ? {} : { message: spec.message }),
    ...(spec.issued_before === undefined ? {} : { issued_before: spec.issued_before }),
    ...(metadata.expires === undefined ? {} : { expires: metadata.expires }),
    ...actorOf(caller),
  };
}

const nameOfFarewell = (user: string) => `deleted.${user}`.slice(0, 128);
