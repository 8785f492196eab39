// Users and roles as files: `<data_dir>/auth/<kind>/<name>.json`, 0600, one resource a file.
// Every write is a new file renamed into place and synced; writers of all processes queue behind one lock.
import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import {
  isErrno,
  makePrivateDirectory,
  readPrivateFile,
  replacePrivateFile,
  syncDirectory,
} from '../ca/private-file.ts';
import type { Expected, ResourceKind, Resources, Store, Stored } from './store.ts';
import { withLock } from './store-lock.ts';

const suffix = '.json';
const kinds: readonly ResourceKind[] = ['user', 'role'];

export class FileStore implements Store {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async open(dataDir: string): Promise<FileStore> {
    const directory = join(dataDir, 'auth');
    for (const kind of kinds) await makePrivateDirectory(join(directory, kind));
    return new FileStore(directory);
  }

  async get<K extends ResourceKind>(kind: K, name: string): Promise<Stored<Resources[K]> | undefined> {
    const path = this.#path(kind, name);
    const text = await readPrivateFile(path);
    return text === undefined ? undefined : parse<Resources[K]>(text, path);
  }

  async put<K extends ResourceKind>(
    kind: K,
    name: string,
    value: Resources[K],
    expected: Expected,
  ): Promise<Stored<Resources[K]>> {
    return this.#locked(async () => {
      refuseUnless(expected, await this.get(kind, name), `${kind} ${name}`);
      const stored = { name, revision: randomBytes(8).toString('hex'), value };
      await replacePrivateFile(this.#path(kind, name), `${JSON.stringify(stored)}\n`);
      return stored;
    });
  }

  async list<K extends ResourceKind>(kind: K): Promise<readonly Stored<Resources[K]>[]> {
    const files = await readdir(join(this.#directory, kind));
    const names = files
      .filter((file) => file.endsWith(suffix))
      .map((file) => decodeURIComponent(file.slice(0, -suffix.length)));
    const found = await Promise.all(names.map((name) => this.get(kind, name)));
    // One may have been deleted between readdir and read.
    return found.filter((stored) => stored !== undefined).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async delete(kind: ResourceKind, name: string): Promise<void> {
    await this.#locked(async () => {
      try {
        await rm(this.#path(kind, name));
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) throw error;
        throw new AppError('not_found', 'auth.not_found', `There is no ${kind} "${name}".`, { cause: error });
      }
      await syncDirectory(join(this.#directory, kind));
    });
  }

  #locked<T>(work: () => Promise<T>): Promise<T> {
    return withLock(join(this.#directory, 'lock'), work);
  }

  /** Encoded, so that no name can climb out of the directory or clash with our own files. */
  #path(kind: ResourceKind, name: string): string {
    return join(this.#directory, kind, `${encodeURIComponent(name)}${suffix}`);
  }
}

/** The shape is not checked further: only this class writes these files, and nobody else may (0600). */
function parse<T>(text: string, path: string): Stored<T> {
  try {
    return JSON.parse(text) as Stored<T>;
  } catch (error) {
    throw new AppError('unavailable', 'auth.bad_record', `${path} is damaged: it is not JSON.`, {
      cause: error,
      hint: 'Restore it from a backup, or remove it and create the resource anew.',
    });
  }
}

function refuseUnless(expected: Expected, found: Stored<unknown> | undefined, what: string): void {
  if (expected === 'overwrite') return;
  if (expected === 'create') {
    if (found === undefined) return;
    throw new AppError('conflict', 'auth.already_exists', `There is a ${what} already.`);
  }
  if (found?.revision === expected.revision) return;
  throw new AppError(
    'conflict',
    'auth.changed_meanwhile',
    `The ${what} was changed by somebody else meanwhile.`,
    {
      hint: 'Get it again and repeat the change.',
    },
  );
}
