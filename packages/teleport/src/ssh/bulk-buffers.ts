// The buffers that bulk output is read into, used again and again. A new one for each read is what bulk costs Node: it
// lies outside V8's heap, lives through a write and a packet or two, and is then old enough that only a collection of
// the whole heap frees it. Each output has its own: what somebody kept by mistake becomes nobody else's output.

/** One is read into, two wait for their reader, one is recorded, one is on its way to the client. */
const MAX_KEPT = 5;

const lent = new WeakMap<ArrayBufferLike, BulkBuffers>();

/** Whoever was handed `bytes` has no more use for them; said once. Does nothing with bytes of other buffers. */
export function giveBack(bytes: Buffer): void {
  lent.get(bytes.buffer)?.takeBack(bytes.buffer);
}

export class BulkBuffers {
  readonly #bytes: number;
  readonly #kept: Buffer[] = [];

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /** How many wait to be used again. */
  get kept(): number {
    return this.#kept.length;
  }

  take(): Buffer {
    const buffer = this.#kept.pop() ?? Buffer.allocUnsafeSlow(this.#bytes);
    lent.set(buffer.buffer, this);
    return buffer;
  }

  takeBack(memory: ArrayBufferLike): void {
    if (!lent.delete(memory)) return;
    if (this.#kept.length < MAX_KEPT) this.#kept.push(Buffer.from(memory));
  }
}
