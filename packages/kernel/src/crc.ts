// CRC-32 (IEEE 802.3, as zlib) of a range. For the short records a spool is made of, a table in JavaScript
// beats zlib.crc32: that needs a Buffer view and a call out of the engine for every record (0.6 µs measured).
import { crc32 } from 'node:zlib';

/** From here on zlib's speed a byte pays for the call. */
const longBytes = 512;

/** table[k * 256 + b]: the effect of byte b followed by k zero bytes. */
const table = new Int32Array(4 * 256);
for (let b = 0; b < 256; b++) {
  let c = b;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  table[b] = c;
}
for (let i = 256; i < table.length; i++) {
  const c = entry(i - 256);
  table[i] = entry(c & 0xff) ^ (c >>> 8);
}

function entry(index: number): number {
  return table[index] as number;
}

export function crcOf(bytes: Buffer, from: number, to: number): number {
  if (to - from >= longBytes) return crc32(bytes.subarray(from, to));
  let c = -1;
  let at = from;
  // Four bytes a step; the bounds were checked by the caller, so the reads are never undefined.
  for (; at + 4 <= to; at += 4) {
    c ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24);
    c =
      entry(768 + (c & 0xff)) ^
      entry(512 + ((c >>> 8) & 0xff)) ^
      entry(256 + ((c >>> 16) & 0xff)) ^
      entry(c >>> 24);
  }
  for (; at < to; at++) c = entry((c ^ (bytes[at] as number)) & 0xff) ^ (c >>> 8);
  return ~c >>> 0;
}
