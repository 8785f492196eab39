/**
 * A fresh Debian 12 machine, as far as one kernel allows: a root of its own (debian-root.ts), a network of its own
 * (network.ts); what is written goes into a layer above the root, which shows afterwards what an installation left
 * behind. Kernel, processes and BPF are this machine's, and systemd does not run: nothing here is process 1.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readdir, readlink, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { debianRoot } from './debian-root.ts';
import { DebianShell } from './debian-shell.ts';
import { removeCgroup } from './host-remains.ts';
import type { Host } from './network.ts';
import { until } from './one-host.ts';

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

export class DebianHost extends DebianShell {
  readonly #layer: string;
  readonly #keeper: ChildProcess;
  /** Below the mount point of cgroup v2 on this machine. */
  readonly #cgroups: string[] = [];

  private constructor(host: Host, layer: string, keeper: ChildProcess) {
    super(host);
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

  protected override get namespacesOf(): number {
    return this.#keeper.pid ?? 0;
  }

  // Processes are this machine's, and so is what counts them.
  protected override readonly namespaces = ['--mount', '--net', '--root', '--wd'];

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
