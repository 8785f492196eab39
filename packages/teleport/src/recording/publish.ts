// Live files → a finished recording. Each part is compressed beside its place and moved there whole; the index
// comes last, then the live files go. Cut off at any point, it can be done again from the start.
import { createReadStream, createWriteStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { constants, createGzip } from 'node:zlib';
import { encodeIndexLine } from '@sallyport/contracts/recording/lines.ts';
import { partLines } from './part-lines.ts';
import { exists, fileMode, type RecordingLayout, syncDir } from './recording-layout.ts';

export async function publish(layout: RecordingLayout, sid: string): Promise<void> {
  const parts = await layout.liveParts(sid);
  // A crash between the index and the last removal: what is left of the live files is no longer the whole.
  if (!(await exists(layout.index(sid)))) {
    const lines: string[] = [];
    for (const type of parts) {
      await compress(layout.live(sid, type), layout.finished(sid, type));
      const index = type === 'chunks' ? 0 : await firstEi(layout.live(sid, type));
      lines.push(
        encodeIndexLine({ file_name: basename(layout.finished(sid, type)), type, index, offset: 0 }),
      );
    }
    // The parts' names must be on disk before the index that vouches for them.
    await syncDir(layout.finishedDir);
    await writeWhole(layout.index(sid), `${lines.join('\n')}\n`);
    await syncDir(layout.finishedDir);
  }
  for (const type of parts) await rm(layout.live(sid, type), { force: true });
}

/**
 * Compressing and writing files share Node's four worker threads. Many long sessions that end at once must not hold
 * all of them: live terminals and the audit log wait for the same ones.
 */
const maxCompressing = 2;
let compressing = 0;
const waiting: (() => void)[] = [];

async function compress(from: string, to: string): Promise<void> {
  if (compressing >= maxCompressing) await new Promise<void>((resolve) => waiting.push(resolve));
  else compressing++;
  try {
    await compressNow(from, to);
  } finally {
    const next = waiting.shift(); // who waited takes over the place
    if (next === undefined) compressing--;
    else next();
  }
}

/**
 * Nobody types so much, or reads it: such output is a program's, and compressing it well would take the CPU of sessions
 * that live (nearly three times as much a byte) for a few per cent of its size.
 */
const bulkBytes = 16 * 1024 * 1024;

/** Memory: the windows of the streams, whatever the size of the file. */
async function compressNow(from: string, to: string): Promise<void> {
  const next = `${to}.tmp`;
  const { size } = await stat(from);
  const level = size > bulkBytes ? constants.Z_BEST_SPEED : constants.Z_DEFAULT_COMPRESSION;
  const target = createWriteStream(next, { mode: fileMode, flush: true });
  await pipeline(createReadStream(from, { highWaterMark: 64 * 1024 }), createGzip({ level }), target);
  await moveIn(next, to);
}

async function writeWhole(to: string, text: string): Promise<void> {
  const next = `${to}.tmp`;
  const handle = await open(next, 'w', fileMode);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await moveIn(next, to);
}

async function moveIn(next: string, to: string): Promise<void> {
  const handle = await open(next, 'r');
  try {
    await handle.chmod(fileMode); // the umask took part in making it
  } finally {
    await handle.close();
  }
  await rename(next, to);
}

async function firstEi(path: string): Promise<number> {
  for await (const line of partLines(path)) return (JSON.parse(line) as { ei?: number }).ei ?? 0;
  return 0;
}

/** Files of a compression that a crash cut off. */
export function isHalfMade(name: string): boolean {
  return name.endsWith('.gz.tmp') || name.endsWith('.index.tmp');
}
