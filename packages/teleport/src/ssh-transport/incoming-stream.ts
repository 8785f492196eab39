// What a peer sends on a channel, as a Readable. The SSH window opens again by what was handed to the reader, never
// by what merely arrived: that is the back-pressure from a full pty to the user's keyboard.
import { Readable } from 'node:stream';
import { ByteQueue } from './byte-queue.ts';

/** Handed out ahead of the reader, beside what waits within the window. */
const AHEAD_BYTES = 64 * 1024;

export class IncomingStream extends Readable {
  readonly #queue = new ByteQueue();
  readonly #consumed: (bytes: number) => void;
  #wanted = false;
  #ending = false;

  constructor(consumed: (bytes: number) => void) {
    super({ highWaterMark: AHEAD_BYTES });
    this.#consumed = consumed;
  }

  /** Nothing that came waits to be read. */
  get isEmpty(): boolean {
    return this.#queue.length === 0 && this.readableLength === 0;
  }

  receive(bytes: Buffer): void {
    if (bytes.length === 0) return;
    if (this.#ending || this.destroyed)
      this.#consumed(bytes.length); // nobody will read it
    else if (this.#wanted && this.#queue.length === 0) this.#hand(bytes);
    else this.#queue.push(bytes);
  }

  /** No more will come; what waits can still be read. */
  end(): void {
    if (this.#ending) return;
    this.#ending = true;
    if (this.#queue.length === 0 && !this.destroyed) this.push(null);
  }

  #hand(bytes: Buffer): void {
    this.#wanted = this.push(bytes);
    this.#consumed(bytes.length);
  }

  override _read(): void {
    this.#wanted = true;
    while (this.#wanted) {
      const bytes = this.#queue.shift();
      if (!bytes) break;
      this.#hand(bytes);
    }
    if (this.#ending && this.#queue.length === 0) this.push(null);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // A reader that gives up must not leave the peer stuck: its bytes go nowhere, but the window opens.
    this.#consumed(this.#queue.length);
    this.#queue.clear();
    done(error);
  }
}
