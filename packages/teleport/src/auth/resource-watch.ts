// What hosts keep knowing: resources of the kinds they ask for, all first, then each change.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type ResourceDocumentKind, resourceKinds } from '@sallyport/contracts/api/resources.ts';
import type { ResultOf } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { CallContext, Caller } from './api/handler.ts';
import { parseItem, type StoredKind } from './documents.ts';
import { hostKey } from './join/hosts.ts';
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
  const changes = watchBoth(parts, kinds, caller, signal);
  for (const kind of kinds) {
    for (const resource of await resources.all(kind)) yield { type: 'put', resource };
  }
  yield { type: 'synced' };
  for await (const change of changes) {
    const line = toLine(change);
    // A stream outlives the moment it was allowed in: a lock, or the host's removal, ends it.
    if (line === undefined || isLock(line)) {
      const verdict = await parts.directory.admits(caller);
      if (!verdict.ok) throw new AppError('denied', 'auth.not_admitted', `Not allowed: ${verdict.reason}.`);
    }
    if (line !== undefined && kinds.includes(kindOf(line))) yield line;
  }
}

type ChangeLine = Extract<WatchLine, { type: 'put' | 'delete' }>;

function kindOf(line: ChangeLine): ResourceDocumentKind {
  return line.type === 'put' ? line.resource.kind : line.kind;
}

function isLock(line: ChangeLine): boolean {
  return kindOf(line) === 'lock';
}

/** The store's changes and those of the authorities, which are files, in one queue. */
function watchBoth(
  parts: Parts,
  kinds: readonly ResourceDocumentKind[],
  caller: Caller,
  signal: AbortSignal,
): WatchQueue {
  const stored = kinds.filter((kind) => kind !== 'cert_authority' && kind !== 'cluster_settings');
  const asked = stored.map((kind) => `${kind}/`);
  const own = caller.kind === 'host' ? [hostKey(caller.hostUuid)] : [];
  const prefixes = [...new Set([...asked, 'lock/', ...own])];
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

/** `undefined`: the caller's own registration, which is no resource. */
function toLine(change: Change): ChangeLine | undefined {
  const [kind, name] = splitKey(change.type === 'put' ? change.item.key : change.key);
  if (kind === 'host') return undefined;
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

function splitKey(key: string): [StoredKind | 'cert_authority' | 'host', string] {
  const slash = key.indexOf('/');
  return [key.slice(0, slash) as StoredKind | 'cert_authority' | 'host', key.slice(slash + 1)];
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
