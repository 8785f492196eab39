// Everything of one store into another, and then whether it is all there. Nothing may write to the source meanwhile;
// should something do, the comparison at the end tells. Values are moved as they are: what is sealed stays sealed.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Item, Store } from './store.ts';

export interface CloneOptions {
  /** Commits on their way at once. */
  readonly parallel: number;
  /** Replace what is in the target under the same key. */
  readonly force: boolean;
  readonly onProgress?: (items: number) => void;
}

export interface CloneResult {
  /** Items that were written. */
  readonly items: number;
  /** Items that were found the same in both. */
  readonly verified: number;
  /** Items that expired between the two looks. */
  readonly expired: number;
  /** Items of the target that the source has not (with `force`). */
  readonly others: number;
}

const pageSize = 200;

export async function cloneStore(from: Store, to: Store, options: CloneOptions): Promise<CloneResult> {
  const [something] = await to.range('', { limit: 1 });
  if (something !== undefined && !options.force) {
    throw new AppError('conflict', 'store.not_empty', 'The store to be written is not empty.', {
      hint: 'Give it an empty one. `force: true` would replace what is there under the same keys, and leave the rest.',
    });
  }
  const items = await copy(from, to, options);
  const { different, ...compared } = await compare(from, to);
  if (different.length === 0) return { items, ...compared };
  const some = different.slice(0, 5).join(', ');
  throw new AppError('conflict', 'store.clone_differs', `${different.length} items differ: ${some}.`, {
    hint: 'Something wrote to one of the stores. Stop every auth server, and clone again into an empty store.',
  });
}

async function copy(from: Store, to: Store, { parallel, force, onProgress }: CloneOptions): Promise<number> {
  const running = new Set<Promise<unknown>>();
  let items = 0;
  for await (const page of pages(from)) {
    const expect = force ? 'anything' : 'nothing';
    const writes = page.map(
      ({ key, value, expires }) => ({ type: 'put', key, value, expires, expect }) as const,
    );
    const commit = to.commit(writes).finally(() => running.delete(commit));
    running.add(commit);
    // Told below; until then nobody may listen.
    commit.catch(() => undefined);
    if (running.size >= parallel) await Promise.race(running);
    items += page.length;
    onProgress?.(items);
  }
  await Promise.all(running);
  return items;
}

async function* pages(store: Store): AsyncGenerator<readonly Item[]> {
  for (let after = ''; ; ) {
    const page = await store.range('', { after, limit: pageSize });
    const last = page.at(-1);
    if (last === undefined) return;
    yield page;
    after = last.key;
  }
}

/** Both are walked in the order of keys, as one merges. */
async function compare(from: Store, to: Store) {
  const [left, right] = [each(from), each(to)];
  const different: string[] = [];
  let [verified, expired, others] = [0, 0, 0];
  let [source, target] = [await left.next(), await right.next()];
  while (source.done !== true || target.done !== true) {
    const order = source.done ? 1 : target.done ? -1 : compareBytes(source.value.key, target.value.key);
    if (order < 0 && source.done !== true) {
      // One that ran out meanwhile is gone from either side at its own time.
      if (isOver(source.value)) expired++;
      else different.push(source.value.key);
    } else if (order > 0 && target.done !== true) {
      if (isOver(target.value)) expired++;
      else others++;
    } else if (source.done !== true && target.done !== true) {
      if (isSame(source.value, target.value)) verified++;
      else different.push(source.value.key);
    }
    if (order <= 0) source = await left.next();
    if (order >= 0) target = await right.next();
  }
  return { verified, expired, others, different };
}

async function* each(store: Store): AsyncGenerator<Item, undefined> {
  for await (const page of pages(store)) yield* page;
  return undefined;
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function isSame(a: Item, b: Item): boolean {
  return a.value === b.value && a.expires?.getTime() === b.expires?.getTime();
}

function isOver({ expires }: Item): boolean {
  return expires !== undefined && expires.getTime() <= Date.now();
}
