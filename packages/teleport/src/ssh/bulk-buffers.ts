// The buffers that bulk output is read into, used again and again. A new one for each read is what bulk costs Node: it
// lies outside V8's heap, lives through a write and a packet or two, and is then old enough that only a collection of
// the whole heap frees it.

export const BULK_BYTES = 256 * 1024;
/** Kept for whoever comes next, of all sessions: 8 MiB. */
const MAX_KEPT = 32;

export class BulkBuffers {
  readonly #lent = new WeakSet<ArrayBufferLike>();
  readonly #kept: Buffer[] = [];

  get kept(): number {
    return this.#kept.length;
  }

  take(): Buffer {
    const buffer = this.#kept.pop() ?? Buffer.allocUnsafeSlow(BULK_BYTES);
    this.#lent.add(buffer.buffer);
    return buffer;
  }

  /** Whoever was handed `bytes` has no more use for them; said once. Does nothing with bytes of other buffers. */
  giveBack(bytes: Buffer): void {
    if (!this.#lent.delete(bytes.buffer)) return;
    if (this.#kept.length < MAX_KEPT) this.#kept.push(Buffer.from(bytes.buffer));
  }
}

export const bulkBuffers = new BulkBuffers();
