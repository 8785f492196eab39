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
import type { Change, Changes } from './store/store.ts';
import { WatchQueue } from './store/watch-queue.ts';

export type WatchLine = ResultOf<AuthRoutes['watch']>;

/** `alive` lines are the listener's. Ends when the caller hangs up; fails with `limit` when it reads too slowly. */
export async function* watchResources(
  parts: Parts,
  resources: ResourceService,
  { kinds: kindList, after }: WatchQuery,
  { caller, signal }: Pick<CallContext, 'caller' | 'signal'>,
): AsyncGenerator<WatchLine> {
  const kinds = parseKinds(kindList);
  const shown = (line: ChangeLine): ChangeLine => withPosition(parts, line, after !== undefined);
  for (const kind of kinds) await resources.demand(caller, kind, 'list');
  // Watching begins before reading: what changes in between comes again, which harms nobody.
  const changes = watchBoth(parts, kinds, caller, signal);
  const since = await changesSince(parts, kinds, caller, after);
  const position = since?.position ?? (await parts.store.position());
  if (since !== undefined) yield { type: 'resumed' };
  for (const kind of since === undefined ? kinds : kinds.filter(isNoChange)) {
    for (const resource of await resources.all(kind)) yield { type: 'put', resource };
  }
  for (const change of since?.changes ?? []) {
    const line = toLine(change);
    if (line !== undefined && kinds.includes(kindOf(line))) yield shown(line);
  }
  yield { type: 'synced', ...(after === undefined ? {} : { position: named(parts, position) }) };
  for await (const change of changes) {
    const line = toLine(change);
    // A stream outlives the moment it was allowed in: a lock, or the host's removal, ends it.
    if (line === undefined || isLock(line)) {
      const verdict = await parts.directory.admits(caller);
      if (!verdict.ok) throw new AppError('denied', 'auth.not_admitted', `Not allowed: ${verdict.reason}.`);
    }
    if (line !== undefined && kinds.includes(kindOf(line))) yield shown(line);
  }
}

interface WatchQuery {
  /** Separated by commas. */
  readonly kinds: string;
  readonly after?: string | undefined;
}

/** What the caller lacks; undefined: all of it. The built-in roles are those of a version, so a position is, too. */
async function changesSince(
  { store, version }: Parts,
  kinds: readonly ResourceDocumentKind[],
  caller: Caller,
  after = '',
): Promise<Changes | undefined> {
  const place = after.startsWith(`${version}~`) ? after.slice(version.length + 1) : '';
  return place === '' ? undefined : store.changesSince(place, prefixesOf(kinds, caller));
}

function named({ version }: Parts, position: string): string {
  return `${version}~${position}`;
}

function withPosition(parts: Parts, { position, ...line }: ChangeLine, isAsked: boolean): ChangeLine {
  return isAsked && position !== undefined ? { ...line, position: named(parts, position) } : line;
}

/** Not in the store, or not as it is told: a watch that goes on has them in full. */
function isNoChange(kind: ResourceDocumentKind): boolean {
  return kind === 'cert_authority' || kind === 'cluster_settings';
}

/** With what ends the watch: locks, and the removal of the caller. */
function prefixesOf(kinds: readonly ResourceDocumentKind[], caller: Caller): string[] {
  const asked = kinds.filter((kind) => !isNoChange(kind)).map((kind) => `${kind}/`);
  const own = caller.kind === 'host' ? [hostKey(caller.hostUuid)] : [];
  return [...new Set([...asked, 'lock/', ...own])];
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
  const changes = parts.store.watch({ prefixes: prefixesOf(kinds, caller), signal: stop.signal });
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
  const at = change.position === undefined ? {} : { position: change.position };
  if (change.type === 'put') {
    const { item } = change;
    if (kind === 'cert_authority') return { type: 'put', resource: JSON.parse(item.value) };
    return { type: 'put', resource: parseItem(item), ...at };
  }
  // A stored role that had the place of a built-in one uncovers it.
  const preset = kind === 'role' ? presetRole(name) : undefined;
  return preset === undefined
    ? { type: 'delete', kind, name, ...at }
    : { type: 'put', resource: toRoleDocument(preset), ...at };
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
