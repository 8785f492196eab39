// sshd's MaxStartups: how many connections may be unauthenticated at once. Between `start` and `full` a growing share
// of new ones is refused at random, so that a crowd of silent connections cannot lock everybody out at once.
import type { MaxStartups } from './ssh-server.ts';

export class Startups {
  readonly #limit: MaxStartups;
  readonly #random: () => number;
  #now = 0;

  constructor(limit: MaxStartups, random: () => number = Math.random) {
    this.#limit = limit;
    this.#random = random;
  }

  get count(): number {
    return this.#now;
  }

  /** The chance of refusal at `count` unauthenticated connections, 0 to 1. */
  #refusalRate(): number {
    const { start, ratePercent, full } = this.#limit;
    if (this.#now < start) return 0;
    if (this.#now >= full) return 1;
    // As sshd: from `ratePercent` at `start`, straight up to 100 at `full`.
    const share = (this.#now - start) / (full - start);
    return (ratePercent + (100 - ratePercent) * share) / 100;
  }

  /** False: refuse this one. True: call `left` once it is authenticated or gone. */
  enter(): boolean {
    if (this.#random() < this.#refusalRate()) return false;
    this.#now++;
    return true;
  }

  left(): void {
    this.#now--;
  }
}
