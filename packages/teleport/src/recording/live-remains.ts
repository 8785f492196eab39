// What the live files of a session say about the time before this process: read when a session is taken over or a
// crash is cleaned up after. Changes nothing on disk but torn ends.
import { appendFile, open, stat, truncate } from 'node:fs/promises';
import { partTypes } from '@sallyport/contracts/recording/lines.ts';
import { partLines } from './part-lines.ts';
import { exists, type RecordingLayout } from './recording-layout.ts';
import { SeqSet } from './seq-set.ts';

export interface LiveRemains {
  /** When the session began, ms. */
  readonly startMs: number;
  /** The next print's `ci`. */
  readonly nextCi: number;
  /** The highest `ei` in any part, -1 without any. */
  readonly lastEi: number;
  /** Kernel events that are in a part. */
  readonly seqs: SeqSet;
  /** Output whose print line the crash prevented. */
  readonly unprinted: { readonly offset: number; readonly bytes: number; readonly atMs: number } | undefined;
}

/** The fields of any line of a recording that matter here. */
interface Line {
  readonly event: string;
  readonly ei?: number;
  readonly seq?: number;
  readonly time?: string;
  readonly ms?: number;
  readonly offset?: number;
  readonly bytes?: number;
  readonly ci?: number;
}

export async function readRemains(layout: RecordingLayout, sid: string): Promise<LiveRemains> {
  const past: Past = { lastEi: -1, end: 0, nextCi: 0, startMs: undefined, seqs: new SeqSet() };
  for (const type of partTypes) {
    if (type === 'chunks' || !(await exists(layout.live(sid, type)))) continue;
    await cutTornEnd(layout.live(sid, type));
    for await (const text of partLines(layout.live(sid, type))) readLine(past, text);
  }
  const chunks = await mendChunks(layout.live(sid, 'chunks'), past.end);
  const missing = chunks.length - past.end;
  return {
    startMs: past.startMs ?? chunks.birthMs,
    nextCi: past.nextCi,
    lastEi: past.lastEi,
    seqs: past.seqs,
    unprinted: missing > 0 ? { offset: past.end, bytes: missing, atMs: chunks.writtenMs } : undefined,
  };
}

/** What the lines of all parts add up to. */
interface Past {
  lastEi: number;
  /** Behind the last byte that a print line accounts for. */
  end: number;
  nextCi: number;
  startMs: number | undefined;
  readonly seqs: SeqSet;
}

function readLine(past: Past, text: string): void {
  const line = parseLine(text);
  if (line === undefined) return;
  // The first line of the events part, which is the first part read, tells when the session began.
  past.startMs ??= line.time === undefined ? undefined : Date.parse(line.time) - (line.ms ?? 0);
  past.lastEi = Math.max(past.lastEi, line.ei ?? -1);
  if (line.seq !== undefined) past.seqs.add(line.seq);
  if (line.event !== 'print') return;
  past.end = (line.offset ?? 0) + (line.bytes ?? 0);
  past.nextCi = (line.ci ?? 0) + 1;
}

const tailBlock = 64 * 1024;

/** Cuts what follows the last whole line that is JSON. */
async function cutTornEnd(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    const { size } = await handle.stat();
    // Doubles until a whole good line is inside: nearly always the first try.
    for (let want = tailBlock; ; want *= 2) {
      const start = Math.max(0, size - want);
      const tail = Buffer.alloc(size - start);
      await handle.read(tail, 0, tail.length, start);
      const end = lastGoodEnd(tail);
      if (end === 0 && start > 0) continue;
      if (start + end < size) await handle.truncate(start + end);
      return;
    }
  } finally {
    await handle.close();
  }
}

/** Behind the last whole good line of a tail; 0 without one. */
function lastGoodEnd(tail: Buffer): number {
  let end = tail.lastIndexOf(0x0a) + 1;
  while (end > 0) {
    const start = end < 2 ? 0 : tail.lastIndexOf(0x0a, end - 2) + 1;
    if (parseLine(tail.toString('utf8', start, end)) !== undefined) break;
    end = start;
  }
  return end;
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
