// The file that says which process is the daemon. After a reload that is another one: whoever finds another number in
// it leaves it alone. It is written anew, the same number in it, when a reload has failed.
import { readFile, rename, rm, writeFile } from 'node:fs/promises';

export class PidFile {
  readonly #path: string | undefined;

  /** undefined: there is none. */
  constructor(path: string | undefined) {
    this.#path = path;
  }

  /** Readers find the old number or the new one. */
  async write(): Promise<void> {
    if (this.#path === undefined) return;
    const next = `${this.#path}.${process.pid}`;
    await writeFile(next, `${process.pid}\n`, { mode: 0o644 });
    await rename(next, this.#path);
  }

  async remove(): Promise<void> {
    if (this.#path === undefined) return;
    const text = await readFile(this.#path, 'utf8').catch(() => '');
    if (Number(text) === process.pid) await rm(this.#path, { force: true });
  }
}
