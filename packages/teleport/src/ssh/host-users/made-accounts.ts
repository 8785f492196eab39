// `<data_dir>/host-users.json`: accounts this agent has made or holds sudoers for. Written before the host is
// changed, so that whatever dies, the next start knows what to look for. Another agent's accounts are not in it.
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';

export interface MadeAccount {
  readonly mode: 'keep' | 'insecure-drop' | 'static';
  /** Made by us: with insecure-drop, ours to delete. Otherwise only its sudoers are. */
  readonly made: boolean;
  /** For whom, the last time. Of a static account: nobody. */
  readonly user?: string;
}

export class MadeAccounts {
  readonly #path: string;
  readonly #accounts: Map<string, MadeAccount>;

  private constructor(path: string, accounts: Map<string, MadeAccount>) {
    this.#path = path;
    this.#accounts = accounts;
  }

  static async open(dataDir: string): Promise<MadeAccounts> {
    const path = join(dataDir, 'host-users.json');
    const text = await readFile(path, 'utf8').catch(() => '{}');
    return new MadeAccounts(path, new Map(Object.entries(JSON.parse(text) as Record<string, MadeAccount>)));
  }

  get(login: string): MadeAccount | undefined {
    return this.#accounts.get(login);
  }

  get all(): readonly (readonly [login: string, account: MadeAccount])[] {
    return [...this.#accounts];
  }

  async set(login: string, account: MadeAccount): Promise<void> {
    this.#accounts.set(login, account);
    await this.#write();
  }

  async forget(login: string): Promise<void> {
    if (this.#accounts.delete(login)) await this.#write();
  }

  async #write(): Promise<void> {
    const file = await open(`${this.#path}.new`, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify(Object.fromEntries(this.#accounts)));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${this.#path}.new`, this.#path);
  }
}
