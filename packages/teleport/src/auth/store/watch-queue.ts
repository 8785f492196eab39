// Changes on their way to one reader of a watch. Bounded by keys, not by writes: a newer change of a key takes the
// place of the older one, since readers want to know how things are.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Change, WatchOptions } from './store.ts';

const defaultMaxQueued = 4096;

export class WatchQueue implements AsyncIterable<Change> {
  readonly #options: WatchOptions;
  readonly #onEnd: () => void;
  readonly #waiting = new Map<string, Change>();
  #wake: (() => void) | undefined;
  #ended = false;
  #error: AppError | undefined;

  /** `onEnd` is called once, when nobody will read on. */
  constructor(options: WatchOptions, onEnd: (queue: WatchQueue) => void) {
    this.#options = options;
    this.#onEnd = () => onEnd(this);
    if (options.signal?.aborted === true) this.end();
    else options.signal?.addEventListener('abort', this.end, { once: true });
  }

  /** False: this change is none of the reader's. */
  wants(key: string): boolean {
    return !this.#ended && this.#options.prefixes.some((prefix) => key.startsWith(prefix));
  }

  push(change: Change): void {
    const key = change.type === 'put' ? change.item.key : change.key;
    this.#waiting.delete(key);
    this.#waiting.set(key, change);
    const max = this.#options.maxQueued ?? defaultMaxQueued;
    if (this.#waiting.size > max) this.fail(overflow(max));
    else this.#wake?.();
  }

  fail(error: AppError): void {
    this.#waiting.clear();
    this.#error ??= error;
    this.end();
  }

  /** What waits is still handed out. */
  readonly end = (): void => {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.signal?.removeEventListener('abort', this.end);
    this.#onEnd();
    this.#wake?.();
  };

  async *[Symbol.asyncIterator](): AsyncGenerator<Change> {
    try {
      for (;;) {
        const next = this.#waiting.entries().next();
        if (next.done !== true) {
          const [key, change] = next.value;
          this.#waiting.delete(key);
          yield change;
        } else if (this.#error !== undefined) throw this.#error;
        else if (this.#ended) return;
        else await this.#change();
      }
    } finally {
      this.end();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }
}

export function overflow(max: number): AppError {
  return new AppError('limit', 'store.watch_overflow', `More than ${max} changes wait for a reader.`, {
    hint: 'Watch anew: everything is sent again.',
  });
}
