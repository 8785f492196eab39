// Rate limits: a token bucket a key, in bounded memory. A key that is forgotten starts full again, so forgetting
// takes the one that was quiet for longest.
import { isIPv6 } from 'node:net';

export interface Rate {
  /** At once. */
  readonly burst: number;
  /** From then on. */
  readonly perSecond: number;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

export class TokenBuckets {
  readonly #rate: Rate;
  readonly #maxKeys: number;
  /** In the order of their last use: a Map keeps the order of insertion. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(rate: Rate, maxKeys = 20_000) {
    this.#rate = rate;
    this.#maxKeys = maxKeys;
  }

  /** 0: taken. Otherwise nothing was, and there will be a token in so many milliseconds. `nowMs`: any monotonic clock. */
  take(key: string, nowMs: number): number {
    const { burst, perSecond } = this.#rate;
    const bucket = this.#buckets.get(key) ?? { tokens: burst, atMs: nowMs };
    bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) * perSecond) / 1000);
    bucket.atMs = nowMs;
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#maxKeys) this.#forgetOldest();
    if (bucket.tokens < 1) return Math.ceil(((1 - bucket.tokens) * 1000) / perSecond - 1e-6);
    bucket.tokens -= 1;
    return 0;
  }

  #forgetOldest(): void {
    for (const key of this.#buckets.keys()) {
      this.#buckets.delete(key);
      return;
    }
  }
}

/**
 * What counts as one address. An IPv6 host is given a /64 at least and may use any address of it, so the first
 * half stands for it; IPv4 in IPv6 form is IPv4.
 */
export function addressKey(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '').replace(/%.*$/, '');
  return isIPv6(plain) ? expand(plain).slice(0, 4).join(':') : plain;
}

function expand(address: string): string[] {
  const [head = '', tail] = address.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  return [...before, ...Array<string>(zeros).fill('0'), ...after].map((group) =>
    group.toLowerCase().replace(/^0+(?=.)/, ''),
  );
}
