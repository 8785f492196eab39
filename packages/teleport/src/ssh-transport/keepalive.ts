// Is the peer still there? Asked by whoever keeps the time; any message of the peer's is an answer.

export interface KeepaliveLimits {
  /** 0: never ask. */
  readonly keepaliveMs: number;
  readonly keepaliveTries: number;
}

export class Keepalive {
  readonly #limits: KeepaliveLimits;
  #asked = 0;
  #lastAskedMs = 0;

  constructor(limits: KeepaliveLimits) {
    this.#limits = limits;
  }

  /** What to do now. `ask` counts as done. */
  check(nowMs: number, lastReceivedMs: number): 'ask' | 'give-up' | undefined {
    const { keepaliveMs, keepaliveTries } = this.#limits;
    if (keepaliveMs === 0) return undefined;
    if (lastReceivedMs > this.#lastAskedMs) this.#asked = 0;
    if (nowMs - Math.max(lastReceivedMs, this.#lastAskedMs) < keepaliveMs) return undefined;
    if (this.#asked >= keepaliveTries) return 'give-up';
    this.#asked++;
    this.#lastAskedMs = nowMs;
    return 'ask';
  }
}
