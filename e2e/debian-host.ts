/**
 * A fresh Debian 12 machine, as far as one kernel allows: a root of its own, made once by debootstrap and kept in
 * .cache; a network of its own (network.ts); what is written goes into a layer above the root, which shows afterwards
 * what an installation left behind. Kernel, processes and BPF are this machine's.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readlink, rename, rm, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { removeCgroup } from './host-remains.ts';
import type { Host } from './network.ts';
import { type Ran, run, until } from './one-host.ts';

const cacheFolder = resolve(import.meta.dirname, '../.cache/debian-root');
const suite = 'bookworm';
/** What a small server has anyway. systemd is there and does not run: nothing here is process 1. */
const packages = ['ca-certificates', 'curl', 'jq', 'openssh-client', 'openssl', 'procps', 'systemd'];

/** The unpacked root, for reading only: layers go on top of it. */
async function debianRoot(): Promise<string> {
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

// In a mount namespace of its own, which goes with its last process. BPF pins are this host's, too.
const enter = `
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$LAYER/upper,workdir=$LAYER/work" "$LAYER/root"
cd "$LAYER/root"
mount --rbind /proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs tmpfs run
exec chroot . /bin/sh -c 'echo ready; exec sleep 100000'
`;

export class DebianHost {
  readonly host: Host;
  readonly #layer: string;
  readonly #keeper: ChildProcess;
  /** Below the mount point of cgroup v2 on this machine. */
  readonly #cgroups: string[] = [];

  private constructor(host: Host, layer: string, keeper: ChildProcess) {
    this.host = host;
    this.#layer = layer;
    this.#keeper = keeper;
  }

  /** `folder`: where its layer goes. */
  static async create(host: Host, folder: string): Promise<DebianHost> {
    const lower = await debianRoot();
    const layer = join(folder, `debian-${host.name}`);
    for (const name of ['upper', 'work', 'root']) await mkdir(join(layer, name), { recursive: true });
    const [file = '', ...args] = [...host.enter, 'unshare', '--mount', 'sh', '-c', enter];
    const keeper = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], LOWER: lower, LAYER: layer },
    });
    let said = '';
    for (const stream of [keeper.stdout, keeper.stderr]) stream?.on('data', (text) => (said += text));
    await until(`${host.name} is there`, () => {
      if (keeper.exitCode !== null) throw new Error(`the Debian root cannot be entered: ${said}`);
      return said.includes('ready');
    });
    return new DebianHost(host, layer, keeper);
  }

  /** In front of a command line: it runs there, as root, with nothing of our environment. */
  get enter(): readonly string[] {
    const there = ['nsenter', '-t', String(this.#keeper.pid), '--mount', '--net', '--root', '--wd'];
    const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    return [...there, 'env', '-i', `PATH=${path}`, 'HOME=/root', 'LC_ALL=C.UTF-8', 'TERM=dumb'];
  }

  /** A line for its shell. */
  sh(line: string, options: { timeoutMs?: number; under?: readonly string[] } = {}): Promise<Ran> {
    const [file = '', ...args] = [
      ...this.enter,
      ...(options.under ?? []),
      'bash',
      '-o',
      'pipefail',
      '-c',
      line,
    ];
    return run(file, args, options);
  }

  /** As `sh`, and it must succeed. What it says on either output. */
  async ok(line: string): Promise<string> {
    const { status, stdout, stderr } = await this.sh(line, { timeoutMs: 120_000 });
    if (status !== 0) throw new Error(`on ${this.host.name}: ${line}: ${status}\n${stdout}${stderr}`);
    return `${stdout}${stderr}`;
  }

  /** A file of it; empty when there is none. */
  read(path: string): string {
    try {
      return readFileSync(join(`/proc/${this.#keeper.pid}/root`, path), 'utf8');
    } catch {
      return '';
    }
  }

  /** Files that are not as debootstrap made them, less what belongs to dpkg, apt and logs. */
  async changed(): Promise<string[]> {
    const upper = join(this.#layer, 'upper');
    const ofOthers =
      /^(var\/lib\/(dpkg|apt|systemd)|var\/cache\/(apt|debconf|ldconfig)|var\/log|etc\/ld\.so\.cache)/;
    const entries = await readdir(upper, { withFileTypes: true, recursive: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(upper, join(entry.parentPath, entry.name)))
      .filter((path) => !ofOthers.test(path))
      .sort();
  }

  /** Sessions' cgroups are the machine's: removed with the host. */
  cgroup(path: string): void {
    this.#cgroups.push(path);
  }

  /** Whatever runs from this root. */
  async processes(): Promise<number[]> {
    const own = await readlink(`/proc/${this.#keeper.pid}/ns/mnt`);
    const found: number[] = [];
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const mount = await readlink(`/proc/${pid}/ns/mnt`).catch(() => '');
      if (mount === own && Number(pid) !== this.#keeper.pid) found.push(Number(pid));
    }
    return found;
  }

  async remove(): Promise<void> {
    const kill = (pid: number) => {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone meanwhile.
      }
    };
    for (const path of this.#cgroups) await removeCgroup(path).catch(() => {});
    await until('its processes are gone', async () => {
      const left = await this.processes();
      left.forEach(kill);
      return left.length === 0;
    });
    for (const path of this.#cgroups) await removeCgroup(path);
    const gone = new Promise((done) => this.#keeper.once('exit', done));
    this.#keeper.kill('SIGKILL');
    await gone;
    await rm(this.#layer, { recursive: true, force: true });
  }
}
