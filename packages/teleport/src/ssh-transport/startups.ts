// sshd's MaxStartups and PerSourceMaxStartups: how many connections may be unauthenticated at once, in all and from
// one source. Between `start` and `full` a growing share of new ones is refused at random, so that a crowd of silent
// connections cannot lock everybody out at once; and one source's crowd is cut off before it counts in that.
import { sourceBlock } from './source-block.ts';
import type { MaxStartups, PerSourceStartups } from './ssh-server.ts';

/** Undo of `enter`. */
type Leave = () => void;

export class Startups {
  readonly #limit: MaxStartups;
  readonly #perSource: PerSourceStartups;
  readonly #random: () => number;
  /** Never more entries than unauthenticated connections. */
  readonly #sources = new Map<string, number>();
  #now = 0;

  constructor(limit: MaxStartups, perSource: PerSourceStartups, random: () => number = Math.random) {
    this.#limit = limit;
    this.#perSource = perSource;
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

  /** Why this one is refused; or what to call once it is authenticated or gone. */
  enter(host: string): 'per-source-startups' | 'max-startups' | Leave {
    const block = sourceBlock(host, this.#perSource);
    const ofSource = this.#sources.get(block) ?? 0;
    if (ofSource >= this.#perSource.max) return 'per-source-startups';
    if (this.#random() < this.#refusalRate()) return 'max-startups';
    this.#now++;
    this.#sources.set(block, ofSource + 1);
    return () => this.#left(block);
  }

  #left(block: string): void {
    this.#now--;
    const ofSource = (this.#sources.get(block) ?? 0) - 1;
    if (ofSource > 0) this.#sources.set(block, ofSource);
    else this.#sources.delete(block);
  }
}
