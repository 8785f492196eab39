// The host's files, as far as hardening looks at them. Reads only; `root` is another place in tests.
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';

export interface HostFiles {
  /** undefined: not there, or not ours to read. */
  text(path: string): Promise<string | undefined>;
  /** Permission bits and owner; undefined: not there. */
  mode(path: string): Promise<{ readonly mode: number; readonly gid: number } | undefined>;
  /** Names in a folder; none where there is no such folder. */
  list(path: string): Promise<readonly string[]>;
  link(path: string): Promise<string | undefined>;
}

export function hostFiles(root = '/'): HostFiles {
  const at = (path: string) => join(root, path);
  const orUndefined = () => undefined;
  return {
    text: (path) => readFile(at(path), 'utf8').catch(orUndefined),
    mode: (path) => stat(at(path)).catch(orUndefined),
    list: (path) => readdir(at(path)).catch(() => []),
    link: (path) => readlink(at(path)).catch(orUndefined),
  };
}

/** A sysctl's number; undefined: this kernel does not have it. */
export async function sysctl(files: HostFiles, name: string): Promise<number | undefined> {
  const text = await files.text(`/proc/sys/${name.replaceAll('.', '/')}`);
  return text === undefined ? undefined : Number(text);
}

export async function anyExists(files: HostFiles, paths: readonly string[]): Promise<boolean> {
  for (const path of paths) if ((await files.mode(path)) !== undefined) return true;
  return false;
}
