// How far a session's spool has got into the audit log: one small record, rewritten in place after each batch
// that is durable. Never ahead of the log, often behind it: recovery reads on from here and skips what the log
// has. Not synced itself; a checkpoint lost to a power cut costs reading, not evidence.
import { type FileHandle, open } from 'node:fs/promises';
import type { EventKind } from '@sallyport/kernel/kernel-event.ts';

/** Records put into the log so far, by kind: what the kernel's own totals are held against at the end. */
export type LoggedByKind = Record<EventKind, number>;

export interface Progress {
  readonly spoolOffset: number;
  readonly logged: LoggedByKind;
}

/** One sector: written whole or not at all. */
const recordBytes = 512;

export const nothingLogged: Readonly<LoggedByKind> = { command: 0, disk: 0, network: 0, meta: 0 };

export class Checkpoint {
  readonly #file: FileHandle;
  /** What a daemon before us left; undefined: nothing, or nothing readable. */
  readonly found: Progress | undefined;

  private constructor(file: FileHandle, found: Progress | undefined) {
    this.#file = file;
    this.found = found;
  }

  static async open(path: string): Promise<Checkpoint> {
    // 'a+' would ignore positions; without O_TRUNC, because the content is what we came for.
    const file = await open(path, 'r+', 0o600).catch(() => open(path, 'w+', 0o600));
    const bytes = Buffer.alloc(recordBytes);
    const { bytesRead } = await file.read(bytes, 0, recordBytes, 0);
    return new Checkpoint(file, parse(bytes.toString('utf8', 0, bytesRead)));
  }

  async write(progress: Progress): Promise<void> {
    const bytes = Buffer.alloc(recordBytes, ' ');
    bytes.write(JSON.stringify(progress));
    await this.#file.write(bytes, 0, recordBytes, 0);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

function parse(text: string): Progress | undefined {
  try {
    const value = JSON.parse(text) as Progress;
    const numbers = [value.spoolOffset, ...Object.values(value.logged)];
    return numbers.every((n) => Number.isSafeInteger(n) && n >= 0) ? value : undefined;
  } catch {
    return undefined;
  }
}
