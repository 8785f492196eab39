// One at a time for each key; a bounded few may wait.
import { AppError } from '@sallyport/contracts/errors.ts';

export class Turns {
  readonly #maxWaiting: number;
  readonly #queues = new Map<string, { waiting: number; last: Promise<unknown> }>();

  constructor(maxWaiting: number) {
    this.#maxWaiting = maxWaiting;
  }

  /** Rejects with `limit` when too many wait for this key. */
  async take<T>(key: string, work: () => Promise<T>): Promise<T> {
    const queue = this.#queues.get(key) ?? { waiting: 0, last: Promise.resolve() };
    if (queue.waiting > this.#maxWaiting)
      throw new AppError('limit', 'auth.busy', 'Too many attempts at once. Try again.');
    queue.waiting++;
    this.#queues.set(key, queue);
    const mine = queue.last.then(work, work);
    queue.last = mine.catch(() => undefined);
    try {
      return await mine;
    } finally {
      queue.waiting--;
      if (queue.waiting === 0) this.#queues.delete(key);
    }
  }
}
