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

/** Read anew each time: a daemon that takes over from us, and we, may both have sessions for a while. */
export class MadeAccounts {
  readonly #path: string;

  constructor(dataDir: string) {
    this.#path = join(dataDir, 'host-users.json');
  }

  async get(login: string): Promise<MadeAccount | undefined> {
    return (await this.#read()).get(login);
  }

  async all(): Promise<readonly (readonly [login: string, account: MadeAccount])[]> {
    return [...(await this.#read())];
  }

  async set(login: string, account: MadeAccount): Promise<void> {
    await this.#write((await this.#read()).set(login, account));
  }

  async forget(login: string): Promise<void> {
    const accounts = await this.#read();
    if (accounts.delete(login)) await this.#write(accounts);
  }

  async #read(): Promise<Map<string, MadeAccount>> {
    const text = await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '{}';
      throw error;
    });
    return new Map(Object.entries(JSON.parse(text) as Record<string, MadeAccount>));
  }

  async #write(accounts: ReadonlyMap<string, MadeAccount>): Promise<void> {
    const draft = `${this.#path}.${process.pid}`;
    const file = await open(draft, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify(Object.fromEntries(accounts)));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, this.#path);
  }
}
