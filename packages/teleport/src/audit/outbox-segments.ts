// The files of an outbox: which there are, what is in each, and a new one to write to.
import { type FileHandle, readdir } from 'node:fs/promises';
import { syncDir } from './log-layout.ts';
import {
  checkSegment,
  createSegment,
  emptySegmentLength,
  firstOf,
  readRecords,
  segmentPath,
} from './outbox-segment.ts';

export interface Segment {
  readonly path: string;
  readonly first: number;
  records: number;
  /** Durable bytes. What stands behind them is no event. */
  length: number;
}

export function endOf(segment: Segment | undefined): number {
  return segment === undefined ? 0 : segment.first + segment.records;
}

/** Ready to be written to, its name durable. */
export async function freshSegment(
  dir: string,
  first: number,
): Promise<{ segment: Segment; handle: FileHandle }> {
  const path = segmentPath(dir, first);
  const handle = await createSegment(path);
  await syncDir(dir);
  return { segment: { path, first, records: 0, length: emptySegmentLength }, handle };
}

/** Oldest first. A new segment is always begun, so nothing is cut here: damage at the end is stepped over. */
export async function findSegments(dir: string): Promise<{ segments: Segment[]; damagedBytes: number }> {
  const firsts = (await readdir(dir)).map(firstOf).filter((first) => first !== undefined);
  const segments: Segment[] = [];
  let damagedBytes = 0;
  for (const first of firsts.sort((a, b) => a - b)) {
    const path = segmentPath(dir, first);
    const check = await checkSegment(path);
    segments.push({ path, first, records: check.records, length: check.length });
    damagedBytes = check.damagedBytes; // of the last one: in others the hole shows when it is read
  }
  return { segments, damagedBytes };
}

export async function* linesOf(segment: Segment, order: 'asc' | 'desc' = 'asc'): AsyncGenerator<string[]> {
  const batches: string[][] = [];
  try {
    for await (const records of readRecords(segment.path, 0, segment.length)) {
      const lines = records.map(({ line }) => line);
      if (order === 'asc') yield lines;
      else batches.push(lines.reverse()); // a segment is small enough to turn round
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause; // acknowledged and deleted meanwhile
  }
  yield* batches.reverse();
}
