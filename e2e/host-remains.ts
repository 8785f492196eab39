/**
 * What a cluster puts on the machine outside of its own folder, and how it is taken away again: cgroups, a
 * recorder that outlived its daemon, and the recorder's pins. The product keeps these on purpose (a daemon that
 * comes back goes on with them); a demo or a test that is over must not.
 */
import { readdir, readFile, readlink, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Where the host has cgroup v2 mounted (proc(5), mounts); undefined: nowhere. */
export async function cgroup2Mount(): Promise<string | undefined> {
  const mounts = (await readFile('/proc/mounts', 'utf8')).split('\n').map((line) => line.split(' '));
  return mounts.find(([, , type]) => type === 'cgroup2')?.[1];
}

/** Kills what runs in the cgroup and below it, and removes it. A second mount shows the same cgroup. */
export async function removeCgroup(dir: string): Promise<void> {
  const deadline = Date.now() + 5_000;
  const tree = await killTasks(dir);
  for (const child of tree.reverse()) {
    // EBUSY for a moment after the last task is gone.
    while (!(await removed(child))) {
      if (Date.now() > deadline) throw new Error(`cgroup ${child} still has processes`);
      await delay(10);
    }
  }
}

/** Gives the cgroup and those below it, parents first. */
export async function killTasks(dir: string): Promise<string[]> {
  const tree = await treeOf(dir);
  for (const child of tree) {
    // Linux 5.14: all at once, and what is being forked with them. Before it, one by one.
    await writeFile(join(child, 'cgroup.kill'), '1', { flag: 'r+' }).catch(() => {});
    const text = await readFile(join(child, 'cgroup.procs'), 'utf8').catch(() => '');
    for (const pid of text.split('\n').filter(Boolean)) signal(Number(pid), 'SIGKILL');
  }
  return tree;
}

async function removed(dir: string): Promise<boolean> {
  return await rmdir(dir).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );
}

async function treeOf(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => undefined);
  if (entries === undefined) return [];
  const children = entries.filter((entry) => entry.isDirectory()).map((entry) => join(dir, entry.name));
  return [dir, ...(await Promise.all(children.map(treeOf))).flat()];
}

export interface LivingRecorder {
  readonly pid: number;
  /** Its folder on the BPF file system. */
  readonly pins: string | undefined;
}

export async function recordersOf(dataDir: string): Promise<LivingRecorder[]> {
  const socket = join(dataDir, 'recorder.sock');
  const found: LivingRecorder[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const args = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    if (args[args.indexOf('--socket') + 1] !== socket) continue;
    found.push({ pid: Number(pid), pins: args[args.indexOf('--pin-dir') + 1] });
  }
  return found;
}

/** Ends the recorder of a data directory that its daemon did not end, and removes its pins. */
export async function removeRecorder(dataDir: string): Promise<void> {
  for (const { pid, pins } of await recordersOf(dataDir)) {
    const deadline = Date.now() + 5_000;
    // It stops in order only while it watches nobody; whoever it still watches was killed before.
    signal(pid, 'SIGTERM');
    while (await alive(pid)) {
      if (Date.now() > deadline) signal(pid, 'SIGKILL');
      await delay(20);
    }
    if (pins?.startsWith('/sys/fs/bpf/')) await rm(pins, { recursive: true, force: true });
  }
}

/** A zombie that nobody has reaped yet is no longer alive; its exe cannot be read. */
async function alive(pid: number): Promise<boolean> {
  return await readlink(`/proc/${pid}/exe`).then(
    () => true,
    () => false,
  );
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone between the listing and the signal.
  }
}
