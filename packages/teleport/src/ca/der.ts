// As much of DER (X.690) as certificates need: definite lengths, low tag numbers, lengths in their shortest form.
// node:crypto parses certificates but shows no extension it does not know; ours are read with this.
import { badWire } from './wire.ts';

export const derTags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

export interface DerValue {
  readonly tag: number;
  readonly content: Buffer;
  /** Header and content. */
  readonly raw: Buffer;
}

/** The first value in `bytes`. Throws `ca.bad_encoding`. */
export function readDer(bytes: Buffer): DerValue {
  const tag = bytes[0];
  const first = bytes[1];
  if (tag === undefined || first === undefined) throw badWire('DER: a value is cut off');
  if ((tag & 0x1f) === 0x1f) throw badWire('DER: long tags are not accepted');
  const { length, start } = readLength(bytes, first);
  const end = start + length;
  if (end > bytes.length) throw badWire('DER: a value runs past the end');
  return { tag, content: bytes.subarray(start, end), raw: bytes.subarray(0, end) };
}

function readLength(bytes: Buffer, first: number): { length: number; start: number } {
  if (first < 0x80) return { length: first, start: 2 };
  const octets = first & 0x7f;
  // 0x80 alone is BER's indefinite length; four octets hold more than any certificate.
  if (octets === 0 || octets > 4 || 2 + octets > bytes.length) throw badWire('DER: bad length');
  const length = bytes.readUIntBE(2, octets);
  if (length < 0x80 || bytes[2] === 0) throw badWire('DER: a length is not in its shortest form');
  return { length, start: 2 + octets };
}

/** The values inside a constructed one. */
export function derChildren(value: DerValue): DerValue[] {
  const children: DerValue[] = [];
  for (let rest = value.content; rest.length > 0; ) {
    const child = readDer(rest);
    children.push(child);
    rest = rest.subarray(child.raw.length);
  }
  return children;
}

export function writeDer(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const octets = Math.ceil((32 - Math.clz32(content.length)) / 8);
  const header = Buffer.alloc(2 + octets);
  header[0] = tag;
  header[1] = 0x80 | octets;
  header.writeUIntBE(content.length, 2, octets);
  return Buffer.concat([header, content]);
}

/** An object identifier's content: base 128, high bit on all octets of an arc but its last (X.690 section 8.19). */
export function oidContent(oid: string): Buffer {
  const [first = 0n, second = 0n, ...rest] = oid.split('.').map(BigInt);
  return Buffer.concat([first * 40n + second, ...rest].map(base128));
}

function base128(arc: bigint): Buffer {
  const octets = [Number(arc & 0x7fn)];
  for (let left = arc >> 7n; left > 0n; left >>= 7n) octets.unshift(Number(left & 0x7fn) | 0x80);
  return Buffer.from(octets);
}
