// Log-ins that `tsh` begins and a person completes in a browser. They are in the store, for minutes, so that any proxy
// and any auth server can take the next step. What a thief of the link, or of the result, could take is worth nothing:
// the certificates are for keys that were fixed at the beginning, and they go once, to whoever knows the secret whose
// hash came with those keys.
//
//   browser-log-in/<id>         what was fixed at the beginning, while it is open
//   browser-log-in-end/<id>     what came of it, until it is fetched
import { createHash, randomBytes, randomInt, timingSafeEqual } from 'node:crypto';
import type { UserCertificates } from '@sallyport/contracts/api/auth-routes.ts';
import type { browserLogInOrder, browserLogInResult } from '@sallyport/contracts/api/sign-on-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { z } from 'zod';
import type { Store, Write } from '../store/store.ts';
import { network } from './attempts.ts';

export type BrowserLogInOrder = z.output<typeof browserLogInOrder> & {
  /** Of the client that began it. */
  readonly remote_addr: string;
  /** No log-in: a trial of a connector, which goes by this name. */
  readonly trial?: string | undefined;
};
type Result = z.output<typeof browserLogInResult>;
/** What a trial of a connector found. */
export interface Tried {
  readonly state: 'tried';
  readonly user: string;
  readonly roles: string[];
  readonly attributes: Record<string, string[]>;
  readonly problems: string[];
}
type Ended = Exclude<Result, { readonly state: 'waiting' }> | Tried;

export interface BrowserLogIn {
  readonly order: BrowserLogInOrder;
  readonly code: string;
  /** RFC 3339 UTC. */
  readonly expires: string;
  readonly id: string;
  readonly revision: string;
}

type Stored = Pick<BrowserLogIn, 'order' | 'code' | 'expires'>;

export interface BrowserLogInLimits {
  readonly max: number;
  readonly maxPerAddress: number;
  /** For the person to find their key, or their way through the provider's pages. */
  readonly openMs: number;
  /** For the client to fetch the result. */
  readonly doneMs: number;
}

const defaults: BrowserLogInLimits = {
  max: 1_000,
  maxPerAddress: 20,
  openMs: 5 * 60_000,
  doneMs: 2 * 60_000,
};
const openPrefix = 'browser-log-in/';
const endPrefix = 'browser-log-in-end/';

export class BrowserLogIns {
  readonly #store: Store;
  readonly #now: () => Date;
  readonly #limits: BrowserLogInLimits;

  constructor(store: Store, now: () => Date, limits: Partial<BrowserLogInLimits> = {}) {
    this.#store = store;
    this.#now = now;
    this.#limits = { ...defaults, ...limits };
  }

  /** `also`: what else belongs into the commit. */
  async begin(
    order: BrowserLogInOrder,
    also: (id: string, expires: Date) => readonly Write[] = () => [],
  ): Promise<{ id: string; code: string; expires: string }> {
    await this.#refuseTooMany(order.remote_addr);
    const id = randomBytes(16).toString('base64url');
    const expires = new Date(this.#now().getTime() + this.#limits.openMs);
    const stored: Stored = { order, code: newCode(), expires: expires.toISOString() };
    const open: Write = { type: 'put', key: openPrefix + id, value: JSON.stringify(stored), expires };
    await this.#store.commit([open, ...also(id, expires)]);
    return { id, code: stored.code, expires: stored.expires };
  }

  /** As long as somebody can still complete it. */
  async read(id: string): Promise<BrowserLogIn> {
    const [item, end] = await Promise.all([
      this.#store.get(openPrefix + id),
      this.#store.get(endPrefix + id),
    ]);
    if (item === undefined || end !== undefined) throw gone();
    return { id, revision: item.revision, ...(JSON.parse(item.value) as Stored) };
  }

  /** Belong into the commit that ends it: of two who complete one log-in, one finds a conflict. */
  completion(logIn: Pick<BrowserLogIn, 'id' | 'revision'>, certificates: UserCertificates): Write[] {
    const { id, revision } = logIn;
    const again: Write = { type: 'check', key: openPrefix + id, expect: { revision } };
    return [again, this.#end(id, { state: 'done', certificates })];
  }

  /** A trial is over: nobody is logged in by it. */
  async tried(id: string, found: Tried): Promise<void> {
    await this.#store.commit([this.#end(id, found)]);
  }

  /** The client hears why. For refusals that trying again in the same browser does not mend. */
  async refuse(id: string, { message, hint }: Pick<AppError, 'message' | 'hint'>): Promise<void> {
    const ended: Ended = { state: 'refused', message, ...(hint === undefined ? {} : { hint }) };
    // Completed or run out meanwhile: then it says so itself.
    await this.#store.commit([this.#end(id, ended)]).catch(() => undefined);
  }

  /** What came of it, once, to whoever knows the secret. Does not wait. */
  async result(id: string, secret: string): Promise<Result | Tried> {
    const item = await this.#store.get(openPrefix + id);
    if (item === undefined) throw gone();
    const { order } = JSON.parse(item.value) as Stored;
    if (!knows(secret, order.secret_sha256)) throw gone();
    const end = await this.#store.get(endPrefix + id);
    if (end === undefined) return { state: 'waiting' };
    const taken: Write[] = [
      { type: 'delete', key: endPrefix + id, expect: { revision: end.revision } },
      { type: 'delete', key: openPrefix + id },
    ];
    await this.#store.commit(taken).catch((error: unknown) => {
      // Another poll was first.
      throw AppError.from(error).kind === 'conflict' ? gone() : error;
    });
    return JSON.parse(end.value) as Ended;
  }

  #end(id: string, ended: Ended): Write {
    const expires = new Date(this.#now().getTime() + this.#limits.doneMs);
    return { type: 'put', key: endPrefix + id, value: JSON.stringify(ended), expires, expect: 'nothing' };
  }

  async #refuseTooMany(address: string): Promise<void> {
    const open = await this.#store.range(openPrefix, { limit: this.#limits.max });
    const group = network(address);
    const same = open.filter(
      ({ value }) => network((JSON.parse(value) as Stored).order.remote_addr) === group,
    );
    if (open.length < this.#limits.max && same.length < this.#limits.maxPerAddress) return;
    throw new AppError('limit', 'auth.too_many_log_ins', 'Too many log-ins wait for their browser.', {
      hint: 'Complete one of them, or try again in a few minutes.',
    });
  }
}

// Without letters and digits that look alike. Eight of them: 2^38, so that nobody begins log-ins until one fits.
const letters = '23456789ABCDEFGHJKLMNPQRSTUVWXYZ';

export function newCode(): string {
  const text = Array.from({ length: 8 }, () => letters[randomInt(letters.length)]).join('');
  return `${text.slice(0, 4)}-${text.slice(4)}`;
}

function knows(secret: string, sha256: string): boolean {
  return timingSafeEqual(createHash('sha256').update(secret).digest(), Buffer.from(sha256, 'hex'));
}

export function gone(): AppError {
  return new AppError(
    'not_found',
    'auth.no_log_in',
    'This log-in is not known: it was completed, it ran out, or it never was.',
    { hint: 'Start again with `tsh login`.' },
  );
}
