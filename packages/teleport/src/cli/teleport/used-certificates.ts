// Certificates for one session that were used here, until they end by themselves.
import { issuedAt } from '@sallyport/contracts/api/lock.ts';
import type { Identity } from '../../ca/identity.ts';

type Used = Pick<Identity, 'certSerial' | 'user' | 'validAfter' | 'validBefore'>;

/** More than a node opens in the minute such certificates live. When it is full, nobody comes in with another. */
const maxUsed = 10_000;

export class UsedCertificates {
  /** User and serial → when it ends, Unix ms. */
  readonly #ends = new Map<string, number>();
  /** What was used before this process began is not known: nothing that was made before is taken. Unix ms, whole seconds. */
  readonly #since: number;

  constructor(started: Date) {
    this.#since = Math.floor(started.getTime() / 1000) * 1000;
  }

  /** False: it was used, or may have been, or nothing more can be remembered. */
  take({ certSerial, user, validAfter, validBefore }: Used, now: Date): boolean {
    if (issuedAt(validAfter).getTime() < this.#since) return false;
    for (const [key, end] of this.#ends) if (end <= now.getTime()) this.#ends.delete(key);
    const key = `${user}\0${certSerial}`;
    if (validBefore === undefined || this.#ends.has(key) || this.#ends.size >= maxUsed) return false;
    this.#ends.set(key, validBefore.getTime());
    return true;
  }
}
