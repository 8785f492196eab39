// The line with which a relay says whose connection it hands over, before the first byte of the client (which stays
// as it is). Owns the frame only: what stands behind the magic is judged by whoever runs the server.
//
//   sallyport-relay-1 <text without blanks>\n<what the client sends: SSH-2.0-…>

/** Lower case: the first byte tells it from `SSH-2.0-`, so that nothing of an ordinary client is ever held back. */
export const RELAY_MAGIC = 'sallyport-relay-1 ';
/** With magic and newline. An ed25519 host certificate with a hundred names has some 5 KiB, 7 in base64. */
export const MAX_RELAY_LINE_BYTES = 8 * 1024;

const MAGIC = Buffer.from(RELAY_MAGIC, 'latin1');
const NEWLINE = 0x0a;
const MAX_PIECES = 64;

export type FirstBytes =
  | { readonly kind: 'more' }
  /** No relay's line: everything is the client's. */
  | { readonly kind: 'client'; readonly bytes: Buffer }
  /** The whole line without its newline, and what is the client's behind it. */
  | { readonly kind: 'relayed'; readonly line: string; readonly rest: Buffer }
  | { readonly kind: 'too-long' };

/** Takes pieces of any size until it has said something else than `more`. */
export class FirstBytesReader {
  #pieces: Buffer[] = [];
  #length = 0;

  push(piece: Buffer): FirstBytes {
    const before = this.#length;
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (before < MAGIC.length) {
      const start = this.#joined().subarray(0, MAGIC.length);
      if (!start.equals(MAGIC.subarray(0, start.length))) return { kind: 'client', bytes: this.#joined() };
    }
    const at = piece.indexOf(NEWLINE);
    // A buffer of one byte costs hundreds: they do not pile up.
    if (this.#pieces.length >= MAX_PIECES) this.#joined();
    if (at < 0) return this.#length < MAX_RELAY_LINE_BYTES ? { kind: 'more' } : { kind: 'too-long' };
    const end = before + at;
    if (end >= MAX_RELAY_LINE_BYTES) return { kind: 'too-long' };
    const all = this.#joined();
    return { kind: 'relayed', line: all.toString('latin1', 0, end), rest: all.subarray(end + 1) };
  }

  #joined(): Buffer {
    const [only] = this.#pieces;
    if (only !== undefined && this.#pieces.length === 1) return only;
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [all];
    return all;
  }
}
