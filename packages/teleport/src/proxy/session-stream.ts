// A session channel as one stream of bytes: what a subsystem that carries another protocol needs.
import { Duplex } from 'node:stream';
import type { SessionChannel } from '../ssh-transport/session-channel.ts';

/** Destroyed when the channel is gone: whoever handles the channel's `closed` calls `destroy`. */
export class SessionStream extends Duplex {
  readonly #channel: SessionChannel;

  constructor(channel: SessionChannel) {
    super({ allowHalfOpen: true });
    this.#channel = channel;
    channel.stdin.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) channel.stdin.pause();
    });
    channel.stdin.on('end', () => this.push(null));
    channel.stdin.pause();
  }

  override _read(): void {
    this.#channel.stdin.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    this.#channel.stdout.write(chunk).then((written) => {
      if (written) done();
      else this.destroy();
    }, done);
  }

  override _final(done: () => void): void {
    this.#channel.eof();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.#channel.isOpen) {
      this.#channel.exit(0);
      void this.#channel.close();
    }
    done(error);
  }
}
