// Which records of a session's spool are in the audit log already. Needed once, at recovery: between the last
// checkpoint and a kill -9 the log may hold more than the checkpoint says. A bit a sequence number, so that
// even a session of ten million events whose checkpoint was lost costs 1.25 MB.

const initialBytes = 1024;

export class SeenRecords {
  #bits = new Uint8Array(initialBytes);
  readonly #others = new Set<string>();
  #count = 0;

  get size(): number {
    return this.#count;
  }

  /** @param seq the kernel's sequence number, from 1 */
  add(seq: number): void {
    const index = seq >>> 3;
    if (index >= this.#bits.length) this.#grow(index);
    const bit = 1 << (seq & 7);
    const before = this.#bits[index] ?? 0;
    if ((before & bit) === 0) this.#count += 1;
    this.#bits[index] = before | bit;
  }

  has(seq: number): boolean {
    return ((this.#bits[seq >>> 3] ?? 0) & (1 << (seq & 7))) !== 0;
  }

  /** For the recorder's own records, which have no sequence number; see `recordKey`. */
  addKey(key: string): void {
    if (!this.#others.has(key)) this.#count += 1;
    this.#others.add(key);
  }

  hasKey(key: string): boolean {
    return this.#others.has(key);
  }

  #grow(index: number): void {
    const grown = new Uint8Array(Math.max(index + 1, this.#bits.length * 2));
    grown.set(this.#bits);
    this.#bits = grown;
  }
}
