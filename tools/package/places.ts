// Where packaging reads and writes, and for what machines it builds.
import { execFileSync } from 'node:child_process';
import { chmodSync, lutimesSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** As Debian names it. */
export type Architecture = 'amd64' | 'arm64';

export const architectures: readonly Architecture[] = ['amd64', 'arm64'];
/** As Node, npm and its packages name it. */
export const nodeNames: Readonly<Record<Architecture, string>> = { amd64: 'x64', arm64: 'arm64' };
/** As compilers name it. */
export const triples: Readonly<Record<Architecture, string>> = {
  amd64: 'x86_64-linux-gnu',
  arm64: 'aarch64-linux-gnu',
};

export const repository = resolve(import.meta.dirname, '../..');
/** Everything on the way to a package; finished packages go elsewhere. */
export const workFolder = join(repository, '.build/package');
export const isOwn = (architecture: Architecture) => nodeNames[architecture] === process.arch;

export function say(text: string): void {
  process.stderr.write(`package: ${text}\n`);
}

/** A program to its end; what it says goes to our standard error only when it fails. */
export function run(
  file: string,
  args: readonly string[],
  options: { cwd?: string; env?: object } = {},
): string {
  try {
    return execFileSync(file, args, {
      cwd: options.cwd ?? repository,
      env: { ...process.env, LC_ALL: 'C', ...options.env },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 64 << 20,
    });
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error);
    throw new Error(`${file} ${args.slice(0, 4).join(' ')} failed:\n${said.slice(-4_000)}`);
  }
}

/** Seconds since 1970 that every file of a package bears: SOURCE_DATE_EPOCH, else the time of the commit. */
export function sourceDate(): number {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given !== undefined && /^\d+$/.test(given)) return Number(given);
  try {
    return Number(run('git', ['log', '-1', '--format=%ct']).trim());
  } catch {
    // A tree without its history: any fixed time will do, if it is the same everywhere.
    return 1_750_000_000;
  }
}

/**
 * One time for all files and folders, and modes that no umask has touched: 0755 for folders and programs, 0644 for
 * the rest. Owners are set where archives are made.
 */
export function settle(folder: string, epoch: number): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) settle(path, epoch);
    else if (entry.isFile()) chmodSync(path, (statSync(path).mode & 0o111) === 0 ? 0o644 : 0o755);
    lutimesSync(path, epoch, epoch);
  }
  chmodSync(folder, 0o755);
  lutimesSync(folder, epoch, epoch);
}
