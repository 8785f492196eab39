// Roles: those in the store, and those that are built in until one of the store has their name.
import type { RoleDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Caller } from './api/handler.ts';
import { listDocuments } from './documents.ts';
import { actorOf, type Parts } from './parts.ts';
import { presetRole, presetRoles } from './preset-roles.ts';
import { removeResource } from './resource-removal.ts';
import { toRoleDocument } from './role-document.ts';
import type { Store } from './store/store.ts';

export async function listRoles(store: Store): Promise<readonly RoleDocument[]> {
  const stored = await listDocuments(store, 'role');
  const names = new Set(stored.map(({ metadata }) => metadata.name));
  const presets = presetRoles.filter(({ name }) => !names.has(name)).map(toRoleDocument);
  return [...stored, ...presets].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

/** A role that somebody has stays: without it their log-ins would be refused. */
export async function deleteRole(parts: Parts, name: string, caller: Caller): Promise<string> {
  const users = await listDocuments(parts.store, 'user');
  const holders = users.filter(({ spec }) => spec.roles.includes(name)).map(({ metadata }) => metadata.name);
  const becomesPreset = presetRole(name) !== undefined;
  if (holders.length > 0 && !becomesPreset) {
    const some = holders.slice(0, 5).join(', ');
    throw new AppError(
      'conflict',
      'auth.role_in_use',
      `The role "${name}" belongs to ${holders.length} user(s): ${some}.`,
      { hint: 'Give these users other roles first.' },
    );
  }
  return removeResource(
    parts,
    'role',
    name,
    [],
    [{ event: 'role.deleted', code: 'T9001I', name, ...actorOf(caller) }],
  );
}
