// What the live files of a session say about the time before this process: read when a session is taken over or a
// crash is cleaned up after. Changes nothing on disk but torn ends.
import { appendFile, open, stat, truncate } from 'node:fs/promises';
import { partTypes } from '@sallyport/contracts/recording/lines.ts';
import { partLines } from './part-lines.ts';
import type { RecordingLayout } from './recording-layout.ts';

export interface LiveRemains {
  /** When the session began, ms. */
  readonly startMs: number;
  /** The next print's `ci`. */
  readonly nextCi: number;
  /** The highest `ei` in any part, -1 without any. */
  readonly lastEi: number;
  /** Output whose print line the crash prevented. */
  readonly unprinted: { readonly offset: number; readonly bytes: number; readonly atMs: number } | undefined;
}

/** The fields of any line of a recording that matter here. */
interface Line {
  readonly event: string;
  readonly ei?: number;
  readonly time?: string;
  readonly ms?: number;
  readonly offset?: number;
  readonly bytes?: number;
  readonly ci?: number;
}

export async function readRemains(layout: RecordingLayout, sid: string): Promise<LiveRemains> {
  let lastEi = -1;
  for (const type of partTypes) {
    if (type === 'chunks') continue;
    const last = await cutTornEnd(layout.live(sid, type));
    lastEi = Math.max(lastEi, last?.ei ?? -1);
  }
  const prints = await readPrints(layout.live(sid, 'events'));
  const chunks = await mendChunks(layout.live(sid, 'chunks'), prints.end);
  return {
    startMs: prints.startMs ?? chunks.birthMs,
    nextCi: prints.nextCi,
    lastEi: Math.max(lastEi, prints.lastEi),
    unprinted:
      chunks.length > prints.end
        ? { offset: prints.end, bytes: chunks.length - prints.end, atMs: chunks.writtenMs }
        : undefined,
  };
}

const tailBlock = 64 * 1024;

/** Cuts what follows the last whole line that is JSON; returns that line. */
async function cutTornEnd(path: string): Promise<Line | undefined> {
  const handle = await open(path, 'r+').catch(ignoreMissing);
  if (handle === undefined) return undefined;
  try {
    const { size } = await handle.stat();
    // Doubles until a whole good line is inside: nearly always the first try.
    for (let want = tailBlock; ; want *= 2) {
      const start = Math.max(0, size - want);
      const tail = Buffer.alloc(size - start);
      await handle.read(tail, 0, tail.length, start);
      const found = lastGoodLine(tail);
      if (found === undefined && start > 0) continue;
      const end = found === undefined ? 0 : start + found.end;
      if (end < size) await handle.truncate(end);
      return found?.line;
    }
  } finally {
    await handle.close();
  }
}

function lastGoodLine(tail: Buffer): { line: Line; end: number } | undefined {
  let end = tail.lastIndexOf(0x0a) + 1;
  while (end > 0) {
    const start = end < 2 ? 0 : tail.lastIndexOf(0x0a, end - 2) + 1;
    const line = parseLine(tail.toString('utf8', start, end));
    if (line !== undefined) return { line, end };
    end = start;
  }
  return undefined;
}

interface Prints {
  /** Behind the last byte a print line accounts for. */
  end: number;
  nextCi: number;
  lastEi: number;
  startMs: number | undefined;
}

async function readPrints(path: string): Promise<Prints> {
  const prints: Prints = { end: 0, nextCi: 0, lastEi: -1, startMs: undefined };
  if ((await stat(path).catch(ignoreMissing)) === undefined) return prints;
  for await (const text of partLines(path)) {
    const line = parseLine(text);
    if (line === undefined) continue;
    prints.startMs ??= line.time === undefined ? undefined : Date.parse(line.time) - (line.ms ?? 0);
    prints.lastEi = Math.max(prints.lastEi, line.ei ?? -1);
    if (line.event !== 'print') continue;
    prints.end = (line.offset ?? 0) + (line.bytes ?? 0);
    prints.nextCi = (line.ci ?? 0) + 1;
  }
  return prints;
}

/**
 * After a power loss the chunks can be shorter than the print lines say. The gap is filled with NULs, which a
 * terminal ignores: offsets of what comes later stay true.
 */
async function mendChunks(
  path: string,
  atLeast: number,
): Promise<{ length: number; birthMs: number; writtenMs: number }> {
  const before = await stat(path).catch(ignoreMissing);
  const length = before?.size ?? 0;
  if (length < atLeast) {
    await appendFile(path, '');
    await truncate(path, atLeast);
  }
  const nowMs = Date.now();
  return {
    length: Math.max(length, atLeast),
    birthMs: before?.birthtimeMs ?? nowMs,
    writtenMs: before?.mtimeMs ?? nowMs,
  };
}

function parseLine(text: string): Line | undefined {
  try {
    const line: unknown = JSON.parse(text);
    return typeof line === 'object' && line !== null && 'event' in line ? (line as Line) : undefined;
  } catch {
    return undefined;
  }
}

function ignoreMissing(cause: NodeJS.ErrnoException): undefined {
  if (cause.code !== 'ENOENT') throw cause;
  return undefined;
}
