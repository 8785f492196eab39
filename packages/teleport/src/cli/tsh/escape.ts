// OpenSSH's escape: `~.` right after a line's beginning ends the connection, `~~` types one tilde.

const tilde = 0x7e;
const dot = 0x2e;
const enter = new Set([0x0d, 0x0a]);

export class EscapeReader {
  #lineStart = true;
  #held = false;

  read(bytes: Buffer): { readonly pass: Buffer; readonly leaves: boolean } {
    const pass: number[] = [];
    for (const byte of bytes) {
      if (this.#held) {
        this.#held = false;
        if (byte === dot) return { pass: Buffer.from(pass), leaves: true };
        // A tilde that begins nothing was meant as one; `~~` stands for one too.
        pass.push(tilde);
        if (byte === tilde) {
          this.#lineStart = false;
          continue;
        }
      } else if (this.#lineStart && byte === tilde) {
        this.#held = true;
        continue;
      }
      pass.push(byte);
      this.#lineStart = enter.has(byte);
    }
    return { pass: Buffer.from(pass), leaves: false };
  }
}
