// Failed proofs, counted by user and by address. After a few the next must wait, longer each time; after many
// nothing is looked at for a while. It is the same for users who do not exist, so it tells nothing about them.
import { isIPv4, isIPv6 } from 'node:net';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Store } from '../store/store.ts';

export interface AttemptLimits {
  /** Failures that cost nothing. */
  readonly free: number;
  /** At so many failures the lock falls. */
  readonly lockAt: number;
  readonly lockMs: number;
  /** The wait after the first failure that costs: doubles with each, up to maxWaitMs. */
  readonly waitMs: number;
  readonly maxWaitMs: number;
  /** Failures are forgotten this long after the last one. */
  readonly memoryMs: number;
}

const minute = 60_000;
export const userLimits: AttemptLimits = {
  free: 3,
  lockAt: 10,
  lockMs: 20 * minute,
  waitMs: 1_000,
  maxWaitMs: 30_000,
  memoryMs: 20 * minute,
};
/** An address may be that of a whole office. */
export const addressLimits: AttemptLimits = { ...userLimits, free: 20, lockAt: 100, waitMs: 250 };

interface Record {
  readonly failures: number;
  /** Unix ms; before it nothing is looked at. */
  readonly blockedUntil: number;
  readonly locked: boolean;
}

const none: Record = { failures: 0, blockedUntil: 0, locked: false };

export class Attempts {
  readonly #store: Store;
  readonly #now: () => Date;

  constructor(store: Store, now: () => Date) {
    this.#store = store;
    this.#now = now;
  }

  /** Rejects with `limit`, `auth.throttled` or `auth.locked_out`, while this user or address must wait. */
  async admit(user: string | undefined, address: string): Promise<void> {
    for (const key of keysOf(user, address)) {
      const { blockedUntil, locked } = await this.#read(key);
      const left = Math.ceil((blockedUntil - this.#now().getTime()) / 1000);
      if (left > 0) throw refusal(left, locked);
    }
  }

  /** True: this failure locked the user or the address. */
  async failed(user: string | undefined, address: string): Promise<boolean> {
    const results = await Promise.all(
      keysOf(user, address).map((key) =>
        this.#count(key, key.startsWith(userPrefix) ? userLimits : addressLimits),
      ),
    );
    return results.includes(true);
  }

  /** The address keeps its count: one good password among many guesses proves nothing about the others. */
  async succeeded(user: string): Promise<void> {
    if ((await this.#store.get(userPrefix + user)) === undefined) return;
    await this.#store.commit([{ type: 'delete', key: userPrefix + user }]);
  }

  async lockedUntil(user: string): Promise<Date | undefined> {
    const { blockedUntil, locked } = await this.#read(userPrefix + user);
    return locked && blockedUntil > this.#now().getTime() ? new Date(blockedUntil) : undefined;
  }

  async #count(key: string, limits: AttemptLimits): Promise<boolean> {
    for (;;) {
      const item = await this.#store.get(key);
      const before = item === undefined ? none : (JSON.parse(item.value) as Record);
      const now = this.#now().getTime();
      const next = after(before.failures + 1, limits, now);
      const expires = new Date(Math.max(next.blockedUntil, now + limits.memoryMs));
      const expect = item === undefined ? 'nothing' : { revision: item.revision };
      try {
        await this.#store.commit([{ type: 'put', key, value: JSON.stringify(next), expires, expect }]);
        return next.locked;
      } catch (error) {
        // Somebody else failed at the same time: both count.
        if (AppError.from(error).kind !== 'conflict') throw error;
      }
    }
  }

  async #read(key: string): Promise<Record> {
    const item = await this.#store.get(key);
    return item === undefined ? none : (JSON.parse(item.value) as Record);
  }
}

function after(failures: number, limits: AttemptLimits, now: number): Record {
  if (failures >= limits.lockAt) return { failures, blockedUntil: now + limits.lockMs, locked: true };
  const costly = failures - limits.free;
  const wait = costly <= 0 ? 0 : Math.min(limits.waitMs * 2 ** (costly - 1), limits.maxWaitMs);
  return { failures, blockedUntil: now + wait, locked: false };
}

const userPrefix = 'attempts/user/';
const addressPrefix = 'attempts/address/';

function keysOf(user: string | undefined, address: string): string[] {
  const keys = [addressPrefix + network(address)];
  return user === undefined ? keys : [userPrefix + user, ...keys];
}

/** An IPv6 customer has 2^64 addresses at least: they count as one. */
export function network(address: string): string {
  const bare = address.replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^::ffff:(?=\d+\.)/i, '');
  if (isIPv4(bare)) return bare;
  if (isIPv6(bare)) return `${expand(bare).slice(0, 4).join(':')}::/64`;
  const host = bare.replace(/:\d+$/, '');
  return host === '' ? 'unknown' : host;
}

/** Eight groups, without leading zeros. */
function expand(address: string): string[] {
  const [head = '', tail] = (address.split('%')[0] ?? '').toLowerCase().split('::');
  const groups = (text: string) => text.split(':').filter((group) => group !== '');
  const first = groups(head);
  const rest = tail === undefined ? [] : groups(tail);
  const zeros = Array.from({ length: Math.max(0, 8 - first.length - rest.length) }, () => '0');
  return [...first, ...zeros, ...rest].map((group) => group.replace(/^0+(?=.)/, ''));
}

function refusal(seconds: number, locked: boolean): AppError {
  const wait = seconds > 90 ? `${Math.ceil(seconds / 60)} minutes` : `${seconds} s`;
  return new AppError(
    'limit',
    locked ? 'auth.locked_out' : 'auth.throttled',
    `Too many failed attempts. Try again in ${wait}.`,
  );
}
