import { closeSync, constants, openSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { ReadStream } from 'node:tty';

/**
 * The master side of a pseudo-terminal, without an addon: Node opens /dev/ptmx and the launcher inherits the
 * descriptor, unlocks it and opens the slave. Chunks are Buffers. Not reading `output` stops the program that
 * writes (the kernel's buffer fills); `input.write()` answering false means the program does not read.
 */
export class Pty {
  readonly #master: number;
  #stream: ReadStream | undefined;

  private constructor(master: number) {
    this.#master = master;
  }

  /** O_NOCTTY: a daemon started without a terminal must not acquire this one. libuv adds O_CLOEXEC. */
  static open(): Pty {
    return new Pty(openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY));
  }

  /** The descriptor to hand to the launcher. */
  get fd(): number {
    return this.#master;
  }

  /** Ends (not fails) when the last process has closed the slave. */
  get output(): Readable {
    return this.#attached();
  }

  get input(): Writable {
    return this.#attached();
  }

  /** To be called once the launcher holds the slave open: a master without a slave reads EIO. */
  attach(): void {
    this.#stream = new ReadStream(this.#master);
  }

  /** Gives up our side; with the launcher's gone too the kernel hangs the terminal up. */
  close(): void {
    if (this.#stream) this.#stream.destroy();
    else closeSync(this.#master);
  }

  #attached(): ReadStream {
    if (!this.#stream) throw new Error('pty read before the launcher was ready');
    return this.#stream;
  }
}
