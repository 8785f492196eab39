// Fields that records and control frames share. The callers have checked the bounds.
import type { TotalsByKind } from './kernel-event.ts';
import { kind, kind_totals } from './wire.gen.ts';

/** u64 as a number: exact up to 2^53, enough for counts, lengths and sequence numbers. */
export function count(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000;
}

/** A view of a char[limit] up to its NUL. */
export function upToNul(bytes: Buffer, at: number, limit: number): Buffer {
  let end = at;
  while (end < at + limit && bytes[end] !== 0) end++;
  return bytes.subarray(at, end);
}

/** struct kind_totals[KIND_COUNT] */
export function decodeTotals(bytes: Buffer, at: number): TotalsByKind {
  const of = (index: number) => ({
    emitted: count(bytes, at + index * kind_totals.SIZE + kind_totals.emitted),
    recorded: count(bytes, at + index * kind_totals.SIZE + kind_totals.recorded),
    lost: count(bytes, at + index * kind_totals.SIZE + kind_totals.lost),
  });
  return {
    command: of(kind.KIND_COMMAND),
    disk: of(kind.KIND_DISK),
    network: of(kind.KIND_NETWORK),
    meta: of(kind.KIND_META),
  };
}
