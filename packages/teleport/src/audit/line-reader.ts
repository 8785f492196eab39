// Lines of a file, forwards or backwards, a block at a time. Yields batches: an await for each line would cost
// more than reading it. What is appended after the walk began, and a last line without its newline, which is
// still being written, are not yielded.
import { open } from 'node:fs/promises';

const blockSize = 256 * 1024;

/** From byte `from` on, where a line begins. Memory in use: a block, or the longest line if that is larger. */
export async function* linesForward(path: string, from = 0): AsyncGenerator<string[]> {
  const handle = await open(path, 'r');
  try {
    let carry = Buffer.alloc(0);
    const limit = (await handle.stat()).size;
    for (let at = from; at < limit; ) {
      const block = Buffer.allocUnsafe(Math.min(blockSize, limit - at));
      const { bytesRead } = await handle.read(block, 0, block.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      const filled = block.subarray(0, bytesRead);
      const data = carry.length === 0 ? filled : Buffer.concat([carry, filled]);
      const end = data.lastIndexOf(0x0a);
      if (end >= 0) yield data.toString('utf8', 0, end).split('\n');
      carry = data.subarray(end + 1);
    }
  } finally {
    await handle.close();
  }
}

export async function* linesBackward(path: string): AsyncGenerator<string[]> {
  const handle = await open(path, 'r');
  try {
    // Nothing behind the last newline is yielded, so the walk begins with an open end.
    let carry: Buffer | undefined;
    for (let end = (await handle.stat()).size; end > 0; ) {
      const start = Math.max(0, end - blockSize);
      const block = Buffer.allocUnsafe(end - start);
      const { bytesRead } = await handle.read(block, 0, block.length, start);
      end = start;
      const read = block.subarray(0, bytesRead);
      const data: Buffer =
        carry === undefined ? read.subarray(0, read.lastIndexOf(0x0a) + 1) : Buffer.concat([read, carry]);
      // The first line of a block may begin in the block before: it is carried there, unless there is none.
      const first = start === 0 ? 0 : data.indexOf(0x0a) + 1;
      carry = data.length === 0 ? undefined : data.subarray(0, first);
      const whole = data.toString('utf8', first, data.length).split('\n').reverse();
      if (data.length > first) yield whole.slice(1); // what stands behind the last newline is nothing
    }
  } finally {
    await handle.close();
  }
}
