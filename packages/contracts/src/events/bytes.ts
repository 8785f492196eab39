// Strings that came from the kernel are bytes. Linux names and arguments may be any bytes but NUL, JSON knows
// only Unicode. Rule of the wire: the field holds the text with every invalid UTF-8 sequence shown as U+FFFD;
// when (and only when) something was invalid, a sibling `<field>_bytes` holds the exact bytes in base64.
// A list gets a sibling list covering *all* its entries, so that no index arithmetic is needed to read it.
// A text that really contains U+FFFD is valid UTF-8 and has no sibling: the two cannot be confused.

/** `{ path: string, path_bytes?: string }` for `textField('path', …)`. */
export type TextField<K extends string> = { [P in K]: string } & { [P in `${K}_bytes`]?: string };

/** `{ argv: string[], argv_bytes?: string[] }` for `textListField('argv', …)`. */
export type TextListField<K extends string> = { [P in K]: string[] } & { [P in `${K}_bytes`]?: string[] };

export function textField<K extends string>(name: K, bytes: Uint8Array): TextField<K> {
  const { text, valid } = decodeUtf8(bytes);
  const field: Record<string, string> = { [name]: text };
  if (!valid) field[`${name}_bytes`] = encodeBase64(bytes);
  return field as TextField<K>;
}

export function textListField<K extends string>(name: K, list: readonly Uint8Array[]): TextListField<K> {
  const decoded = list.map(decodeUtf8);
  const field: Record<string, string[]> = { [name]: decoded.map((d) => d.text) };
  if (decoded.some((d) => !d.valid)) field[`${name}_bytes`] = list.map(encodeBase64);
  return field as TextListField<K>;
}

/** The exact bytes of a field written by `textField`. */
export function fieldBytes(text: string, base64: string | undefined): Uint8Array {
  return base64 === undefined ? encodeUtf8(text) : decodeBase64(base64);
}

/**
 * UTF-8 (RFC 3629) with one U+FFFD for each maximal invalid prefix, as WHATWG decoders do. Written out because
 * contracts see neither Node nor the DOM (no TextDecoder), and because validity must be known, not guessed.
 */
export function decodeUtf8(bytes: Uint8Array): { text: string; valid: boolean } {
  let text = '';
  let valid = true;
  let at = 0;
  while (at < bytes.length) {
    const asciiEnd = skipAscii(bytes, at);
    // fromCharCode takes its arguments on the stack: 4096 at a time stays far from any engine's limit.
    for (; at < asciiEnd; at = Math.min(at + 4096, asciiEnd)) {
      text += String.fromCharCode(...bytes.subarray(at, Math.min(at + 4096, asciiEnd)));
    }
    if (at >= bytes.length) break;
    const { codePoint, length } = decodeSequence(bytes, at);
    if (codePoint < 0) valid = false;
    text += codePoint < 0 ? '\ufffd' : String.fromCodePoint(codePoint);
    at += length;
  }
  return { text, valid };
}

function skipAscii(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && (bytes[at] as number) < 0x80) at++;
  return at;
}

/** One non-ASCII sequence. `codePoint` -1: invalid, `length` bytes of it are replaced by one U+FFFD. */
function decodeSequence(bytes: Uint8Array, at: number): { codePoint: number; length: number } {
  const lead = bytes[at] as number;
  const need =
    lead >= 0xc2 && lead <= 0xdf
      ? 1
      : lead >= 0xe0 && lead <= 0xef
        ? 2
        : lead >= 0xf0 && lead <= 0xf4
          ? 3
          : 0;
  if (need === 0) return { codePoint: -1, length: 1 };
  let codePoint = lead & (0x3f >> need);
  for (let i = 1; i <= need; i++) {
    const next = bytes[at + i] ?? 0;
    // The second byte excludes overlong forms (E0, F0), surrogates (ED) and what is above U+10FFFF (F4).
    const low = i > 1 ? 0x80 : lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const high = i > 1 ? 0xbf : lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    if (next < low || next > high) return { codePoint: -1, length: i };
    codePoint = (codePoint << 6) | (next & 0x3f);
  }
  return { codePoint, length: need + 1 };
}

/** UTF-8 of a text; a lone surrogate (possible in a JavaScript string, not in UTF-8) becomes U+FFFD. */
export function encodeUtf8(text: string): Uint8Array {
  const out: number[] = [];
  for (const character of text.toWellFormed()) {
    const c = character.codePointAt(0) as number;
    if (c < 0x80) out.push(c);
    else if (c < 0x800) out.push(0xc0 | (c >> 6), 0x80 | (c & 0x3f));
    else if (c < 0x10000) out.push(0xe0 | (c >> 12), 0x80 | ((c >> 6) & 0x3f), 0x80 | (c & 0x3f));
    else out.push(0xf0 | (c >> 18), 0x80 | ((c >> 12) & 0x3f), 0x80 | ((c >> 6) & 0x3f), 0x80 | (c & 0x3f));
  }
  return Uint8Array.from(out);
}

const base64Alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** RFC 4648 section 4, padded. */
export function encodeBase64(bytes: Uint8Array): string {
  let out = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const word = ((bytes[i] as number) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    out += base64Alphabet.charAt(word >> 18) + base64Alphabet.charAt((word >> 12) & 63);
    out += left > 1 ? base64Alphabet.charAt((word >> 6) & 63) : '=';
    out += left > 2 ? base64Alphabet.charAt(word & 63) : '=';
  }
  return out;
}

/** Reads what `encodeBase64` wrote; the schema has checked the alphabet before. */
export function decodeBase64(base64: string): Uint8Array {
  const symbols = base64.replace(/=+$/, '');
  const out = new Uint8Array(Math.floor((symbols.length * 3) / 4));
  let word = 0;
  for (let i = 0, at = 0; i < symbols.length; i++) {
    word = ((word << 6) | base64Alphabet.indexOf(symbols.charAt(i))) & 0xffffff;
    // After symbols 1, 2 and 3 of a group of four (12, 18, 24 bits read) another whole byte is complete.
    if (i % 4 !== 0) out[at++] = (word >> (6 - 2 * (i % 4))) & 0xff;
  }
  return out;
}
