// Where things lie under `<data_dir>/log`: the documented tree. Makes folders and the link; opens no log file.
import { chmod, mkdir, open, readdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';

const dirMode = 0o750;
const dayFileName = /^\d{4}-\d{2}-\d{2}\.00:00:00\.log$/;
const dayMs = 24 * 3600 * 1000;

export class LogLayout {
  readonly logDir: string;
  readonly hostDir: string;
  readonly link: string;

  constructor(logDir: string, hostId: string) {
    this.logDir = logDir;
    this.hostDir = join(logDir, hostId);
    this.link = join(logDir, 'events.log');
  }

  async makeDirs(): Promise<void> {
    for (const dir of [
      this.hostDir,
      join(this.hostDir, 'sessions', 'default'),
      join(this.logDir, 'playbacks', 'sessions', 'default'),
      join(this.logDir, 'upload', 'sessions', 'default'),
    ]) {
      const made = await mkdir(dir, { recursive: true, mode: dirMode });
      if (made !== undefined) await chmodDown(made, dir);
    }
  }

  /** The file an append at this moment goes into. */
  dayFile(nowMs: number): string {
    return join(this.hostDir, `${new Date(nowMs).toISOString().slice(0, 10)}.00:00:00.log`);
  }

  /** Oldest first. */
  async dayFiles(): Promise<string[]> {
    const names = (await readdir(this.hostDir)).filter((name) => dayFileName.test(name));
    return names.sort().map((name) => join(this.hostDir, name));
  }

  /** Replaces events.log in one step: whoever opens it finds the old file or the new one, never none. */
  async pointLinkAt(target: string): Promise<void> {
    // Its own name a process: two may do this at once.
    const next = `${this.link}.next-${process.pid}`;
    await rm(next, { force: true }); // left by a crash
    await symlink(target, next);
    await rename(next, this.link);
    await syncDir(this.logDir);
  }
}

/** The first moment after the day of a file, ms. */
export function endOfDay(path: string): number {
  const day = path.slice(path.lastIndexOf('/') + 1).slice(0, 10);
  return Date.parse(`${day}T00:00:00Z`) + dayMs;
}

/** Makes names created in a folder survive a power loss. */
export async function syncDir(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** mkdir obeys the umask; what we made ourselves, from `top` down to `dir`, gets its mode whatever it is. */
async function chmodDown(top: string, dir: string): Promise<void> {
  await chmod(top, dirMode);
  let path = top;
  for (const name of dir.slice(top.length).split('/').filter(Boolean)) {
    path = join(path, name);
    await chmod(path, dirMode);
  }
}
