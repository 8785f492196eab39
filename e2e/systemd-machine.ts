/**
 * A Debian 12 machine with systemd as process 1: namespaces of its own for everything that has one, a cgroup v2
 * hierarchy of its own, a layer above the root of debian-root.ts. The kernel is this machine's, and so is what programs
 * load into it. /sys and /proc/sys cannot be written to, as in any container: settings of the kernel are not its own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { debianRoot } from './debian-root.ts';
import { DebianShell } from './debian-shell.ts';
import { cgroup2Mount, removeCgroup } from './host-remains.ts';
import type { Host } from './network.ts';
import { run, until } from './one-host.ts';

/** What a machine without hardware and without a network beyond ours waits for in vain. */
const masked = ['apt-daily.timer', 'apt-daily-upgrade.timer', 'console-getty.service', 'getty@.service'];

// The first process of its PID namespace: it becomes systemd. The cgroup namespace begins at its cgroup.
const boot = `
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$LAYER/upper,workdir=$LAYER/work" "$LAYER/root"
cd "$LAYER/root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for name in null zero full random urandom tty; do cp -a /dev/$name dev/$name; done
: >dev/console
mkdir run/before
pivot_root . run/before
umount -l /run/before
rmdir /run/before
# "container" is how systemd learns that the hardware is not its to manage.
exec env -i container=sallyport PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=0
`;

export class SystemdMachine extends DebianShell {
  protected override readonly namespaces = ['--all'];
  readonly #layer: string;
  readonly #cgroup: string;
  #first = 0;
  #outside: ChildProcess | undefined;

  private constructor(host: Host, layer: string, cgroup: string) {
    super(host);
    this.#layer = layer;
    this.#cgroup = cgroup;
  }

  /** Not yet booted. \`folder\`: where its layer goes. */
  static async create(host: Host, folder: string): Promise<SystemdMachine> {
    const layer = join(folder, `systemd-${host.name}`);
    const units = join(layer, 'upper/etc/systemd/system');
    for (const name of [units, join(layer, 'work'), join(layer, 'root')])
      await mkdir(name, { recursive: true });
    for (const unit of masked) await symlink('/dev/null', join(units, unit));
    await writeFile(join(layer, 'upper/etc/hostname'), `${host.name}\n`);
    const cgroup = join(await cgroups(), `sallyport-${process.pid}-${host.name}`);
    return new SystemdMachine(host, layer, cgroup);
  }

  protected override get namespacesOf(): number {
    return this.#first;
  }

  /** Process 1, by its number out here. */
  get first(): number {
    return this.#first;
  }

  /** Resolves when systemd has started what it is to start. */
  async boot(): Promise<void> {
    await mkdir(this.#cgroup, { recursive: true });
    const unshare = 'unshare --mount --pid --fork --kill-child --cgroup --uts --ipc';
    const enterCgroup = `echo $$ >"$CGROUP/cgroup.procs" && exec ${unshare} sh -c "$BOOT"`;
    // A run that is killed takes the machine with it.
    const mortal = ['setpriv', '--pdeathsig', 'KILL'];
    const [file = '', ...args] = [...this.host.enter, ...mortal, 'sh', '-c', enterCgroup];
    const outside = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        BOOT: boot,
        LOWER: await debianRoot(),
        LAYER: this.#layer,
        CGROUP: this.#cgroup,
      },
    });
    this.#outside = outside;
    let said = '';
    for (const stream of [outside.stdout, outside.stderr]) stream.on('data', (text) => (said += text));
    const ended = () => {
      if (outside.exitCode !== null || outside.signalCode !== null)
        throw new Error(`${this.host.name} does not boot: ${said.slice(-2_000)}`);
    };
    this.#first = await until('systemd is process 1', async () => {
      ended();
      const children = `/proc/${outside.pid}/task/${outside.pid}/children`;
      const child = Number((await readFile(children, 'utf8').catch(() => '')).trim());
      const comm = await readFile(`/proc/${child}/comm`, 'utf8').catch(() => '');
      return comm === 'systemd\n' && child;
    });
    await until(
      'systemd is up',
      async () => {
        ended();
        // "degraded": a unit has failed, which is for tests to look at.
        const { stdout } = await this.sh('systemctl is-system-running');
        return /^(running|degraded)$/m.test(stdout);
      },
      60_000,
    );
  }

  /** As an operator reboots: systemd stops everything, and starts again. */
  async reboot(): Promise<void> {
    await this.sh('systemctl reboot');
    await this.#off();
    await this.boot();
  }

  async #off(): Promise<void> {
    const outside = this.#outside;
    await until(
      `${this.host.name} is off`,
      () => outside === undefined || outside.exitCode !== null || outside.signalCode !== null,
      90_000,
    );
    await removeCgroup(this.#cgroup);
  }

  /** With its first process everything in its PID namespace ends, and with its mounts the BPF pins. */
  async remove(): Promise<void> {
    if (this.#first > 0) await run('kill', ['-KILL', String(this.#first)]);
    await this.#off();
    await rm(this.#layer, { recursive: true, force: true });
  }
}

/** Where cgroup v2 is mounted; on a machine without it, where the daemon would mount it. */
async function cgroups(): Promise<string> {
  const found = await cgroup2Mount();
  if (found !== undefined) return found;
  await mkdir('/cgroup2', { recursive: true });
  const { status, stderr } = await run('mount', ['-t', 'cgroup2', 'cgroup2', '/cgroup2']);
  if (status !== 0) throw new Error(`cgroup v2 cannot be mounted: ${stderr}`);
  return '/cgroup2';
}
