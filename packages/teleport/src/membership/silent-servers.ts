// Servers that did not answer lately: they are dialled after the others. Not forgotten about: where no other answers
// they are all there is, and after a while they have their turn again.
import { formatAddress } from '../config/address.ts';
import type { Address } from '../config/config.ts';

interface Silence {
  readonly until: number;
  readonly forMs: number;
}

const firstMs = 15_000;
/** Of one that goes on being silent: each try costs somebody the wait. */
const longestMs = 120_000;
const maxKept = 256;

export class SilentServers {
  readonly #silences = new Map<string, Silence>();

  /** It did not answer, or could not be reached. */
  missed(address: Address): void {
    const name = formatAddress(address);
    const before = this.#silences.get(name);
    const now = performance.now();
    // Many calls that were on their way say so at the same time: that is one silence.
    if (before !== undefined && before.until > now) return;
    if (this.#silences.size >= maxKept) this.#silences.clear();
    const forMs = before === undefined ? firstMs : Math.min(2 * before.forMs, longestMs);
    this.#silences.set(name, { until: now + forMs, forMs });
  }

  heard(address: Address): void {
    this.#silences.delete(formatAddress(address));
  }

  /** As given, the silent ones last. */
  inOrder(addresses: readonly Address[]): Address[] {
    const now = performance.now();
    const isSilent = (address: Address) =>
      (this.#silences.get(formatAddress(address))?.until ?? Number.NEGATIVE_INFINITY) > now;
    return [...addresses.filter((each) => !isSilent(each)), ...addresses.filter(isSilent)];
  }
}
