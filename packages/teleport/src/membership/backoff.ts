// How long to wait before the next attempt: exponential, with full jitter. Without jitter every node of a cluster
// would come back in the same instant that an auth server does.
import { setTimeout as delay } from 'node:timers/promises';

export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** From 0 to 1, 1 excluded. */
  readonly random?: () => number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Milliseconds to wait after one more failure: anything from 0 to a bound that doubles. */
  next(): number {
    const { firstMs, maxMs, random = Math.random } = this.#options;
    // 2^30 is past every bound, and keeps the product finite.
    const bound = Math.min(maxMs, firstMs * 2 ** Math.min(this.#failures++, 30));
    return Math.round(random() * bound);
  }

  /** It worked: the next failure is the first. */
  reset(): void {
    this.#failures = 0;
  }
}

/** Waits. Resolves to false, at once, when the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await delay(ms, undefined, { signal });
    return true;
  } catch {
    return false;
  }
}
