// The last of what a terminal showed, for whoever joins later. A tail of bytes, not a terminal's state: of a
// full-screen program it is right from its last clearing of the screen on, of a shell it is the last lines.

/** Several full screens with colours. Held for each session with a terminal, so it grows only as it is used. */
const maxBytes = 32 * 1024;
const firstBytes = 1024;

/** What begins a screen anew: the alternate screen, "erase display", a full reset. */
const clearings = ['\x1b[?1049h', '\x1b[2J', '\x1bc'].map((text) => Buffer.from(text, 'latin1'));

export class OutputTail {
  /** A ring once it is full. */
  #ring = Buffer.alloc(0);
  #next = 0;
  #length = 0;

  push(bytes: Buffer): void {
    const kept = bytes.subarray(-maxBytes);
    this.#grow(this.#length + kept.length);
    for (let at = 0; at < kept.length; ) {
      const copied = kept.copy(this.#ring, this.#next, at);
      at += copied;
      this.#next = (this.#next + copied) % this.#ring.length;
    }
    this.#length = Math.min(this.#ring.length, this.#length + kept.length);
  }

  /** Begins where a screen does, or with a whole line when something was cut off before it. */
  snapshot(): Buffer {
    const first = (this.#next - this.#length + this.#ring.length) % (this.#ring.length || 1);
    const [head, rest] = [
      this.#ring.subarray(first, first + this.#length),
      this.#ring.subarray(0, this.#next),
    ];
    const whole = head.length === this.#length ? Buffer.from(head) : Buffer.concat([head, rest]);
    const screen = Math.max(...clearings.map((clearing) => whole.lastIndexOf(clearing)));
    if (screen >= 0) return whole.subarray(screen);
    return this.#length < maxBytes ? whole : whole.subarray(whole.indexOf(0x0a) + 1);
  }

  #grow(wanted: number): void {
    if (wanted <= this.#ring.length || this.#ring.length === maxBytes) return;
    let size = Math.max(firstBytes, this.#ring.length);
    while (size < wanted && size < maxBytes) size *= 2;
    const grown = Buffer.alloc(size);
    // Below its full size it never wrapped: every growth comes before the write that would.
    this.#ring.copy(grown, 0, 0, this.#length);
    this.#ring = grown;
    this.#next = this.#length % size;
  }
}
