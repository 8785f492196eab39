// A document that goes, with what goes with it.
import type { ConnectorKind } from '@sallyport/contracts/api/connectors.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { keyOf } from './documents.ts';
import type { Parts } from './parts.ts';
import { presetRole } from './preset-roles.ts';
import { missing } from './resource-errors.ts';
import type { Write } from './store/store.ts';

/** Resolves to the name; rejects with `auth.not_found` when there is none. */
export async function removeResource(
  { journal }: Parts,
  kind: 'user' | 'role' | 'lock' | 'proxy' | 'auth_server' | 'static_host_user' | ConnectorKind,
  name: string,
  more: readonly Write[],
  told: readonly EventDraft[],
): Promise<string> {
  try {
    const gone: Write = { type: 'delete', key: keyOf(kind, name), expect: 'something' };
    await journal.commit([gone, ...more], told);
    return name;
  } catch (error) {
    if (AppError.from(error).kind !== 'conflict') throw error;
    if (kind === 'role' && presetRole(name) !== undefined)
      throw new AppError('conflict', 'auth.preset_role', `The role "${name}" is built in.`, {
        cause: error,
      });
    throw missing(kind, name);
  }
}
