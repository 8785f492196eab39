// One at a time, in the order they came. A session's events come from several places (its kernel's spool, its
// terminal, its end): whoever has the turn stamps and hands over before the next one stamps, so that `ei` ascends
// in the log and in the recording as the lines do. How many may wait is for the callers to bound.

export class Turn {
  #taken = false;
  #waiting: (() => void)[] = [];

  /** Rejects with the signal's reason when that comes before the turn does; `work` does not happen then. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#take(signal);
    try {
      return await work();
    } finally {
      // Handed on, not freed: nobody slips in between.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#taken = false;
    }
  }

  #take(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (!this.#taken) {
      this.#taken = true;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        this.#waiting = this.#waiting.filter((one) => one !== begin);
        reject(signal?.reason);
      };
      const begin = () => {
        signal?.removeEventListener('abort', giveUp);
        resolve();
      };
      this.#waiting.push(begin);
      signal?.addEventListener('abort', giveUp, { once: true });
    });
  }
}
