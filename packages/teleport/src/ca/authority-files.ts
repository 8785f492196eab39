// The authorities on disk: `<data_dir>/ca`, every file 0600.
//   host_ca, user_ca            SSH keys of the first generation (`.pub` beside them)
//   host_ca.tls, user_ca.tls    X.509 key and certificate of the same
//   host_ca-2, host_ca-2.tls …  those a rotation made
//   authorities.json            which generation is which, and the phase: the one file that is ever replaced, so that
//                               a rotation happens in one atomic step, both types and both formats at once
import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import {
  type AuthorityKeys,
  type AuthorityState,
  type AuthorityVault,
  firstState,
  generationAfter,
  generationName,
  generationsOf,
  type HeldAuthorities,
  parseState,
  raced,
  refuseOtherCluster,
  stateText,
  type VaultOrder,
} from './authority-vault.ts';
import {
  createPrivateFile,
  makePrivateDirectory,
  readPrivateFile,
  replacePrivateFile,
  syncDirectory,
} from './private-file.ts';
import { openPrivateKey, parseOrExplain } from './private-key-file.ts';
import { KeySigner } from './signature.ts';
import { readTlsAuthority, type TlsAuthority } from './tls-authority.ts';
import { makeTlsAuthority } from './tls-issue.ts';

/** For one auth host: its daemon, and tctl beside it. */
export class AuthorityFiles implements AuthorityVault {
  readonly #directory: string;

  constructor(dataDir: string) {
    this.#directory = join(dataDir, 'ca');
  }

  async open(order: VaultOrder): Promise<HeldAuthorities> {
    if (order.create) await makePrivateDirectory(this.#directory);
    const existing = await this.#readState();
    const state = existing?.state ?? firstState(order.clusterName);
    refuseOtherCluster(state, order.clusterName);
    // Only the first generation is made here: a later one that is missing was lost, and must be restored.
    const mayMake = (name: string) => order.create && !name.includes('-');
    const keys = await Promise.all(
      generationsOf(state).map(async ({ name, type }): Promise<[string, AuthorityKeys]> => {
        return [name, await this.#openKeys(name, type, { ...order, create: mayMake(name) })];
      }),
    );
    // Written after the keys it names: whoever finds it finds them.
    const revision = existing?.revision ?? (order.create ? await this.#writeState(state) : '');
    return { state, keys: new Map(keys), revision };
  }

  async advance(held: HeldAuthorities, next: AuthorityState, order: VaultOrder): Promise<HeldAuthorities> {
    const found = await this.#readState();
    if (found?.revision !== held.revision) throw raced();
    const keys = new Map<string, AuthorityKeys>();
    // Keys first, then the state that names them: a crash in between leaves keys that nobody trusts.
    for (const { name, type } of generationsOf(next)) {
      keys.set(name, held.keys.get(name) ?? (await this.#openKeys(name, type, { ...order, create: true })));
    }
    const revision = await this.#writeState(next);
    for (const name of held.keys.keys()) if (!keys.has(name)) await this.#removeKeys(name);
    return { state: next, keys, revision };
  }

  async freshGeneration(type: 'host' | 'user'): Promise<string> {
    return generationAfter(type, await this.#generations());
  }

  /** The data directory has one daemon, and tctl changes authorities through it. */
  watch(): () => void {
    return () => undefined;
  }

  /** The text of every file that the state needs, for a store that takes them over. `undefined`: there are none. */
  async texts(): Promise<{ state: AuthorityState; keys: ReadonlyMap<string, KeyTexts> } | undefined> {
    const found = await this.#readState();
    if (found === undefined) return undefined;
    const read = async (name: string) => {
      const text = await readPrivateFile(join(this.#directory, name));
      if (text !== undefined) return text;
      throw missing(join(this.#directory, name));
    };
    const keys = await Promise.all(
      generationsOf(found.state).map(async ({ name }): Promise<[string, KeyTexts]> => {
        return [name, { ssh: await read(name), tls: await read(`${name}.tls`) }];
      }),
    );
    return { state: found.state, keys: new Map(keys) };
  }

  async #readState(): Promise<{ state: AuthorityState; revision: string } | undefined> {
    const path = this.#statePath;
    const text = await readPrivateFile(path);
    if (text !== undefined) return { state: parseState(text, path), revision: digest(text) };
    await this.#refuseLostState();
    return undefined;
  }

  async #writeState(state: AuthorityState): Promise<string> {
    const text = stateText(state);
    await replacePrivateFile(this.#statePath, text);
    return digest(text);
  }

  get #statePath(): string {
    return join(this.#directory, 'authorities.json');
  }

  /** Without the file nobody knows which key is the active one, and a guess would cut the cluster off. */
  async #refuseLostState(): Promise<void> {
    const later = (await this.#generations()).find((name) => name.includes('-'));
    if (later === undefined) return;
    throw new AppError(
      'bad_input',
      'ca.bad_key_file',
      `${this.#statePath} is missing, but a rotation has made ${later}.`,
      {
        hint: 'Restore it from a backup: it says which of the keys beside it the cluster trusts.',
      },
    );
  }

  /** Also those that a crash left behind. */
  async #generations(): Promise<string[]> {
    const names = await readdir(this.#directory).catch(() => []);
    const stems = names.map((name) => name.replace(/\.(pub|tls)$/, ''));
    return [...new Set(stems)].filter((name) => generationName.safeParse(name).success);
  }

  async #openKeys(name: string, type: 'host' | 'user', order: VaultOrder): Promise<AuthorityKeys> {
    const path = join(this.#directory, name);
    const ssh = new KeySigner(await openPrivateKey(path, order));
    return { ssh, tls: await this.#openTls(`${path}.tls`, type, order) };
  }

  async #openTls(path: string, type: 'host' | 'user', order: VaultOrder): Promise<TlsAuthority> {
    const existing = await readPrivateFile(path);
    if (existing !== undefined) return parseOrExplain(path, () => readTlsAuthority(existing));
    if (!order.create) throw missing(path);
    await createPrivateFile(
      path,
      await makeTlsAuthority({ type, cluster: order.clusterName, now: order.now() }),
    );
    // Ours, or that of whoever was first.
    return this.#openTls(path, type, order);
  }

  /** The private keys of a retired generation: nobody trusts them any more, and nobody should find them. */
  async #removeKeys(name: string): Promise<void> {
    for (const suffix of ['', '.pub', '.tls'])
      await rm(join(this.#directory, `${name}${suffix}`), { force: true });
    await syncDirectory(this.#directory);
  }
}

/** As they lie in files: an OpenSSH private key; a PKCS#8 key with its certificate, PEM. */
export interface KeyTexts {
  readonly ssh: string;
  readonly tls: string;
}

function missing(path: string): AppError {
  return new AppError('not_found', 'ca.no_key', `There is no key at ${path}.`, {
    hint: 'The auth service makes it when it first starts.',
  });
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
