// One day's file of the log: JSON lines, append only. Owns that a line is whole or absent; knows nothing of days.
import { type FileHandle, open, writeFile } from 'node:fs/promises';

/** Group may read (log shippers), others may not. Set by fchmod: the umask has no say. */
export const fileMode = 0o640;

/** A partial or unreadable end that a crash left, moved out of the way. */
export interface TornTail {
  readonly file: string;
  /** Where its bytes went. */
  readonly savedAs: string;
  readonly bytes: number;
}

export class DayFile {
  readonly path: string;
  /** What was cut when the file was opened. */
  readonly torn: TornTail | undefined;
  readonly #handle: FileHandle;
  #length: number;
  /** A roll-back failed: whatever stands behind #length must go before the next write. */
  #dirty = false;

  private constructor(path: string, handle: FileHandle, length: number, torn: TornTail | undefined) {
    this.path = path;
    this.#handle = handle;
    this.#length = length;
    this.torn = torn;
  }

  /** Creates the file where it is missing; cuts a torn tail into `<path>.torn-<time>`. */
  static async open(path: string, nowMs: number): Promise<DayFile> {
    // a+: O_APPEND keeps a second writer or a truncating log rotator from making holes; reading is for the repair.
    const handle = await open(path, 'a+', fileMode);
    try {
      await handle.chmod(fileMode);
      const { size } = await handle.stat();
      const length = await wholeLength(handle, size);
      const torn = length === size ? undefined : await cutTail(path, handle, length, size, nowMs);
      return new DayFile(path, handle, length, torn);
    } catch (cause) {
      await handle.close();
      throw cause;
    }
  }

  /** Bytes that are whole lines and acknowledged. */
  get length(): number {
    return this.#length;
  }

  /** Writes all of it or, as far as the file shows, nothing; rejects with what the system said. */
  async append(lines: Buffer, sync: boolean): Promise<void> {
    if (this.#dirty) await this.#rollBack();
    try {
      for (let at = 0; at < lines.length; ) {
        const { bytesWritten } = await this.#handle.write(lines, at, lines.length - at);
        at += bytesWritten;
      }
      if (sync) await this.#handle.datasync();
    } catch (cause) {
      this.#dirty = true;
      await this.#rollBack().catch(() => {}); // still dirty: tried again before the next write
      throw cause;
    }
    this.#length += lines.length;
  }

  async close(): Promise<void> {
    if (this.#dirty) await this.#rollBack().catch(() => {});
    await this.#handle.close();
  }

  async #rollBack(): Promise<void> {
    // Never longer: if somebody cut the file under us, truncate would fill the gap with NULs.
    this.#length = Math.min(this.#length, (await this.#handle.stat()).size);
    await this.#handle.truncate(this.#length);
    this.#dirty = false;
  }
}

const tailBlock = 64 * 1024;

/**
 * Length up to the end of the last whole line. A line cut by a crash lacks its newline; a power loss can also
 * leave blocks of NULs, with or without a newline behind them: a last line that is not JSON goes as well.
 */
async function wholeLength(handle: FileHandle, size: number): Promise<number> {
  let end = await afterNewlineBefore(handle, size);
  while (end > 0) {
    const start = await afterNewlineBefore(handle, end - 1);
    const line = Buffer.alloc(end - 1 - start);
    await handle.read(line, 0, line.length, start);
    if (isJson(line)) break;
    end = start;
  }
  return end;
}

/** The offset just behind the last newline in [0, limit); 0 without one. */
async function afterNewlineBefore(handle: FileHandle, limit: number): Promise<number> {
  const block = Buffer.alloc(tailBlock);
  for (let end = limit; end > 0; end -= tailBlock) {
    const start = Math.max(0, end - tailBlock);
    const { bytesRead } = await handle.read(block, 0, end - start, start);
    const at = block.subarray(0, bytesRead).lastIndexOf(0x0a);
    if (at >= 0) return start + at + 1;
  }
  return 0;
}

function isJson(line: Buffer): boolean {
  try {
    JSON.parse(line.toString('utf8'));
    return true;
  } catch {
    return false;
  }
}

/** Saves first, cuts second: a crash in between costs nothing. */
async function cutTail(
  path: string,
  handle: FileHandle,
  length: number,
  size: number,
  nowMs: number,
): Promise<TornTail> {
  const tail = Buffer.alloc(size - length);
  await handle.read(tail, 0, tail.length, length);
  const savedAs = `${path}.torn-${nowMs}`;
  await writeFile(savedAs, tail, { mode: fileMode, flush: true });
  await handle.truncate(length);
  await handle.datasync();
  return { file: path, savedAs, bytes: tail.length };
}
