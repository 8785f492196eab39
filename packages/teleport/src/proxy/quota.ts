// So many at once for each key (an address, a user), so that nobody takes everybody's place.

export class Quota {
  readonly #max: number;
  readonly #counts = new Map<string, number>();

  constructor(max: number) {
    this.#max = max;
  }

  /** A place, to be given back by calling it (once counts; more do no harm); undefined when all are taken. */
  take(key: string): (() => void) | undefined {
    const count = this.#counts.get(key) ?? 0;
    if (count >= this.#max) return undefined;
    this.#counts.set(key, count + 1);
    let held = true;
    return () => {
      if (held) this.#giveBack(key);
      held = false;
    };
  }

  #giveBack(key: string): void {
    const left = (this.#counts.get(key) ?? 1) - 1;
    // Keys come from outside: one that holds nothing must cost nothing.
    if (left === 0) this.#counts.delete(key);
    else this.#counts.set(key, left);
  }
}
