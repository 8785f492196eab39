// A channel as a Duplex: what forwarding, tunnels and agents move their bytes through.
import { Duplex } from 'node:stream';
import type { Channel } from './channel.ts';

const BUFFER_BYTES = 64 * 1024;

export class ChannelStream extends Duplex {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    super({ highWaterMark: BUFFER_BYTES });
    this.#channel = channel;
    // No request has a meaning on a channel that only carries bytes.
    channel.owner = { request: (_name, _fields, reply) => reply?.(false), closed: () => this.#over() };
    const { incoming } = channel;
    incoming.on('data', (bytes: Buffer) => {
      if (!this.push(bytes)) incoming.pause();
    });
    incoming.on('end', () => this.push(null));
  }

  override _read(): void {
    this.#channel.incoming.resume();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    this.#channel.writer.write(bytes).then((sent) => {
      // Not sent: the peer closed. Destroying now would throw away what it said before, so `#over` does it, once that
      // was read; the writer is told then.
      if (sent) done();
    });
  }

  override _final(done: () => void): void {
    this.#channel.eof();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#channel.abort();
    this.#channel.incoming.destroy();
    done(error);
  }

  /** The peer closed, or the connection is gone. */
  #over(): void {
    if (this.readableEnded || this.destroyed) {
      this.destroy();
      return;
    }
    this.once('end', () => this.destroy());
    // With nothing left to read, nobody might ever read: then the end comes by itself.
    if (this.readableLength === 0 && this.#channel.incoming.isEmpty) this.resume();
  }
}
