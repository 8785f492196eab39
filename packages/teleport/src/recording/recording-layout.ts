// Where the files of recordings lie under `<data_dir>/log`.
import { access, chmod, mkdir, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { indexName, type PartType, partName, partTypes } from '@sallyport/contracts/recording/lines.ts';

/** Group may read, as the audit log's. Set by fchmod: the umask has no say. */
export const fileMode = 0o640;
const dirMode = 0o750;

export class RecordingLayout {
  /** Plain files of sessions that live, or that a crash left. */
  readonly liveDir: string;
  /** Finished recordings. */
  readonly finishedDir: string;

  constructor(logDir: string, hostId: string) {
    this.liveDir = join(logDir, 'upload', 'sessions', 'default');
    this.finishedDir = join(logDir, hostId, 'sessions', 'default');
  }

  /** The audit log makes the same folders; whoever comes first does. */
  async makeDirs(): Promise<void> {
    for (const dir of [this.liveDir, this.finishedDir]) {
      const made = await mkdir(dir, { recursive: true, mode: dirMode });
      if (made !== undefined) await chmod(dir, dirMode);
    }
  }

  live(sid: string, type: PartType): string {
    return join(this.liveDir, partName(sid, type));
  }

  finished(sid: string, type: PartType): string {
    return join(this.finishedDir, `${partName(sid, type)}.gz`);
  }

  index(sid: string): string {
    return join(this.finishedDir, indexName(sid));
  }

  /** The parts a session has so far. */
  async liveParts(sid: string): Promise<PartType[]> {
    const parts: PartType[] = [];
    for (const type of partTypes) if (await exists(this.live(sid, type))) parts.push(type);
    return parts;
  }

  /** Sessions with live files. */
  async liveSids(): Promise<string[]> {
    const names = await readdir(this.liveDir).catch(() => []);
    return [...new Set(names.flatMap((name) => liveName.exec(name)?.[1] ?? []))];
  }
}

const liveName =
  /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-0\.(?:chunks|events|session\.[a-z]+-events)$/;

export function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Makes names created or removed in a folder survive a power loss. */
export async function syncDir(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
