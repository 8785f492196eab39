// Streams of what a session's program writes. Node would make a buffer of 64 KiB for each read: for bulk they are what
// it costs most, and from a terminal, 4 KiB at a time, they are nearly empty. Here buffers are used again
// (bulk-buffers.ts), and a terminal's burst is gathered, as what a chunk costs on its way is far more than reading it.
import { type OnReadOpts, Socket } from 'node:net';
import { Readable } from 'node:stream';
import { BulkBuffers, giveBack } from './bulk-buffers.ts';

const SMALL_BYTES = 16 * 1024;
/** Of a pipe of 1 MiB (launcher.c): a wake-up and a write of the disk for so much. */
const BULK_BYTES = 256 * 1024;
/** N_TTY hands over no more at once. */
const TERMINAL_READ_BYTES = 4 * 1024;
/** No keystroke's echo. */
const BURST_BYTES = 2 * 1024;
/** How long what follows a burst is gathered: nobody sees it come so much later. */
const GATHER_MS = 2;
/** What a fast terminal gives in that time. */
const GATHERED_BYTES = 128 * 1024;
/** So many times nothing more to hand over: the burst is over, or the reader is slow. */
const IDLE_TICKS = 8;

/** False: nobody wants more now. */
type Push = (chunk: Buffer) => boolean;

/** Between the reads and the stream's chunks. */
interface Gatherer {
  /** Where the next read goes. Asked for right after each, and before the first. */
  buffer(): Buffer;
  /** So many bytes are there. False stops the reading. */
  arrived(length: number): boolean;
  /** Nothing may be held back any longer. */
  flush(): void;
  /** Buffers that were taken are given back. */
  release(): void;
}

/** A Readable of chunks that may be given back (`giveBack`) when they are in nobody's hands any more. */
export class HostOutput extends Readable {
  readonly #socket: Socket;
  readonly #gatherer: Gatherer;

  private constructor(
    open: (onread: OnReadOpts) => Socket,
    gatherer: (push: Push, pause: () => void) => Gatherer,
  ) {
    // Two chunks are ready while one is with the reader. Of objects: those of bytes are joined, by a copy, when they wait.
    super({ objectMode: true, highWaterMark: 2 });
    this.#gatherer = gatherer(
      (chunk) => this.push(chunk),
      () => this.#socket.pause(),
    );
    this.#socket = open({
      buffer: () => this.#gatherer.buffer(),
      callback: (length) => this.#gatherer.arrived(length),
    })
      .on('end', () => {
        this.#gatherer.flush();
        this.push(null);
      })
      .on('error', (error) => this.destroy(error))
      .on('close', () => {
        // What came before the end may not have been read yet.
        if (!this.#socket.readableEnded) this.destroy();
      });
  }

  /** Of a pipe: `fd`, non-blocking, is the stream's from now on. */
  static ofPipe(fd: number): HostOutput {
    const open = (onread: OnReadOpts) => new Socket({ ...{ fd, readable: true, writable: false }, onread });
    return new HostOutput(open, (push) => new PipeGatherer(push));
  }

  /** Of a terminal's master, which `open` makes and which is the stream's from then on. */
  static ofTerminal(open: (onread: OnReadOpts) => Socket): HostOutput {
    return new HostOutput(open, (push, pause) => new BurstGatherer(push, pause));
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#gatherer.release();
    this.#socket.destroy();
    done(error);
  }
}

/** A read is a chunk. Small ones are copied out of one buffer; a program that fills it is read in bulk from then on. */
class PipeGatherer implements Gatherer {
  readonly #push: Push;
  readonly #small = Buffer.allocUnsafeSlow(SMALL_BYTES);
  readonly #buffers = new BulkBuffers(BULK_BYTES);
  #bulk: Buffer | undefined;

  constructor(push: Push) {
    this.#push = push;
  }

  buffer(): Buffer {
    return this.#bulk ?? this.#small;
  }

  arrived(length: number): boolean {
    const bytes = this.buffer().subarray(0, length);
    if (length < SMALL_BYTES) {
      const copy = Buffer.from(bytes);
      this.release();
      return this.#push(copy);
    }
    const chunk = this.#bulk ? bytes : Buffer.from(bytes);
    this.#bulk = this.#buffers.take();
    return this.#push(chunk);
  }

  flush(): void {}

  release(): void {
    if (this.#bulk) giveBack(this.#bulk);
    this.#bulk = undefined;
  }
}

interface Burst {
  buffer: Buffer;
  used: number;
  idleTicks: number;
  readonly timer: NodeJS.Timeout;
}

/** A small read is a chunk; so is a large one, and with it begins a burst, which is handed over every few ms. */
class BurstGatherer implements Gatherer {
  readonly #push: Push;
  readonly #pause: () => void;
  readonly #piece = Buffer.allocUnsafeSlow(TERMINAL_READ_BYTES);
  readonly #buffers = new BulkBuffers(GATHERED_BYTES);
  #burst: Burst | undefined;

  constructor(push: Push, pause: () => void) {
    this.#push = push;
    this.#pause = pause;
  }

  buffer(): Buffer {
    return this.#piece;
  }

  arrived(length: number): boolean {
    const bytes = this.#piece.subarray(0, length);
    const burst = this.#burst;
    if (burst === undefined) {
      if (length >= BURST_BYTES) this.#begin();
      return this.#push(Buffer.from(bytes));
    }
    burst.used += bytes.copy(burst.buffer, burst.used);
    return burst.used + TERMINAL_READ_BYTES <= burst.buffer.length || this.#hand(burst);
  }

  flush(): void {
    if (this.#burst && this.#burst.used > 0) this.#hand(this.#burst);
  }

  release(): void {
    if (this.#burst === undefined) return;
    clearInterval(this.#burst.timer);
    giveBack(this.#burst.buffer);
    this.#burst = undefined;
  }

  #begin(): void {
    const timer = setInterval(() => this.#tick(), GATHER_MS);
    this.#burst = { buffer: this.#buffers.take(), used: 0, idleTicks: 0, timer };
  }

  #tick(): void {
    const burst = this.#burst;
    if (burst === undefined) return;
    if (burst.used > 0) {
      if (!this.#hand(burst)) this.#pause();
    } else if (++burst.idleTicks >= IDLE_TICKS) this.release();
  }

  #hand(burst: Burst): boolean {
    const bytes = burst.buffer.subarray(0, burst.used);
    burst.used = 0;
    burst.idleTicks = 0;
    if (bytes.length < SMALL_BYTES) return this.#push(Buffer.from(bytes));
    burst.buffer = this.#buffers.take();
    return this.#push(bytes);
  }
}
