// Bytes waiting for a reader. Small pieces are copied together: a peer that sends its 2 MiB window one byte a packet
// must cost 2 MiB, not two million buffers.

const BLOCK_BYTES = 32 * 1024;
/** From here on a piece is worth a buffer of its own. */
const LARGE_BYTES = 8 * 1024;

export class ByteQueue {
  #blocks: Buffer[] = [];
  #tail: Buffer | undefined; // the last block, when it is ours to append to
  #tailUsed = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(bytes: Buffer): void {
    this.#length += bytes.length;
    if (bytes.length >= LARGE_BYTES) {
      this.#seal();
      this.#blocks.push(bytes);
      return;
    }
    let from = 0;
    while (from < bytes.length) {
      if (!this.#tail) {
        this.#tail = Buffer.allocUnsafeSlow(BLOCK_BYTES);
        this.#tailUsed = 0;
      }
      const copied = bytes.copy(this.#tail, this.#tailUsed, from);
      this.#tailUsed += copied;
      from += copied;
      if (this.#tailUsed === BLOCK_BYTES) this.#seal();
    }
  }

  #seal(): void {
    if (this.#tail) this.#blocks.push(this.#tail.subarray(0, this.#tailUsed));
    this.#tail = undefined;
  }

  /** The oldest piece; undefined when empty. */
  shift(): Buffer | undefined {
    if (this.#blocks.length === 0) this.#seal();
    const block = this.#blocks.shift();
    this.#length -= block?.length ?? 0;
    return block;
  }

  clear(): void {
    this.#blocks = [];
    this.#tail = undefined;
    this.#length = 0;
  }
}
