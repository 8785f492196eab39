// Packets out of a stream of chunks. What a reader does not want of a packet (the bytes of a file) goes by uncopied
// and uncounted; what it wants is a view into the chunk, and is copied only where a packet lies across two.
import { MAX_PACKET_BYTES } from './protocol.ts';

/** Length and type. */
const PREFIX_BYTES = 5;

export interface FramerOptions {
  /** How much of a packet of this type is wanted, from behind its type. Infinity: all of it. */
  wants(type: number): number;
  /**
   * `body`: what follows the type, as much as was wanted; a view that is valid until this returns. `length`: how long
   * the whole of what follows is. Returns what is wrong with the packet, if anything.
   */
  packet(type: number, body: Buffer, length: number): string | undefined;
}

export class PacketFramer {
  readonly #options: FramerOptions;
  /** The wanted part of a packet that began in an earlier chunk. */
  #held: Buffer | undefined;
  #heldLength = 0;
  /** Bytes of the present packet that nobody wants. */
  #skip = 0;
  #wrong: string | undefined;

  constructor(options: FramerOptions) {
    this.#options = options;
  }

  /** No packet is under way. */
  get isBetween(): boolean {
    return this.#skip === 0 && this.#held === undefined;
  }

  /** Returns what is wrong with the stream, if anything; then nothing more is read of it. */
  feed(chunk: Buffer): string | undefined {
    for (let at = 0; at < chunk.length && this.#wrong === undefined; ) {
      if (this.#skip > 0) {
        const passed = Math.min(this.#skip, chunk.length - at);
        this.#skip -= passed;
        at += passed;
      } else if (this.#held) at += this.#fill(this.#held, chunk, at);
      else at += this.#begin(chunk, at);
    }
    return this.#wrong;
  }

  /** Returns how much was taken. */
  #begin(chunk: Buffer, at: number): number {
    const left = chunk.length - at;
    if (left < PREFIX_BYTES) return this.#hold(PREFIX_BYTES, chunk, at);
    const wanted = this.#wanted(chunk, at);
    if (wanted === 0) return left;
    if (left < wanted) return this.#hold(wanted, chunk, at);
    this.#deliver(chunk.subarray(at, at + wanted));
    return wanted;
  }

  #hold(size: number, chunk: Buffer, at: number): number {
    this.#held = Buffer.allocUnsafe(size);
    this.#heldLength = 0;
    return this.#fill(this.#held, chunk, at);
  }

  #fill(held: Buffer, chunk: Buffer, at: number): number {
    const taken = chunk.copy(held, this.#heldLength, at, at + held.length - this.#heldLength);
    this.#heldLength += taken;
    if (this.#heldLength < held.length) return taken;
    const wanted = this.#wanted(held, 0);
    if (wanted === 0) return taken;
    if (wanted > held.length) {
      // Only the prefix was there; now it is known how much is wanted.
      this.#held = Buffer.allocUnsafe(wanted);
      held.copy(this.#held);
      return taken;
    }
    this.#held = undefined;
    this.#deliver(held);
    return taken;
  }

  /** Of the packet whose prefix stands there: bytes wanted, prefix included. 0: it is none. */
  #wanted(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32BE(at);
    if (length === 0 || length > MAX_PACKET_BYTES) {
      this.#wrong = `a packet of ${length} bytes`;
      return 0;
    }
    return PREFIX_BYTES + Math.min(length - 1, this.#options.wants(bytes.readUInt8(at + 4)));
  }

  #deliver(packet: Buffer): void {
    const length = packet.readUInt32BE(0) - 1;
    this.#skip = length + PREFIX_BYTES - packet.length;
    this.#wrong = this.#options.packet(packet.readUInt8(4), packet.subarray(PREFIX_BYTES), length);
  }
}
