import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { type Readable, Writable } from 'node:stream';
import { ReadStream } from 'node:tty';
import { HostOutput } from './host-output.ts';

/** Between two tries to write to a terminal whose program does not read. */
const RETRY_MIN_MS = 1;
const RETRY_MAX_MS = 20;

/**
 * The master side of a pseudo-terminal, without an addon: Node opens /dev/ptmx and the launcher inherits the
 * descriptor, unlocks it and opens the slave. Chunks are Buffers. Not reading `output` stops the program that
 * writes (the kernel's buffer fills); `input.write()` answering false means that the program does not read.
 */
export class Pty {
  readonly #master: number;
  #output: HostOutput | undefined;
  #input: MasterWriter | undefined;
  #closed = false;

  private constructor(master: number) {
    this.#master = master;
  }

  /**
   * O_NOCTTY: a daemon started without a terminal must not acquire this one. O_NONBLOCK: a program that does
   * not read its terminal must not stop the event loop. libuv adds O_CLOEXEC.
   */
  static open(): Pty {
    return new Pty(openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK));
  }

  /** The descriptor to hand to the launcher. */
  get fd(): number {
    return this.#master;
  }

  /** Ends (does not fail) when the last process has closed the slave. Pausing it is backpressure. */
  get output(): Readable {
    return attached(this.#output);
  }

  get input(): Writable {
    return attached(this.#input);
  }

  /** To be called once the launcher holds the slave open: a master without a slave reads EIO. */
  attach(): void {
    const input = new MasterWriter(this.#master);
    this.#input = input;
    this.#output = HostOutput.ofTerminal((onread) => {
      const reader = new MasterReader(this.#master, { onread });
      // The reader owns the descriptor. Once it is closed the number may mean another file: the writer goes first.
      reader.onRelease = () => input.destroy();
      return reader;
    });
  }

  /** Gives up our side; with the launcher's gone too the kernel hangs the terminal up. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#output) this.#output.destroy();
    else closeSync(this.#master);
  }
}

function attached<T>(stream: T | undefined): T {
  if (!stream) throw new Error('terminal used before the launcher was ready');
  return stream;
}

/** Linux answers EIO on a master when no process holds the slave any more: the end, not a failure. */
class MasterReader extends ReadStream {
  onRelease: () => void = () => {};

  override destroy(error?: Error): this {
    if (isHangUp(error) && !this.destroyed) return this.#end();
    this.onRelease();
    return super.destroy(error);
  }

  #end(): this {
    this.onRelease();
    this.once('end', () => super.destroy());
    this.push(null);
    this.read(0);
    return this;
  }
}

function isHangUp(error: Error | undefined): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'EIO';
}

/**
 * Writes past libuv: for a master it falls back to blocking writes and spins on EAGAIN, which would hold the
 * whole daemon for as long as one program leaves its terminal unread. JavaScript cannot wait for POLLOUT, so a
 * full terminal is tried again after 1–20 ms; until then the stream is simply not drained.
 */
class MasterWriter extends Writable {
  readonly #master: number;
  #retry: NodeJS.Timeout | undefined;

  constructor(master: number) {
    super({ decodeStrings: true });
    this.#master = master;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#put(chunk, RETRY_MIN_MS, done);
  }

  override _destroy(_error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#retry);
    done(null);
  }

  #put(bytes: Buffer, waitMs: number, done: (error?: Error | null) => void): void {
    const written = tryWrite(this.#master, bytes);
    // EIO: the last reader is gone. Bytes typed into a closed terminal are nobody's.
    if (written === 'gone' || written === bytes.length) {
      done();
      return;
    }
    const wait = written > 0 ? RETRY_MIN_MS : waitMs;
    const rest = bytes.subarray(written);
    this.#retry = setTimeout(() => this.#put(rest, Math.min(wait * 2, RETRY_MAX_MS), done), wait);
  }
}

function tryWrite(fd: number, bytes: Buffer): number | 'gone' {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? 0 : 'gone';
  }
}
