// One forwarded connection, as the daemon sees it: two pipes that a process of the relay holds, opened through /proc.
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { ByteCounts } from '../terminal-flow.ts';
import type { RelayEnds } from './relay-line.ts';

/** asm-generic/fcntl.h; Node has no name for it. */
const O_PATH = 0o10000000;
/** What the relay waits for: that the pipes are open here. */
const ready = Buffer.from([0x0a]);

export class RelayStream extends Duplex {
  readonly #input: Socket;
  readonly #output: Socket;
  readonly #counts: ByteCounts;
  #over = false;

  /**
   * `uid`: whose relay it is. `counts`: `tx` is what comes out of the stream, towards the client. Throws an AppError
   * when the pipes are not there any more.
   */
  static open(ends: RelayEnds, uid: number, counts: ByteCounts): RelayStream {
    const write = openPipe(ends.pid, ends.writeFd, constants.O_WRONLY, uid);
    try {
      const read = openPipe(ends.pid, ends.readFd, constants.O_RDONLY, uid);
      return new RelayStream(write, read, counts);
    } catch (thrown) {
      closeSync(write);
      throw thrown;
    }
  }

  private constructor(writeFd: number, readFd: number, counts: ByteCounts) {
    super({ allowHalfOpen: true });
    this.#counts = counts;
    this.#output = new Socket({ fd: writeFd, readable: false, writable: true });
    this.#input = new Socket({ fd: readFd, readable: true, writable: false });
    this.#output.on('error', () => this.destroy()); // EPIPE: the other end is gone
    this.#input.on('error', () => this.destroy());
    this.#input.on('data', (bytes: Buffer) => {
      counts.tx += bytes.length;
      if (!this.push(bytes)) this.#input.pause();
    });
    this.#input.on('end', () => {
      this.push(null);
      if (this.#over) this.#finish();
    });
    this.#output.write(ready);
  }

  /** The relay says that the connection is over: what came from it can still be read, then the stream closes. */
  connectionOver(): void {
    this.#over = true;
    if (this.#input.readableEnded) this.#finish();
  }

  #finish(): void {
    if (this.readableEnded) this.destroy();
    else this.once('end', () => this.destroy());
  }

  override _read(): void {
    this.#input.resume();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#counts.rx += bytes.length;
    this.#output.write(bytes, (error) => {
      if (error) this.destroy(); // a broken connection looks like a close
      done();
    });
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#output.destroy(); // all has been written: a pipe's end of file is its being closed
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#output.destroy();
    this.#input.destroy();
    done(error);
  }
}

/**
 * What a number in a user's process stands for is that process's choice. So it is looked at before it is opened, by
 * a descriptor that opens nothing (O_PATH), and opened only if it is a pipe of that user: opening /dev/watchdog
 * would reboot the host. The relay cannot be made to say another's number; this holds should it ever be.
 */
function openPipe(pid: number, fd: number, flags: number, uid: number): number {
  let looked: number | undefined;
  try {
    looked = openSync(`/proc/${pid}/fd/${fd}`, O_PATH);
    const found = fstatSync(looked);
    if (!found.isFIFO() || found.uid !== uid)
      throw new Error(`descriptor ${fd} of ${pid} is no pipe of the user`);
    return openSync(`/proc/self/fd/${looked}`, flags | constants.O_NONBLOCK);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EACCES')
      throw new AppError('unavailable', 'forwarding.ptrace', 'This node cannot open what its relay offers.', {
        hint: 'The ssh service needs CAP_SYS_PTRACE to forward for users other than root.',
        cause,
      });
    throw new AppError('unavailable', 'forwarding.gone', 'The connection ended before it began.', { cause });
  } finally {
    if (looked !== undefined) closeSync(looked);
  }
}
