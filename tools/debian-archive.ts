/**
 * Debian packages without touching the machine: apt with sources, lists and state of its own, then `dpkg -x`.
 * What was unpacked stays below `.cache/debian-packages`, in a folder named for what was asked for, so that only the
 * first run needs the network. Delete the folder to follow the suite's newer packages.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const runFile = promisify(execFile);
const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

const cacheFolder = resolve(import.meta.dirname, '../.cache/debian-packages');

/** This machine or network lacks something that is needed: a reason to skip, not a failure. */
export class Unavailable extends Error {}

export type Architecture = 'amd64' | 'arm64';

export interface PackageSet {
  /** Names the folder, for people who look into the cache. */
  readonly name: string;
  readonly architecture: Architecture;
  /** `<archive path> <suite>`, as in `debian bookworm`. */
  readonly suites: readonly string[];
  /** Packages to unpack; `{ newestOf }` stands for the one a metapackage depends on. */
  readonly packages: readonly (string | { readonly newestOf: string })[];
}

/** The folder with the unpacked packages, fetched when this cache does not hold them yet. */
export async function unpackedPackages(set: PackageSet): Promise<string> {
  const wanted = createHash('sha256').update(JSON.stringify(set)).digest('hex').slice(0, 12);
  const folder = join(cacheFolder, `${set.name}-${set.architecture}-${wanted}`);
  if (existsSync(folder)) return folder;
  await mkdir(cacheFolder, { recursive: true });
  const work = await mkdtemp(join(cacheFolder, 'fetching-'));
  try {
    await fetchInto(work, set);
    // The folder appears whole or not at all: an interrupted run leaves no half of it.
    await rename(join(work, 'root'), folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return folder;
}

async function fetchInto(work: string, set: PackageSet): Promise<void> {
  const options = await privateApt(work, set);
  await apt(work, 'apt-get', [...options, 'update']);
  const names: string[] = [];
  for (const wanted of set.packages) {
    names.push(typeof wanted === 'string' ? wanted : await dependencyOf(work, options, wanted.newestOf));
  }
  const archives = join(work, 'archives');
  await apt(archives, 'apt-get', [...options, 'download', ...names]);
  for (const archive of await readdir(archives)) {
    if (archive.endsWith('.deb')) await runFile('dpkg', ['-x', join(archives, archive), join(work, 'root')]);
  }
}

async function privateApt(work: string, set: PackageSet): Promise<string[]> {
  for (const folder of ['lists/partial', 'cache/archives/partial', 'archives', 'root']) {
    await mkdir(join(work, folder), { recursive: true });
  }
  const lines = set.suites.map((suite) => {
    const [archive, name] = suite.split(' ');
    return `deb [signed-by=${keyring}] http://deb.debian.org/${archive} ${name} main\n`;
  });
  await writeFile(join(work, 'sources.list'), lines.join(''));
  await writeFile(join(work, 'status'), '');
  const settings = {
    'APT::Architecture': set.architecture,
    'APT::Architectures': set.architecture,
    // As root apt would drop to _apt, who cannot enter this folder.
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '2',
    'Dir::Cache': join(work, 'cache'),
    'Dir::Etc::sourcelist': join(work, 'sources.list'),
    'Dir::Etc::sourceparts': '-',
    'Dir::State::lists': join(work, 'lists'),
    'Dir::State::status': join(work, 'status'),
  };
  return ['-q', ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])];
}

async function dependencyOf(work: string, options: string[], metapackage: string): Promise<string> {
  const text = await apt(work, 'apt-cache', [...options, 'depends', metapackage]);
  const name = /^\s*Depends: (linux-image-\S+)$/m.exec(text)?.[1];
  if (name === undefined) throw new Unavailable(`apt knows no kernel behind ${metapackage}`);
  return name;
}

async function apt(cwd: string, program: string, args: string[]): Promise<string> {
  try {
    const { stdout, stderr } = await runFile(program, args, {
      cwd,
      timeout: 300_000,
      maxBuffer: 16 << 20,
      env: { ...process.env, LC_ALL: 'C' },
    });
    // `apt-get update` says failed downloads in warnings and still exits with 0.
    const failure = /^(?:W|E): (Failed to fetch.*)$/m.exec(stderr)?.[1];
    if (failure !== undefined) throw new Unavailable(failure);
    return stdout;
  } catch (error) {
    if (error instanceof Unavailable) throw error;
    const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error);
    throw new Unavailable(`${program} failed: ${stderr.split('\n').slice(-3).join(' / ')}`);
  }
}
