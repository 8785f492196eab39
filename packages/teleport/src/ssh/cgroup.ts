import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { AppError } from '@sallyport/contracts/errors.ts';

/** CGROUP2_SUPER_MAGIC, linux/magic.h. */
export const cgroup2Magic = 0x63677270;
const KILL_DEADLINE_MS = 5000;
const FREEZE_DEADLINE_MS = 2000;
/** A cgroup stays busy for a moment after its last task was reaped. */
const REMOVE_DEADLINE_MS = 2000;
const POLL_MS = 2;

/**
 * `cgroup_path` of the configuration: an existing cgroup2 mount is used as it is, anything else is created and
 * mounted. A second mount shows the same hierarchy, so nothing of the host's own set-up changes.
 */
export async function ensureCgroupMount(cgroupPath: string): Promise<void> {
  if (await isCgroup2(cgroupPath)) return;
  try {
    await makeFolder(cgroupPath);
    await promisify(execFile)('mount', ['-t', 'cgroup2', 'cgroup2', cgroupPath]);
  } catch (cause) {
    throw new AppError('unsupported', 'cgroup.mount', `cgroup2 cannot be mounted at ${cgroupPath}.`, {
      hint: 'Enhanced recording needs cgroup v2; set cgroup_path to where the host has it mounted.',
      cause,
    });
  }
}

async function isCgroup2(path: string): Promise<boolean> {
  const found = await statfs(path).catch(() => undefined);
  return found?.type === cgroup2Magic;
}

/**
 * With what is missing above it. Node's own way goes round for ever where a folder that is there answers ENOENT, as
 * /proc does.
 */
async function makeFolder(path: string): Promise<void> {
  const above = dirname(path);
  if (above !== path && !existsSync(above)) await makeFolder(above);
  await mkdir(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EEXIST') throw cause;
  });
}

export interface CgroupOptions {
  /**
   * Tasks live one level below `dir`. A recorder that throttles freezes and thaws the cgroup it was told of, and thaws
   * what it takes over: of a session that must be able to stand still it knows the inner one only.
   */
  readonly nested?: boolean | undefined;
}

/** Of a nested one. */
const innerName = 'tasks';

/** A session's own cgroup v2 directory: `<cgroup_path><root_path>/<sid>`. */
export class SessionCgroup {
  readonly dir: string;
  /** Where the session's tasks are born: `dir`, or the one below it. */
  readonly home: string;
  /** What `bpf_get_current_cgroup_id()` answers in `home`: the inode number of the directory (64-bit hosts). */
  readonly id: bigint;

  private constructor(dir: string, home: string, id: bigint) {
    this.dir = dir;
    this.home = home;
    this.id = id;
  }

  /** A directory that exists already is refused: its tasks would become part of the session. */
  static async create(
    cgroupPath: string,
    rootPath: string,
    sid: string,
    { nested = false }: CgroupOptions = {},
  ): Promise<SessionCgroup> {
    await ensureCgroupMount(cgroupPath);
    const dir = sessionDir(cgroupPath, rootPath, sid);
    try {
      await makeFolder(join(cgroupPath, rootPath));
      await mkdir(dir);
      if (nested) await mkdir(join(dir, innerName));
    } catch (cause) {
      const exists = (cause as NodeJS.ErrnoException).code === 'EEXIST';
      const kind = exists ? 'conflict' : 'unavailable';
      throw new AppError(kind, 'cgroup.create', `The session's cgroup ${dir} cannot be created.`, { cause });
    }
    return SessionCgroup.#at(dir);
  }

  /** The cgroup of a session that outlived the daemon; undefined when it is gone. */
  static async reopen(cgroupPath: string, rootPath: string, sid: string): Promise<SessionCgroup | undefined> {
    return SessionCgroup.#at(sessionDir(cgroupPath, rootPath, sid)).catch(() => undefined);
  }

  /** Session ids that have a cgroup, e.g. left by a daemon that was killed. */
  static async list(cgroupPath: string, rootPath: string): Promise<string[]> {
    return childrenOf(join(cgroupPath, rootPath)).catch(() => []);
  }

  static async #at(dir: string): Promise<SessionCgroup> {
    const outer = await stat(dir, { bigint: true });
    const home = join(dir, innerName);
    const inner = await stat(home, { bigint: true }).catch(() => undefined);
    return inner ? new SessionCgroup(dir, home, inner.ino) : new SessionCgroup(dir, dir, outer.ino);
  }

  /** Takes a process in that is one of the session's all the same. */
  async adopt(pid: number): Promise<void> {
    await writeFile(join(this.home, 'cgroup.procs'), String(pid), { flag: 'r+' });
  }

  /** Live processes, those in cgroups made below included. */
  async procs(): Promise<number[]> {
    const found: number[] = [];
    for (const dir of await treeOf(this.dir)) {
      const text = await readFile(join(dir, 'cgroup.procs'), 'utf8').catch(() => '');
      found.push(...text.split('\n').filter(Boolean).map(Number));
    }
    return found;
  }

  /** SIGKILL to everything inside; resolves when it is empty. */
  async kill(): Promise<void> {
    // cgroup.kill (Linux 5.14) takes what is being forked as well; before it, freezing stops the race.
    const atOnce = await this.#write('cgroup.kill', '1').then(
      () => true,
      () => false,
    );
    if (!atOnce) {
      await this.#write('cgroup.freeze', '1').catch(() => {});
      for (const pid of await this.procs()) killQuietly(pid);
      await this.#write('cgroup.freeze', '0').catch(() => {});
    }
    await this.#until('populated 0', KILL_DEADLINE_MS);
  }

  /** Tasks stop one by one from here on; `freeze` waits for the last. */
  async beginFreeze(): Promise<void> {
    await this.#write('cgroup.freeze', '1');
  }

  /** Resolves when every task has stopped (or, with false, has been let go). */
  async freeze(frozen: boolean): Promise<void> {
    await this.#write('cgroup.freeze', frozen ? '1' : '0');
    await this.#until(frozen ? 'frozen 1' : 'frozen 0', FREEZE_DEADLINE_MS);
  }

  /** Whether any process lives inside, descendants included. */
  async populated(): Promise<boolean> {
    return (await this.#events()).includes('populated 1');
  }

  /** Removes the directory and what was made below it; fails while processes live inside. */
  async remove(): Promise<void> {
    const deadline = Date.now() + REMOVE_DEADLINE_MS;
    for (const dir of (await treeOf(this.dir)).reverse()) await removeDir(dir, deadline);
  }

  async #until(state: string, deadlineMs: number): Promise<void> {
    const deadline = Date.now() + deadlineMs;
    while (!(await this.#events()).includes(state)) {
      if (Date.now() > deadline)
        throw new AppError('unavailable', 'cgroup.stuck', `cgroup ${this.dir} did not reach "${state}".`);
      await delay(POLL_MS);
    }
  }

  async #events(): Promise<string[]> {
    return (await readFile(join(this.dir, 'cgroup.events'), 'utf8')).split('\n');
  }

  /** 'r+': the kernel's files exist already, and a file must never be made beside them. */
  #write(name: string, value: string): Promise<void> {
    return writeFile(join(this.dir, name), value, { flag: 'r+' });
  }
}

function sessionDir(cgroupPath: string, rootPath: string, sid: string): string {
  if (!/^[0-9A-Za-z][0-9A-Za-z_-]*$/.test(sid))
    throw new AppError('bad_input', 'cgroup.session_id', 'A session id names one directory.');
  return join(cgroupPath, rootPath, sid);
}

async function childrenOf(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

/** Parents before children. A directory may go away while we look. */
async function treeOf(dir: string): Promise<string[]> {
  const found = [dir];
  for (const child of await childrenOf(dir).catch(() => [])) found.push(...(await treeOf(join(dir, child))));
  return found;
}

async function removeDir(dir: string, deadline: number): Promise<void> {
  for (;;) {
    try {
      return await rmdir(dir);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'ENOENT') return;
      if (code !== 'EBUSY' || Date.now() > deadline)
        throw new AppError('conflict', 'cgroup.busy', `cgroup ${dir} still has processes.`, { cause });
    }
    await delay(POLL_MS);
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone between the listing and the signal.
  }
}
