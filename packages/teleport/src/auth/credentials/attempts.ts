// Failed proofs, counted by the address they come from, by a user from an address, and by a user from anywhere. After a
// few the next must wait, longer each time; after many nothing of that user from that address is looked at for a while.
// Over all addresses guesses at one user only get slow: a lock there would let anybody shut out whoever they can name.
// Where a user has logged in from before, only what comes from there counts. It is the same for users who do not exist.
import { isIPv4, isIPv6 } from 'node:net';
import { AppError } from '@sallyport/contracts/errors.ts';
import { wasAnsweredElsewhere } from '../repeats.ts';
import type { Store, Write } from '../store/store.ts';

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

/** Of one user from everywhere: a guess every few seconds, never a lock. */
export const everywhereLimits: AttemptLimits = {
  ...userLimits,
  free: 30,
  lockAt: Number.POSITIVE_INFINITY,
  maxWaitMs: 8_000,
};

interface Record {
  readonly failures: number;
  /** Unix ms; before it nothing is looked at. */
  readonly blockedUntil: number;
  readonly locked: boolean;
}

const none: Record = { failures: 0, blockedUntil: 0, locked: false };

/** Networks remembered for a user, the newest first, and for how long. */
const maxKnown = 8;
const knownMs = 90 * 24 * 60 * minute;

export class Attempts {
  readonly #store: Store;
  readonly #now: () => Date;

  constructor(store: Store, now: () => Date) {
    this.#store = store;
    this.#now = now;
  }

  /** Rejects with `limit`, `auth.throttled` or `auth.locked_out`, while this user or address must wait. */
  async admit(user: string | undefined, address: string): Promise<void> {
    const counts = countsOf(user, address);
    const known = user !== undefined && (await this.#known(user)).includes(network(address));
    for (const { key, limits } of counts) {
      if (known && limits === everywhereLimits) continue;
      const { blockedUntil, locked } = await this.#read(key);
      const left = Math.ceil((blockedUntil - this.#now().getTime()) / 1000);
      if (left > 0) throw refusal(left, locked);
    }
  }

  /** True: this failure locked the user, as seen from there, or the address. */
  async failed(user: string | undefined, address: string): Promise<boolean> {
    if (await wasAnsweredElsewhere()) return false;
    const counts = countsOf(user, address);
    const results = await Promise.all(counts.map(({ key, limits }) => this.#count(key, limits)));
    return results.includes(true);
  }

  /** The address keeps its count: one good password among many guesses proves nothing about the others. */
  async succeeded(user: string, address: string): Promise<void> {
    const from = network(address);
    const key = userPrefix(user) + from;
    if ((await this.#store.get(key)) !== undefined) await this.#store.commit([{ type: 'delete', key }]);
    const known = await this.#known(user);
    if (known[0] === from) return;
    const value = JSON.stringify([from, ...known.filter((each) => each !== from)].slice(0, maxKnown));
    const expires = new Date(this.#now().getTime() + knownMs);
    await this.#store.commit([{ type: 'put', key: knownPrefix + user, value, expires }]);
  }

  /** From one address at least; from others the user may log in. */
  async lockedUntil(user: string): Promise<Date | undefined> {
    const records = (await this.#store.range(userPrefix(user))).map(
      ({ value }) => JSON.parse(value) as Record,
    );
    const ends = records.filter(({ locked }) => locked).map(({ blockedUntil }) => blockedUntil);
    const end = Math.max(0, ...ends);
    return end > this.#now().getTime() ? new Date(end) : undefined;
  }

  /** Writes that forget the failures of a user, and with `all` where they logged in from. */
  async forget(user: string, all = false): Promise<Write[]> {
    const failures = await this.#store.range(userPrefix(user));
    const keys = [...failures.map(({ key }) => key), ...(all ? [knownPrefix + user] : [])];
    return keys.map((key) => ({ type: 'delete', key }));
  }

  async #known(user: string): Promise<string[]> {
    const item = await this.#store.get(knownPrefix + user);
    return item === undefined ? [] : (JSON.parse(item.value) as string[]);
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

// A slash is in no name: one user's keys are no other's prefix.
const userPrefix = (user: string) => `attempts/user/${user}/`;
const knownPrefix = 'known-networks/';
const addressPrefix = 'attempts/address/';

interface Counted {
  readonly key: string;
  readonly limits: AttemptLimits;
}

function countsOf(user: string | undefined, address: string): Counted[] {
  const from = network(address);
  const counts = [{ key: addressPrefix + from, limits: addressLimits }];
  if (user === undefined) return counts;
  return [
    { key: userPrefix(user) + from, limits: userLimits },
    { key: `${userPrefix(user)}everywhere`, limits: everywhereLimits },
    ...counts,
  ];
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
