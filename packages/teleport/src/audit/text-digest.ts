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
  const bits = new Uint8Array(maxBits / 8);
  for (const line of lines) setGrams(bits, line.toLowerCase());
  let words = new Uint32Array(bits.buffer);
  while (words.length > minBits / 32 && 2 * countOf(words) <= maxFill * 32 * words.length)
    words = folded(words);
  return Buffer.from(words.buffer, 0, words.byteLength);
}

/** What a digest must have for the text to be in its block; none: nothing can be said. */
export function bitsOf(text: string): number[] {
  const found = new Set<number>();
  // As a line holds it (event-filter.ts does the same).
  const written = JSON.stringify(text).slice(1, -1).toLowerCase();
  for (const [run] of written.matchAll(/[\x20-\x7e]{4,}/g))
    for (let from = 0; from + gramLength <= run.length && found.size < maxGrams; from++) {
      let gram = 0;
      for (let i = from; i < from + gramLength; i++) gram = (gram << 7) | run.charCodeAt(i);
      found.add(bitOf(gram));
    }
  return [...found];
}

/** Fibonacci hashing: the upper bits of the product are mixed best. */
function bitOf(gram: number): number {
  return Math.imul(gram, 0x9e3779b1) >>> 14;
}

/** Of all events, so without a call for each gram. */
function setGrams(bits: Uint8Array, text: string): void {
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
    if (++length < gramLength) continue;
    const bit = bitOf(gram);
    bits[bit >> 3] = (bits[bit >> 3] ?? 0) | (1 << (bit & 7));
  }
}

/** In place: what is left is its first half. */
function folded(words: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const half = words.length / 2;
  for (let i = 0; i < half; i++) words[i] = (words[i] ?? 0) | (words[i + half] ?? 0);
  return words.subarray(0, half);
}

function countOf(words: Uint32Array): number {
  let count = 0;
  for (let word of words) {
    // Bits by pairs, by fours, by bytes; the product sums the bytes (Hacker's Delight, 5-1).
    word -= (word >>> 1) & 0x55555555;
    word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
    word = (word + (word >>> 4)) & 0x0f0f0f0f;
    count += Math.imul(word, 0x01010101) >>> 24;
  }
  return count;
}
