// A stream as JSON lines over HTTP: waits for the reader, says `alive` while there is nothing to say, and lets go
// of the source as soon as the reader has gone.
//
// Written with callbacks where a loop of Promise.race would read nicer: a race leaves a reaction on every promise
// that lost it, and a quiet stream lives for weeks.
import type { ServerResponse } from 'node:http';
import type { Route } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';

export interface StreamOptions {
  readonly aliveLine: string;
  readonly aliveMs: number;
  readonly stalledMs: number;
  /** Aborts when the reader has gone or the server closes. */
  readonly signal: AbortSignal;
  /** Called once, before the first byte. Not called when the source fails before its first line. */
  readonly writeHead: () => void;
}

/** A source may refuse before its first line: until then, or for so long, the head of the answer waits. */
const headWaitMs = 250;

/** `{"type":"alive"}` where the route has such a line; elsewhere an empty one, which readers skip. */
export function aliveLineOf(route: Route): string {
  return route.result.safeParse({ type: 'alive' }).success ? '{"type":"alive"}\n' : '\n';
}

/**
 * Resolves when the source has ended or the reader has gone. Rejects when the source failed, or the reader took
 * nothing for too long: an error answer can be given while no head was written; later, only the connection cut.
 */
export function writeStream(
  source: AsyncIterable<unknown>,
  response: ServerResponse,
  options: StreamOptions,
): Promise<void> {
  return new Promise((resolve, reject) => {
    new StreamAnswer(source, response, options, resolve, reject).pull();
  });
}

class StreamAnswer {
  readonly #iterator: AsyncIterator<unknown>;
  readonly #response: ServerResponse;
  readonly #options: StreamOptions;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  readonly #head: NodeJS.Timeout;
  readonly #quiet: NodeJS.Timeout;
  #stalled: NodeJS.Timeout | undefined;
  #begun = false;
  #over = false;

  constructor(
    source: AsyncIterable<unknown>,
    response: ServerResponse,
    options: StreamOptions,
    resolve: () => void,
    reject: (error: unknown) => void,
  ) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#response = response;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#head = setTimeout(() => this.#begin(), headWaitMs);
    this.#quiet = setTimeout(() => this.#sayAlive(), options.aliveMs);
    options.signal.addEventListener('abort', this.#onAbort, { once: true });
    if (options.signal.aborted) this.#finish();
  }

  pull(): void {
    if (this.#over) return;
    // A source made by hand may throw where a generator would reject.
    new Promise<IteratorResult<unknown>>((resolve) => resolve(this.#iterator.next())).then(
      (item) => this.#take(item),
      (error: unknown) => this.#finish({ error }),
    );
  }

  readonly #onAbort = () => this.#finish();

  readonly #onDrain = () => {
    clearTimeout(this.#stalled);
    this.#stalled = undefined;
    this.pull();
  };

  #take(item: IteratorResult<unknown>): void {
    if (this.#over) return;
    this.#begin();
    if (item.done === true) {
      this.#response.end();
      this.#finish();
      return;
    }
    if (this.#write(`${JSON.stringify(item.value)}\n`)) this.pull();
    else this.#response.once('drain', this.#onDrain);
  }

  #begin(): void {
    clearTimeout(this.#head);
    if (this.#begun || this.#over) return;
    this.#begun = true;
    this.#options.writeHead();
  }

  #write(text: string): boolean {
    this.#quiet.refresh();
    if (this.#response.write(text)) return true;
    this.#stalled ??= setTimeout(() => this.#finish({ error: stalled() }), this.#options.stalledMs);
    return false;
  }

  #sayAlive(): void {
    // With bytes waiting for the reader one more line would tell it nothing.
    if (this.#stalled !== undefined || this.#over) return void this.#quiet.refresh();
    this.#begin();
    if (!this.#write(this.#options.aliveLine)) this.#response.once('drain', this.#onAliveDrain);
  }

  /** As onDrain, but the source was asked already. */
  readonly #onAliveDrain = () => {
    clearTimeout(this.#stalled);
    this.#stalled = undefined;
  };

  #finish(failed?: { readonly error: unknown }): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of [this.#head, this.#quiet, this.#stalled]) clearTimeout(timer);
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    this.#response.off('drain', this.#onDrain).off('drain', this.#onAliveDrain);
    // Not awaited: a source that hangs must not hold the call.
    new Promise((resolve) => resolve(this.#iterator.return?.())).catch(() => {});
    if (failed === undefined) this.#resolve();
    else this.#reject(failed.error);
  }
}

function stalled(): AppError {
  return new AppError('limit', 'api.stalled', 'The reader of the stream took nothing for too long.');
}
