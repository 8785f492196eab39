// The variable tail of a record: tag, length, value, padded to 8 (struct tlv of wire.h).
import { tlv, tlv_tag } from './wire.gen.ts';

/** Values by tag; a view into the record, not a copy. */
export type Tail = readonly (Buffer | undefined)[];

const noTail: Tail = [];
const highestTag = Math.max(...Object.values(tlv_tag));

/** Undefined when a length points outside the record. Tags this build does not know are passed over. */
export function readTail(bytes: Buffer, start: number, end: number): Tail | undefined {
  if (start === end) return noTail;
  const values: (Buffer | undefined)[] = [];
  let at = start;
  while (at < end) {
    if (end - at < tlv.SIZE) return undefined;
    const tag = bytes.readUInt16LE(at + tlv.tag);
    const length = bytes.readUInt32LE(at + tlv.length);
    const from = at + tlv.SIZE;
    if (length > end - from) return undefined;
    if (tag <= highestTag) values[tag] ??= bytes.subarray(from, from + length);
    // Past the padding; the last value may end the record without any.
    at = from + ((length + 7) & ~7);
  }
  return values;
}

/** `a\0b\0` → [a, b]. One trailing NUL ends the last string, so an empty last argument survives. */
export function splitStrings(area: Buffer | undefined): Buffer[] {
  if (area === undefined || area.length === 0) return [];
  const strings: Buffer[] = [];
  let from = 0;
  while (from < area.length) {
    const nul = area.indexOf(0, from);
    const to = nul === -1 ? area.length : nul;
    strings.push(area.subarray(from, to));
    from = to + 1;
  }
  return strings;
}
