// The end that a crash leaves in a file of lines: where the last whole line ends, and how the rest is kept.
import { type FileHandle, rm, writeFile } from 'node:fs/promises';

/** A partial or unreadable end, moved out of the way. */
export interface TornTail {
  readonly file: string;
  /** Where its bytes went. */
  readonly savedAs: string;
  readonly bytes: number;
}

const tailBlock = 64 * 1024;

/**
 * Length up to the end of the last whole line. A line cut by a crash lacks its newline; a power loss can also
 * leave blocks of NULs, with or without a newline behind them: a last line that is not JSON goes as well.
 */
export async function wholeLength(handle: FileHandle): Promise<number> {
  let end = await afterNewlineBefore(handle, (await handle.stat()).size);
  while (end > 0) {
    const start = await afterNewlineBefore(handle, end - 1);
    const line = Buffer.alloc(end - 1 - start);
    await handle.read(line, 0, line.length, start);
    if (isJson(line)) break;
    end = start;
  }
  return end;
}

/** Saves first, cuts second: a crash in between costs nothing. */
export async function cutTail(
  path: string,
  handle: FileHandle,
  { length, size, nowMs }: { length: number; size: number; nowMs: number },
): Promise<TornTail> {
  const tail = Buffer.alloc(size - length);
  await handle.read(tail, 0, tail.length, length);
  const savedAs = `${path}.torn-${nowMs}`;
  try {
    await writeFile(savedAs, tail, { mode: 0o640, flush: true });
  } catch (cause) {
    await rm(savedAs, { force: true });
    throw cause;
  }
  await handle.truncate(length);
  await handle.datasync();
  return { file: path, savedAs, bytes: tail.length };
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
