/** Sees to the emulators of tools/debian-packages-matrix.txt: as root installs what is missing. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { Unavailable } from '../../tools/debian-archive.ts';

const runFile = promisify(execFile);
const list = resolve(import.meta.dirname, '../../tools/debian-packages-matrix.txt');

/** Resolves once every listed package is there; rejects with Unavailable and the way out. */
export async function installHostPackages(): Promise<void> {
  const wanted = (await readFile(list, 'utf8')).split('\n').filter((line) => /^[a-z]/.test(line));
  const missing: string[] = [];
  for (const name of wanted) if (!(await isInstalled(name))) missing.push(name);
  if (missing.length === 0) return;
  const command = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid?.() !== 0)
    throw new Unavailable(`not installed: ${missing.join(', ')}; run as root: ${command}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };
  try {
    await runFile('apt-get', ['-qq', 'update'], { env, timeout: 120_000 });
    await runFile('apt-get', ['-qq', '-y', 'install', '--no-install-recommends', ...missing], {
      env,
      timeout: 300_000,
      maxBuffer: 16 << 20,
    });
  } catch (error) {
    const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error);
    throw new Unavailable(`${command} failed: ${stderr.split('\n').slice(-2).join(' / ')}`);
  }
}

async function isInstalled(name: string): Promise<boolean> {
  try {
    const { stdout } = await runFile('dpkg-query', ['-s', name]);
    return /^Status: .* installed$/m.test(stdout);
  } catch {
    return false;
  }
}
