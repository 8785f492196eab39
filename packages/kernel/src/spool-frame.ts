// One frame of a spool file inside a window of bytes: whole, incomplete or damaged.
import { crcOf } from './crc.ts';
import { SPOOL_FRAME_MAGIC, spool_frame, WIRE_MAX_RECORD } from './wire.gen.ts';

/** Frames start on multiples of this from the file's start. */
export const frameAlign = 8;

export type CorruptionReason = 'bad_magic' | 'bad_length' | 'bad_crc';

export type FrameCheck =
  | {
      readonly state: 'whole';
      readonly recordAt: number;
      readonly recordLength: number;
      readonly next: number;
    }
  /** `needed`: bytes from `at` on that would complete it. */
  | { readonly state: 'incomplete'; readonly needed: number }
  | { readonly state: 'corrupt'; readonly reason: CorruptionReason };

/** Looks at the frame that starts at bytes[at]. */
export function checkFrame(bytes: Buffer, at: number, end: number): FrameCheck {
  if (end - at < spool_frame.SIZE) return { state: 'incomplete', needed: spool_frame.SIZE };
  if (bytes.readUInt32LE(at + spool_frame.magic) !== SPOOL_FRAME_MAGIC) return corrupt('bad_magic');
  const recordLength = bytes.readUInt32LE(at + spool_frame.length);
  // No record is that long: damage, not a reason to allocate.
  if (recordLength > WIRE_MAX_RECORD) return corrupt('bad_length');
  const recordAt = at + spool_frame.SIZE;
  const next = recordAt + Math.ceil(recordLength / frameAlign) * frameAlign;
  if (next > end) return { state: 'incomplete', needed: next - at };
  const sum = crcOf(bytes, recordAt, recordAt + recordLength);
  if (sum !== bytes.readUInt32LE(at + spool_frame.crc32)) return corrupt('bad_crc');
  return { state: 'whole', recordAt, recordLength, next };
}

function corrupt(reason: CorruptionReason): FrameCheck {
  return { state: 'corrupt', reason };
}
