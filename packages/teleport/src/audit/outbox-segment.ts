// One file of the outbox: records one after another, each with its length and checksum. Append only; knows how to
// find out what of it survived a crash.
//
//   segment  magic (8 bytes) · record · record · …
//   record   u32 length of the line, u32 CRC-32 of the line, the line (UTF-8, no newline)      little endian
//
// The position of a record is the one in the file's name, the segment's first, plus its place in the file.
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

const magic = Buffer.from('SPOUTBX1');
const recordHeader = 8;
const fileMode = 0o600;
const fileName = /^(\d{16})\.seg$/;
const blockSize = 1024 * 1024;

/** Longest line; a length beyond it is no length but damage. */
export const maxLineBytes = 1024 * 1024;

export function segmentPath(dir: string, first: number): string {
  return join(dir, `${String(first).padStart(16, '0')}.seg`);
}

/** `undefined`: the name is not one of a segment. */
export function firstOf(name: string): number | undefined {
  const digits = fileName.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function encodeRecord(line: string): Buffer {
  const length = Buffer.byteLength(line);
  const record = Buffer.allocUnsafe(recordHeader + length);
  record.write(line, recordHeader, 'utf8');
  record.writeUInt32LE(length, 0);
  record.writeUInt32LE(crc32(record.subarray(recordHeader)), 4);
  return record;
}

/** A new, empty segment; what is there under its name is overwritten. */
export async function createSegment(path: string): Promise<FileHandle> {
  const handle = await open(path, 'w+', fileMode);
  try {
    await handle.write(magic, 0, magic.length, 0);
    await handle.datasync();
  } catch (cause) {
    await handle.close();
    throw cause;
  }
  return handle;
}

export const emptySegmentLength = magic.length;

export interface SegmentRecord {
  readonly line: string;
  /** Of the record behind it. */
  readonly nextOffset: number;
}

/**
 * Whole records from `offset` (0: from the first) up to `end`, in batches. Ends where the records end: at `end`, or
 * at damage. Memory: a block, or the longest record.
 */
export async function* readRecords(
  path: string,
  offset: number,
  end: number,
): AsyncGenerator<SegmentRecord[]> {
  const handle = await open(path, 'r');
  try {
    let at = offset;
    if (at < magic.length) {
      if (!(await startsWithMagic(handle))) return;
      at = magic.length;
    }
    let wanted = blockSize;
    while (at < end) {
      const block = Buffer.allocUnsafe(Math.min(wanted, end - at));
      const { bytesRead } = await handle.read(block, 0, block.length, at);
      const { records, length, damaged } = parse(block.subarray(0, bytesRead), at);
      if (records.length > 0) yield records;
      at += length;
      if (damaged || bytesRead < block.length) return;
      // Not one whole record in the block: it is longer than the block, or the file is cut within it.
      if (length === 0 && wanted >= maxLineBytes + recordHeader) return;
      wanted = length === 0 ? maxLineBytes + recordHeader : blockSize;
      if (length === 0 && block.length === end - at) return;
    }
  } finally {
    await handle.close();
  }
}

async function startsWithMagic(handle: FileHandle): Promise<boolean> {
  const head = Buffer.alloc(magic.length);
  await handle.read(head, 0, head.length, 0);
  return head.equals(magic);
}

function parse(block: Buffer, base: number): { records: SegmentRecord[]; length: number; damaged: boolean } {
  const records: SegmentRecord[] = [];
  let at = 0;
  while (at + recordHeader <= block.length) {
    const length = block.readUInt32LE(at);
    // Zeros are what a file system leaves in a block that never reached the disk; a line is never empty.
    if (length === 0 || length > maxLineBytes) return { records, length: at, damaged: true };
    const behind = at + recordHeader + length;
    if (behind > block.length) break;
    const line = block.subarray(at + recordHeader, behind);
    if (crc32(line) !== block.readUInt32LE(at + 4)) return { records, length: at, damaged: true };
    records.push({ line: line.toString('utf8'), nextOffset: base + behind });
    at = behind;
  }
  return { records, length: at, damaged: false };
}

export interface SegmentCheck {
  readonly records: number;
  /** Up to the end of the last whole record; 0 when not even the magic is there. */
  readonly length: number;
  /** Bytes behind it. */
  readonly damagedBytes: number;
}

export async function checkSegment(path: string): Promise<SegmentCheck> {
  const handle = await open(path, 'r');
  const { size } = await handle.stat();
  const whole = await startsWithMagic(handle).finally(() => handle.close());
  let records = 0;
  let length = whole ? magic.length : 0;
  for await (const batch of readRecords(path, 0, size)) {
    records += batch.length;
    length = batch.at(-1)?.nextOffset ?? length;
  }
  return { records, length, damagedBytes: size - length };
}
