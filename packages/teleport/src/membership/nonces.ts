// Words that were used: each is remembered for at least its life. Two generations, so that forgetting costs nothing.

/** In a generation; some 100 bytes each. Only what a proxy has signed gets here. */
const maxNonces = 100_000;

export class Nonces {
  readonly #lifeMs: number;
  #young = new Set<string>();
  #old = new Set<string>();
  #turnedMs = Number.NEGATIVE_INFINITY;

  constructor(lifeMs: number) {
    this.#lifeMs = lifeMs;
  }

  take(nonce: string, nowMs: number): 'new' | 'seen' | 'full' {
    this.#turn(nowMs);
    if (this.#young.has(nonce) || this.#old.has(nonce)) return 'seen';
    if (this.#young.size >= maxNonces) return 'full';
    this.#young.add(nonce);
    return 'new';
  }

  #turn(nowMs: number): void {
    const passedMs = nowMs - this.#turnedMs;
    // A clock that was set back keeps the generations as they are until it has caught up: longer, never shorter.
    if (passedMs < this.#lifeMs) return;
    this.#old = passedMs < 2 * this.#lifeMs ? this.#young : new Set();
    this.#young = new Set();
    this.#turnedMs = nowMs;
  }
}
