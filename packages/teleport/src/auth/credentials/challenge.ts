// Challenges that need no memory until they are answered: random bytes and their end, sealed with a key of the
// cluster. Whoever asks for a million of them costs nothing; an answered one is remembered until its end, so that
// it is good once, in every auth process.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Store, Write } from '../store/store.ts';

const randomLength = 16;
const sealLength = 16;
const length = randomLength + 8 + sealLength;

export interface ChallengeUse {
  /** What it is for: a challenge of one purpose is none of another. */
  readonly purpose: string;
  readonly ttlMs: number;
}

export class Challenges {
  readonly #key: Buffer;
  readonly #now: () => Date;

  constructor(key: Buffer, now: () => Date) {
    this.#key = key;
    this.#now = now;
  }

  make({ purpose, ttlMs }: ChallengeUse): Buffer {
    const end = Buffer.alloc(8);
    end.writeBigUInt64BE(BigInt(this.#now().getTime() + ttlMs));
    const open = Buffer.concat([randomBytes(randomLength), end]);
    return Buffer.concat([open, this.#seal(open, purpose)]);
  }

  /** Ours, for this purpose, and not over? Whether it was used before is up to `use`. */
  check(challenge: Buffer, purpose: string): 'good' | 'foreign' | 'expired' {
    if (challenge.length !== length) return 'foreign';
    const open = challenge.subarray(0, length - sealLength);
    if (!timingSafeEqual(this.#seal(open, purpose), challenge.subarray(length - sealLength)))
      return 'foreign';
    return endOf(challenge) > this.#now().getTime() ? 'good' : 'expired';
  }

  /** Marks a good challenge as used. In a commit it is a `conflict` when it was used before. */
  use(challenge: Buffer): Write {
    return {
      type: 'put',
      key: `used-challenge/${challenge.toString('hex')}`,
      value: '',
      expires: new Date(endOf(challenge)),
      expect: 'nothing',
    };
  }

  /** Base64url text that is always the same for the same words, and that nobody else can make. */
  pseudonym(purpose: string, word: string): string {
    return createHmac('sha256', this.#key).update(`pseudonym\0${purpose}\0${word}`).digest('base64url');
  }

  #seal(open: Buffer, purpose: string): Buffer {
    return createHmac('sha256', this.#key)
      .update(`challenge\0${purpose}\0`)
      .update(open)
      .digest()
      .subarray(0, sealLength);
  }
}

function endOf(challenge: Buffer): number {
  return Number(challenge.readBigUInt64BE(randomLength));
}

/** The cluster's own key, made when it is first asked for. */
export async function openChallenges(store: Store, now: () => Date): Promise<Challenges> {
  const key = 'secret/challenge-key';
  for (;;) {
    const stored = await store.get(key);
    if (stored !== undefined) return new Challenges(Buffer.from(stored.value, 'base64'), now);
    const value = randomBytes(32).toString('base64');
    // Another process may be first: then its key is the key.
    await store.commit([{ type: 'put', key, value, expect: 'nothing' }]).catch(() => undefined);
  }
}
