// What hosts keep knowing: resources of the kinds they ask for, all first, then each change.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type ResourceDocumentKind, resourceKinds } from '@sallyport/contracts/api/resources.ts';
import type { ResultOf } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { CallContext } from './api/handler.ts';
import { parseItem, type StoredKind } from './documents.ts';
import type { Parts } from './parts.ts';
import { presetRole } from './preset-roles.ts';
import type { ResourceService } from './resource-service.ts';
import { toRoleDocument } from './role-document.ts';
import type { Change } from './store/store.ts';
import { WatchQueue } from './store/watch-queue.ts';

export type WatchLine = ResultOf<AuthRoutes['watch']>;

/** `alive` lines are the listener's. Ends when the caller hangs up; fails with `limit` when it reads too slowly. */
export async function* watchResources(
  parts: Parts,
  resources: ResourceService,
  kindList: string,
  { caller, signal }: Pick<CallContext, 'caller' | 'signal'>,
): AsyncGenerator<WatchLine> {
  const kinds = parseKinds(kindList);
  for (const kind of kinds) await resources.demand(caller, kind, 'list');
  // Watching begins before reading: what changes in between comes again, which harms nobody.
  const changes = watchBoth(parts, kinds, signal);
  for (const kind of kinds) {
    for (const resource of await resources.all(kind)) yield { type: 'put', resource };
  }
  yield { type: 'synced' };
  for await (const change of changes) yield toLine(change);
}

/** The store's changes and those of the authorities, which are files, in one queue. */
function watchBoth(parts: Parts, kinds: readonly ResourceDocumentKind[], signal: AbortSignal): WatchQueue {
  const prefixes = kinds.filter((kind) => kind !== 'cert_authority').map((kind) => `${kind}/`);
  const stop = new AbortController();
  const unsubscribe = kinds.includes('cert_authority')
    ? parts.authorities.onChange(() => {
        for (const document of parts.authorities.documents()) {
          const key = `cert_authority/${document.metadata.name}`;
          const value = JSON.stringify(document);
          queue.push({ type: 'put', item: { key, value, revision: '', expires: undefined } });
        }
      })
    : () => undefined;
  const queue = new WatchQueue({ prefixes: [''], signal }, () => {
    stop.abort();
    unsubscribe();
  });
  const changes = parts.store.watch({ prefixes, signal: stop.signal });
  void pump(changes, queue);
  return queue;
}

async function pump(changes: AsyncIterable<Change>, queue: WatchQueue): Promise<void> {
  try {
    for await (const change of changes) queue.push(change);
    queue.end();
  } catch (error) {
    queue.fail(AppError.from(error));
  }
}

function toLine(change: Change): WatchLine {
  const [kind, name] = splitKey(change.type === 'put' ? change.item.key : change.key);
  if (change.type === 'put') {
    const { item } = change;
    if (kind === 'cert_authority') return { type: 'put', resource: JSON.parse(item.value) };
    return { type: 'put', resource: parseItem(item) };
  }
  // A stored role that had the place of a built-in one uncovers it.
  const preset = kind === 'role' ? presetRole(name) : undefined;
  return preset === undefined
    ? { type: 'delete', kind, name }
    : { type: 'put', resource: toRoleDocument(preset) };
}

function splitKey(key: string): [StoredKind | 'cert_authority', string] {
  const slash = key.indexOf('/');
  return [key.slice(0, slash) as StoredKind, key.slice(slash + 1)];
}

function parseKinds(text: string): ResourceDocumentKind[] {
  const words = [...new Set(text.split(',').map((word) => word.trim()))];
  return words.map((word) => {
    const kind = resourceKinds.find((each) => each === word);
    if (kind === undefined || kind === 'token')
      throw new AppError('bad_input', 'auth.bad_kind', `"${word}" cannot be watched.`);
    return kind;
  });
}
