// The authorities of a cluster with several auth servers, in the store they share:
//   ca/state          which generation is which, and the phase
//   ca/keys/<name>    JSON {ssh, tls}: the texts that are files elsewhere
// State and keys of a step are one commit: of two servers that start, or rotate, at once, one does it and the other
// takes what is there. Sealing what is secret is the store's business (store/sealed-store.ts).
import { AppError } from '@sallyport/contracts/errors.ts';
import { z } from 'zod';
import type { KeyTexts } from '../ca/authority-files.ts';
import {
  type AuthorityKeys,
  type AuthorityState,
  type AuthorityVault,
  firstState,
  generationAfter,
  generationsOf,
  type HeldAuthorities,
  parseState,
  raced,
  refuseOtherCluster,
  stateText,
  type VaultOrder,
} from '../ca/authority-vault.ts';
import { generateEd25519, readPrivateKey, writePrivateKey } from '../ca/openssh-private-key.ts';
import { parseOrExplain } from '../ca/private-key-file.ts';
import { KeySigner } from '../ca/signature.ts';
import { readTlsAuthority } from '../ca/tls-authority.ts';
import { makeTlsAuthority } from '../ca/tls-issue.ts';
import type { Store, Write } from './store/store.ts';
import { keepWatching } from './store-watch.ts';

export interface AuthorityTexts {
  readonly state: AuthorityState;
  readonly keys: ReadonlyMap<string, KeyTexts>;
}

export interface StoredAuthoritiesOptions {
  readonly store: Store;
  /** What an empty store begins with: authorities this host had as files. `undefined`: new ones are made. */
  readonly seed?: () => Promise<AuthorityTexts | undefined>;
}

const stateKey = 'ca/state';
const keysPrefix = 'ca/keys/';
const keyTexts = z.strictObject({ ssh: z.string(), tls: z.string() });
/** Steps of others that came in between two reads. */
const maxRaces = 10;

export class StoredAuthorities implements AuthorityVault {
  readonly #store: Store;
  readonly #seed: () => Promise<AuthorityTexts | undefined>;

  constructor({ store, seed = async () => undefined }: StoredAuthoritiesOptions) {
    this.#store = store;
    this.#seed = seed;
  }

  async open(order: VaultOrder): Promise<HeldAuthorities> {
    const found = await this.#read(order.clusterName);
    if (found !== undefined) return found;
    if (!order.create) throw nothing();
    const { state, keys } = (await this.#seed()) ?? (await freshTexts(order));
    refuseOtherCluster(state, order.clusterName);
    try {
      await this.#store.commit([
        { type: 'put', key: stateKey, value: stateText(state), expect: 'nothing' },
        ...[...keys].map(([name, texts]) => putKeys(name, texts)),
      ]);
    } catch (error) {
      // Another server was first: its authorities are the cluster's.
      if (AppError.from(error).kind !== 'conflict') throw error;
    }
    const held = await this.#read(order.clusterName);
    if (held === undefined) throw nothing();
    return held;
  }

  async advance(held: HeldAuthorities, next: AuthorityState, order: VaultOrder): Promise<HeldAuthorities> {
    const keys = new Map<string, AuthorityKeys>();
    const writes: Write[] = [
      { type: 'put', key: stateKey, value: stateText(next), expect: { revision: held.revision } },
    ];
    for (const { name, type } of generationsOf(next)) {
      const kept = held.keys.get(name);
      if (kept !== undefined) {
        keys.set(name, kept);
        continue;
      }
      const texts = await makeTexts(type, order);
      keys.set(name, parseTexts(name, texts));
      writes.push(putKeys(name, texts));
    }
    // Nobody trusts them any more, and nobody should find them.
    for (const name of held.keys.keys())
      if (!keys.has(name)) writes.push({ type: 'delete', key: keysPrefix + name });
    const [state] = await this.#store.commit(writes).catch((error: unknown) => {
      throw AppError.from(error).kind === 'conflict' ? raced(error) : error;
    });
    return { state: next, keys, revision: state?.revision ?? '' };
  }

  async freshGeneration(type: 'host' | 'user'): Promise<string> {
    const items = await this.#store.range(keysPrefix);
    return generationAfter(
      type,
      items.map(({ key }) => key.slice(keysPrefix.length)),
    );
  }

  watch(listener: () => void): () => void {
    return keepWatching(this.#store, [stateKey], listener);
  }

  async #read(clusterName: string): Promise<HeldAuthorities | undefined> {
    let missing = '';
    for (let race = 0; race < maxRaces; race++) {
      const item = await this.#store.get(stateKey);
      if (item === undefined) return undefined;
      const state = parseState(item.value, `${stateKey} of the store`);
      refuseOtherCluster(state, clusterName);
      const keys = await this.#readKeys(state);
      if (typeof keys !== 'string') return { state, keys, revision: item.revision };
      // Gone between the two reads, by a rotation: then the state is another one, too.
      missing = keys;
      if ((await this.#store.get(stateKey))?.revision === item.revision) break;
    }
    throw new AppError('not_found', 'ca.no_key', `There is no key at ${keysPrefix}${missing} of the store.`, {
      hint: 'Restore the database from a backup: a new key would cut off every host and user.',
    });
  }

  /** Or the first that is missing. */
  async #readKeys(state: AuthorityState): Promise<ReadonlyMap<string, AuthorityKeys> | string> {
    const keys = new Map<string, AuthorityKeys>();
    for (const { name } of generationsOf(state)) {
      const item = await this.#store.get(keysPrefix + name);
      if (item === undefined) return name;
      keys.set(name, parseItem(name, item.value));
    }
    return keys;
  }
}

async function freshTexts(order: VaultOrder): Promise<AuthorityTexts> {
  const state = firstState(order.clusterName);
  const keys = new Map<string, KeyTexts>();
  for (const { name, type } of generationsOf(state)) keys.set(name, await makeTexts(type, order));
  return { state, keys };
}

async function makeTexts(type: 'host' | 'user', { clusterName, now }: VaultOrder): Promise<KeyTexts> {
  const tls = await makeTlsAuthority({ type, cluster: clusterName, now: now() });
  return { ssh: writePrivateKey(generateEd25519(), ''), tls };
}

function putKeys(name: string, texts: KeyTexts): Write {
  return { type: 'put', key: keysPrefix + name, value: JSON.stringify(texts), expect: 'nothing' };
}

function parseItem(name: string, value: string): AuthorityKeys {
  const where = `${keysPrefix}${name} of the store`;
  return parseTexts(
    name,
    parseOrExplain(where, () => {
      try {
        return keyTexts.parse(JSON.parse(value));
      } catch (cause) {
        throw new AppError('bad_input', 'ca.bad_encoding', 'the keys cannot be read', { cause });
      }
    }),
  );
}

function parseTexts(name: string, { ssh, tls }: KeyTexts): AuthorityKeys {
  return parseOrExplain(`${keysPrefix}${name} of the store`, () => ({
    ssh: new KeySigner(readPrivateKey(ssh)),
    tls: readTlsAuthority(tls),
  }));
}

function nothing(): AppError {
  return new AppError('not_found', 'ca.no_key', 'There are no authorities in the store yet.', {
    hint: 'The auth service makes them when it first starts: run `teleport start`.',
  });
}
