// Which of a session's kernel events are in its recording already. The kernel numbers them from 1 without gaps, so
// a bit each is enough: a million events are 125 KB.
export class SeqSet {
  #bits = new Uint8Array(64);

  has(seq: number): boolean {
    return ((this.#bits[seq >> 3] ?? 0) & (1 << (seq & 7))) !== 0;
  }

  add(seq: number): void {
    const at = seq >> 3;
    if (at >= this.#bits.length) {
      const grown = new Uint8Array(Math.max(at + 1, this.#bits.length * 2));
      grown.set(this.#bits);
      this.#bits = grown;
    }
    this.#bits[at] = (this.#bits[at] as number) | (1 << (seq & 7));
  }
}
