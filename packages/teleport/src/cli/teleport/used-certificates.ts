// Certificates for one session that were used here, until they end by themselves.
import type { Identity } from '../../ca/identity.ts';

/** More than a node opens in the minute such certificates live. When it is full, nobody comes in with another. */
const maxUsed = 10_000;

export class UsedCertificates {
  /** User and serial → when it ends, Unix ms. */
  readonly #ends = new Map<string, number>();

  /** False: it was used, or nothing more can be remembered. */
  take(
    { certSerial, user, validBefore }: Pick<Identity, 'certSerial' | 'user' | 'validBefore'>,
    now: Date,
  ): boolean {
    for (const [key, end] of this.#ends) if (end <= now.getTime()) this.#ends.delete(key);
    const key = `${user}\0${certSerial}`;
    if (validBefore === undefined || this.#ends.has(key) || this.#ends.size >= maxUsed) return false;
    this.#ends.set(key, validBefore.getTime());
    return true;
  }
}
