// sshd's MaxStartups and PerSourceMaxStartups: how many connections may be unauthenticated at once, in all and from
// one source. Between `start` and `full` a growing share of new ones is refused at random, so that a crowd of silent
// connections cannot lock everybody out at once; and one source's crowd is cut off before it counts in that.
//
// Behind a relay many people are one source until the relay has said who each of them is. Where that may be, those
// beyond a source's share are taken on trial: counted apart, so that they take nobody's place, and few enough.
import { sourceBlock } from './source-block.ts';
import type { MaxStartups, PerSourceStartups } from './ssh-server.ts';

/** Places on trial of one source, in shares of a source: what a relay may have handed over without being heard. */
const TRIAL_SHARES = 4;

export type StartupRefusal = 'per-source-startups' | 'max-startups';

/** A connection that has not logged in. */
export interface StartupPlace {
  /** Refused unless a relay's word moves it to another source. */
  readonly onTrial: boolean;
  /** It is of another source. Why not: then it must go, and keeps the place it had until it leaves. */
  move(host: string): StartupRefusal | undefined;
  /** Authenticated or gone. Harmless when repeated. */
  leave(): void;
}

class Counts {
  #total = 0;
  /** Never more entries than connections. */
  readonly #sources = new Map<string, number>();

  get total(): number {
    return this.#total;
  }

  of(block: string): number {
    return this.#sources.get(block) ?? 0;
  }

  add(block: string): void {
    this.#total++;
    this.#sources.set(block, this.of(block) + 1);
  }

  remove(block: string): void {
    this.#total--;
    const left = this.of(block) - 1;
    if (left > 0) this.#sources.set(block, left);
    else this.#sources.delete(block);
  }
}

export class Startups {
  readonly #limit: MaxStartups;
  readonly #perSource: PerSourceStartups;
  readonly #random: () => number;
  readonly #counts = new Counts();
  readonly #trials = new Counts();

  constructor(limit: MaxStartups, perSource: PerSourceStartups, random: () => number = Math.random) {
    this.#limit = limit;
    this.#perSource = perSource;
    this.#random = random;
  }

  /** Without those on trial. */
  get count(): number {
    return this.#counts.total;
  }

  /** Why this one is refused; or its place. `relays`: a relay may tell later whose it is. */
  enter(host: string, { relays = false } = {}): StartupRefusal | StartupPlace {
    const block = sourceBlock(host, this.#perSource);
    const refusal = this.#refusal(block);
    if (refusal === undefined) return this.#place(this.#counts, block);
    if (refusal === 'per-source-startups' && relays && this.#mayTry(block))
      return this.#place(this.#trials, block);
    return refusal;
  }

  #refusal(block: string): StartupRefusal | undefined {
    if (this.#counts.of(block) >= this.#perSource.max) return 'per-source-startups';
    return this.#random() < this.#refusalRate() ? 'max-startups' : undefined;
  }

  /** The chance of refusal at `count` unauthenticated connections, 0 to 1. */
  #refusalRate(): number {
    const { start, ratePercent, full } = this.#limit;
    if (this.count < start) return 0;
    if (this.count >= full) return 1;
    // As sshd: from `ratePercent` at `start`, straight up to 100 at `full`.
    const share = (this.count - start) / (full - start);
    return (ratePercent + (100 - ratePercent) * share) / 100;
  }

  #mayTry(block: string): boolean {
    const share = this.#perSource.max * TRIAL_SHARES;
    return this.#trials.of(block) < share && this.#trials.total < this.#limit.full;
  }

  #place(counts: Counts, block: string): StartupPlace {
    counts.add(block);
    let leave: (() => void) | undefined = () => counts.remove(block);
    const startups = this;
    const place = {
      onTrial: counts === startups.#trials,
      move(host: string): StartupRefusal | undefined {
        const to = sourceBlock(host, startups.#perSource);
        if (!leave || (to === block && !place.onTrial)) return undefined;
        // One that counts already has had its luck in the draw.
        const full = startups.#counts.of(to) >= startups.#perSource.max;
        const refusal = place.onTrial ? startups.#refusal(to) : full ? 'per-source-startups' : undefined;
        if (refusal !== undefined) return refusal;
        leave();
        startups.#counts.add(to);
        leave = () => startups.#counts.remove(to);
        place.onTrial = false;
        return undefined;
      },
      leave(): void {
        leave?.();
        leave = undefined;
      },
    };
    return place;
  }
}
