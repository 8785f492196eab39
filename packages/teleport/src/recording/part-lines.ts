// Lines of a part, plain or compressed, as a stream.
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { createGunzip } from 'node:zlib';
import { AppError } from '@sallyport/contracts/errors.ts';

/** A last line without its newline is not yielded: it is still being written, or torn. */
export async function* partLines(path: string): AsyncGenerator<string> {
  let carry = Buffer.alloc(0);
  for await (const block of partBytes(path)) {
    const data = carry.length === 0 ? block : Buffer.concat([carry, block]);
    const end = data.lastIndexOf(0x0a);
    if (end >= 0) yield* data.toString('utf8', 0, end).split('\n');
    carry = Buffer.from(data.subarray(end + 1));
  }
}

/** The bytes of a file; of a `.gz` what was compressed. */
export async function* partBytes(path: string): AsyncGenerator<Buffer> {
  const file = createReadStream(path, { highWaterMark: 256 * 1024 });
  if (!path.endsWith('.gz')) {
    yield* file;
    return;
  }
  const gunzip = createGunzip();
  // pipe() does not carry errors along; without this a read error would leave the reader waiting for ever.
  file.on('error', (error) => gunzip.destroy(error));
  try {
    yield* file.pipe(gunzip);
  } catch (cause) {
    throw new AppError(
      'unavailable',
      'recording.damaged',
      `A part of the recording is damaged: ${basename(path)}.`,
      {
        cause,
      },
    );
  } finally {
    file.destroy();
  }
}
