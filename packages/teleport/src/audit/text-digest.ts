// Which texts may occur in a block of events, in some bytes: a bit for each four characters in a row (of printable
// ASCII, small letters) that occur in a line of it. A text all of whose bits are there may be in the block; one that
// lacks a bit is not. The bits of a text do not depend on the size of a digest: a smaller one is a larger one folded.

const gramLength = 4;
/** Before folding: more than a block of ordinary events fills. */
const maxBits = 2 ** 18;
const minBits = 2 ** 10;
/** A digest is folded as long as no more than about this part of it is set afterwards. */
const maxFill = 0.25;
/** Of one text that is looked for; each is a look at the digest. */
const maxGrams = 24;
const firstPrintable = 0x20;
const lastPrintable = 0x7e;

/** Of one block; `lines` as the log has them. */
export function digestOf(lines: readonly string[]): Buffer {
  let bits = new Uint8Array(maxBits / 8);
  for (const line of lines)
    eachGram(line.toLowerCase(), (bit) => {
      const at = bit >> 3;
      bits[at] = (bits[at] ?? 0) | (1 << (bit & 7));
    });
  while (bits.length > minBits / 8 && 2 * countOf(bits) <= maxFill * 8 * bits.length) bits = folded(bits);
  return Buffer.from(bits);
}

/** What a digest must have for the text to be in its block; none: nothing can be said. */
export function bitsOf(text: string): number[] {
  const found = new Set<number>();
  // As a line holds it (event-filter.ts does the same).
  eachGram(JSON.stringify(text).slice(1, -1).toLowerCase(), (bit) => found.add(bit));
  return [...found].slice(0, maxGrams);
}

function eachGram(text: string, take: (bit: number) => void): void {
  let gram = 0;
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < firstPrintable || code > lastPrintable) {
      length = 0;
      continue;
    }
    // Seven bits each.
    gram = ((gram << 7) | code) & 0xfffffff;
    // Fibonacci hashing: the upper bits of the product are mixed best.
    if (++length >= gramLength) take(Math.imul(gram, 0x9e3779b1) >>> 14);
  }
}

function folded(bits: Uint8Array): Uint8Array<ArrayBuffer> {
  const half = bits.length / 2;
  return Uint8Array.from({ length: half }, (_, i) => (bits[i] ?? 0) | (bits[i + half] ?? 0));
}

function countOf(bits: Uint8Array): number {
  let count = 0;
  for (let byte of bits) for (; byte !== 0; byte &= byte - 1) count++;
  return count;
}
