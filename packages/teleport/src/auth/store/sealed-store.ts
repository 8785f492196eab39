// Secrets in a store that others can read: a database has administrators, replicas and backups. Values below the
// prefixes named here are sealed with AES-256-GCM under a key the database never sees (storage.encryption_key_file).
// Keys, revisions and expiry stay in the clear, so everything else of the store works as without it.
//
//   sealed:1:<key id>:<base64url of nonce ‖ ciphertext ‖ tag>      authenticated with it: the item's key
//
// An item moved to another key, or changed, does not open. What was there before sealing began is read as it is, and
// sealed by sealAll().
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Change, Changes, Item, RangeOptions, Store, WatchOptions, Write } from './store.ts';

/** Keys of the authorities and of challenges; password hashes and secrets of second factors; of identity providers. */
export const secretPrefixes: readonly string[] = [
  'ca/keys/',
  'secret/',
  'credential/',
  'invite/',
  'oidc/',
  'github/',
  'sso-request/',
  'mfa-task-end/',
  'repeat/',
];

const nonceBytes = 12;
const tagBytes = 16;
const form = /^sealed:1:([0-9a-f]{16}):([\w-]+)$/;
/** Items sealed in one commit by sealAll. */
const batch = 200;

export class SealedStore implements Store {
  readonly #store: Store;
  readonly #key: SealingKey | undefined;
  readonly #prefixes: readonly string[];

  /** Without a key: nothing is sealed, and what is sealed already says that its key is needed. */
  constructor(store: Store, key: SealingKey | undefined, prefixes: readonly string[] = secretPrefixes) {
    this.#store = store;
    this.#key = key;
    this.#prefixes = prefixes;
  }

  async get(key: string): Promise<Item | undefined> {
    const item = await this.#store.get(key);
    return item && this.#open(item);
  }

  async range(prefix: string, options?: RangeOptions): Promise<readonly Item[]> {
    return (await this.#store.range(prefix, options)).map((item) => this.#open(item));
  }

  async commit(writes: readonly Write[]): Promise<readonly Item[]> {
    const items = await this.#store.commit(writes.map((write) => this.#seal(write)));
    return items.map((item) => this.#open(item));
  }

  watch(options: WatchOptions): AsyncIterable<Change> {
    // Begun now, not when the first change is asked for.
    return this.#opened(this.#store.watch(options));
  }

  async *#opened(changes: AsyncIterable<Change>): AsyncGenerator<Change> {
    for await (const change of changes) yield this.#openChange(change);
  }

  position(): Promise<string> {
    return this.#store.position();
  }

  async changesSince(position: string, prefixes: readonly string[]): Promise<Changes | undefined> {
    const found = await this.#store.changesSince(position, prefixes);
    return found && { ...found, changes: found.changes.map((change) => this.#openChange(change)) };
  }

  #openChange(change: Change): Change {
    return change.type === 'put' ? { ...change, item: this.#open(change.item) } : change;
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  /** Seals what was written without this key's time; resolves to how many items. */
  async sealAll(): Promise<number> {
    if (this.#key === undefined) return 0;
    let sealed = 0;
    for (const prefix of this.#prefixes) {
      let after = '';
      for (;;) {
        const items = await this.#store.range(prefix, { after, limit: batch });
        const last = items.at(-1);
        if (last === undefined) break;
        after = last.key;
        for (const item of items) if (!form.test(item.value)) sealed += await this.#sealOne(item);
      }
    }
    return sealed;
  }

  async #sealOne({ key, value, revision, expires }: Item): Promise<number> {
    try {
      await this.#store.commit([this.#seal({ type: 'put', key, value, expires, expect: { revision } })]);
      return 1;
    } catch (error) {
      // Somebody wrote it meanwhile, and sealed it with that.
      if (AppError.from(error).kind === 'conflict') return 0;
      throw error;
    }
  }

  #seal(write: Write): Write {
    if (write.type !== 'put' || this.#key === undefined || !this.#secret(write.key)) return write;
    return { ...write, value: this.#key.seal(write.key, write.value) };
  }

  #open(item: Item): Item {
    if (!this.#secret(item.key)) return item;
    const match = form.exec(item.value);
    if (match === null) return item;
    const [, id = '', body = ''] = match;
    if (this.#key === undefined) throw locked(item.key, 'no key is configured');
    return { ...item, value: this.#key.open(item.key, id, body) };
  }

  #secret(key: string): boolean {
    return this.#prefixes.some((prefix) => key.startsWith(prefix));
  }
}

export class SealingKey {
  /** Names the key without telling it: a wrong one is told from a damaged value. */
  readonly id: string;
  readonly #key: Buffer;

  /** `text`: of the key file: 32 bytes or more, in hex or base64. */
  constructor(text: string) {
    const secret = secretOf(text.trim());
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', 'sallyport store sealing 1', 32));
    this.id = createHash('sha256').update('id\0').update(this.#key).digest('hex').slice(0, 16);
  }

  seal(key: string, value: string): string {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce).setAAD(Buffer.from(key));
    const body = Buffer.concat([nonce, cipher.update(value, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    return `sealed:1:${this.id}:${body.toString('base64url')}`;
  }

  open(key: string, id: string, text: string): string {
    if (id !== this.id) throw locked(key, `it is sealed with the key ${id}, not with ${this.id}`);
    const body = Buffer.from(text, 'base64url');
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, body.subarray(0, nonceBytes), {
        authTagLength: tagBytes,
      });
      decipher.setAAD(Buffer.from(key)).setAuthTag(body.subarray(-tagBytes));
      const open = decipher.update(body.subarray(nonceBytes, -tagBytes));
      return Buffer.concat([open, decipher.final()]).toString('utf8');
    } catch (cause) {
      throw new AppError('unavailable', 'store.damaged', `${key} of the store was changed or damaged.`, {
        cause,
        hint: 'Restore it from a backup.',
      });
    }
  }
}

function secretOf(text: string): Buffer {
  const bytes = /^[0-9a-f]+$/i.test(text) ? Buffer.from(text, 'hex') : Buffer.from(text, 'base64');
  if (bytes.length >= 32) return bytes;
  throw new AppError('bad_input', 'store.bad_key', 'The encryption key has fewer than 32 bytes.', {
    hint: 'Make one with: openssl rand -hex 32',
  });
}

function locked(key: string, why: string): AppError {
  return new AppError('unavailable', 'store.sealed', `${key} of the store cannot be opened: ${why}.`, {
    hint: 'storage.encryption_key_file must name the same key on every auth server of the cluster.',
  });
}
