/**
 * The files of a fresh Debian 12 machine, made once by debootstrap and kept in .cache, in a folder named for what is in
 * it: debian-host.ts puts layers above it, systemd-machine.ts boots a copy.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { run } from './one-host.ts';

const cacheFolder = resolve(import.meta.dirname, '../.cache/debian-root');
const suite = 'bookworm';
/** What a small server has anyway; from `dbus` on, what it needs to boot. */
const packages = [
  ...['ca-certificates', 'curl', 'jq', 'openssh-client', 'openssl', 'procps', 'systemd'],
  ...['dbus', 'kmod', 'libpam-systemd', 'systemd-sysv', 'udev'],
];

/** The unpacked root, for reading only: layers go on top of it. */
export async function debianRoot(): Promise<string> {
  const asked = createHash('sha256')
    .update([suite, ...packages, 'unsafe-io'].join())
    .digest('hex')
    .slice(0, 12);
  const folder = join(cacheFolder, `${suite}-${asked}`);
  if (existsSync(folder)) return folder;
  await mkdir(cacheFolder, { recursive: true });
  const work = await mkdtemp(join(cacheFolder, 'making-'));
  try {
    const args = ['--variant=minbase', `--include=${packages.join()}`, suite, work];
    const made = await run('debootstrap', [...args, 'http://deb.debian.org/debian'], { timeoutMs: 400_000 });
    if (made.status !== 0) throw new Error(`debootstrap failed: ${made.stdout.slice(-1000)}${made.stderr}`);
    // A machine that is thrown away needs no fsync a file: most of the time dpkg takes.
    await writeFile(join(work, 'etc/dpkg/dpkg.cfg.d/thrown-away'), 'force-unsafe-io\n');
    // 100 MB of downloads that are unpacked by now.
    await rm(join(work, 'var/cache/apt'), { recursive: true, force: true });
    await rm(join(work, 'var/lib/apt/lists'), { recursive: true, force: true });
    execFileSync('chmod', ['755', work]);
    // The folder appears whole or not at all.
    await rename(work, folder);
  } catch (error) {
    await rm(work, { recursive: true, force: true });
    throw error;
  }
  return folder;
}
