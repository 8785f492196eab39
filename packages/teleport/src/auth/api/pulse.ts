// The server's own pulse: every half second it tells each caller who waits that the call is being carried out
// (contracts/api/signs-of-life.ts), so that a caller gives up on a server that is silent and waits for one that is slow.
//
// A process that was stopped and goes on finds requests in its sockets whose callers have gone elsewhere long ago. The
// pulse knows that it was out, before anything of that time is carried out late.
import type { ServerResponse } from 'node:http';

/** Longer than any work keeps the process from its pulse; callers gave up long before, ms. */
const outMs = 10_000;

export class Pulse {
  readonly #timer: NodeJS.Timeout;
  readonly #outMs: number;
  readonly #waiting = new Set<ServerResponse>();
  #last = performance.now();

  constructor(everyMs: number, outAfterMs = outMs) {
    this.#outMs = outAfterMs;
    this.#timer = setInterval(() => this.#beat(), everyMs).unref();
  }

  /** Until the head of the answer is written. */
  accompany(response: ServerResponse): void {
    this.#waiting.add(response);
    response.once('close', () => this.#waiting.delete(response));
  }

  /** The process was stopped until this moment: what it reads now may be old. */
  get wasOut(): boolean {
    return performance.now() - this.#last > this.#outMs;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #beat(): void {
    this.#last = performance.now();
    for (const response of this.#waiting) {
      if (response.headersSent || response.destroyed) this.#waiting.delete(response);
      else response.writeProcessing();
    }
  }
}
