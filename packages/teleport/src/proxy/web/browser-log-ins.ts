// Log-ins that `tsh` begins and a person completes in a browser. They live in this proxy's memory alone and for
// minutes. What a thief of the link, or of the result, could take is worth nothing: the certificates are for keys that
// were fixed at the beginning, and they go once, to whoever knows the secret whose hash came with those keys.
import { createHash, randomBytes, randomInt, timingSafeEqual } from 'node:crypto';
import type { UserCertificates } from '@sallyport/contracts/api/auth-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { addressGroup } from './web-server.ts';

/** What was fixed when the log-in began. */
export interface BrowserLogInOrder {
  readonly sshPublicKey: string;
  readonly tlsPublicKey: string;
  readonly ttlMs: number | undefined;
  readonly user: string | undefined;
  /** Hex. */
  readonly secretSha256: string;
  /** Of the client that began it. */
  readonly remoteAddr: string;
}

export interface BrowserLogIn {
  readonly order: BrowserLogInOrder;
  readonly code: string;
  readonly expires: Date;
}

interface Entry extends BrowserLogIn {
  state: 'open' | 'busy' | 'done';
  certificates?: UserCertificates;
  timer: NodeJS.Timeout;
  /** Of the poll that waits. */
  wake: () => void;
}

export interface BrowserLogInLimits {
  readonly max: number;
  readonly maxPerAddress: number;
  /** For the person to find their key; as long as auth takes an answer to its challenge. */
  readonly openMs: number;
  /** For the client to fetch the certificates. */
  readonly doneMs: number;
  /** How long a poll waits: less than clients and middle boxes allow an answer to take. */
  readonly pollMs: number;
}

const defaults: BrowserLogInLimits = {
  max: 1_000,
  maxPerAddress: 20,
  openMs: 5 * 60_000,
  doneMs: 2 * 60_000,
  pollMs: 15_000,
};

export class BrowserLogIns {
  readonly #limits: BrowserLogInLimits;
  readonly #entries = new Map<string, Entry>();

  constructor(limits: Partial<BrowserLogInLimits> = {}) {
    this.#limits = { ...defaults, ...limits };
  }

  get count(): number {
    return this.#entries.size;
  }

  begin(order: BrowserLogInOrder): BrowserLogIn & { readonly id: string } {
    const { max, maxPerAddress, openMs } = this.#limits;
    const group = addressGroup(order.remoteAddr);
    const sameAddress = [...this.#entries.values()].filter(
      ({ order: { remoteAddr } }) => addressGroup(remoteAddr) === group,
    );
    if (this.#entries.size >= max || sameAddress.length >= maxPerAddress) throw tooMany();
    const id = randomBytes(16).toString('base64url');
    const entry: Entry = {
      order,
      code: newCode(),
      expires: new Date(Date.now() + openMs),
      state: 'open',
      timer: this.#forgetAfter(id, openMs),
      wake: () => {},
    };
    this.#entries.set(id, entry);
    return { id, ...entry };
  }

  /** As long as somebody can still log in with it. */
  read(id: string): BrowserLogIn {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.state === 'done') throw gone();
    return entry;
  }

  /** Whatever `prove` throws leaves the log-in open: a person mistypes. */
  async complete(
    id: string,
    prove: (order: BrowserLogInOrder) => Promise<UserCertificates>,
  ): Promise<UserCertificates> {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.state === 'done') throw gone();
    if (entry.state === 'busy') {
      throw new AppError('conflict', 'proxy.log_in_busy', 'This log-in is being checked already.', {
        hint: 'Wait a moment and try again.',
      });
    }
    entry.state = 'busy';
    try {
      entry.certificates = await prove(entry.order);
    } catch (error) {
      entry.state = 'open';
      throw error;
    }
    entry.state = 'done';
    // It ran out while auth was asked: nobody fetches them any more.
    if (!this.#entries.has(id)) throw gone();
    clearTimeout(entry.timer);
    entry.timer = this.#forgetAfter(id, this.#limits.doneMs);
    entry.wake();
    return entry.certificates;
  }

  /** Once. Waits for the person; undefined: not yet. */
  async result(id: string, secret: string): Promise<UserCertificates | undefined> {
    const entry = this.#entries.get(id);
    if (entry === undefined || !knows(secret, entry.order.secretSha256)) throw gone();
    if (entry.state !== 'done') await this.#wait(entry);
    const { certificates } = entry;
    if (certificates === undefined) return undefined;
    // Of two polls only one finds it here.
    if (!this.#entries.has(id)) throw gone();
    this.#forget(id);
    return certificates;
  }

  /** Nobody waits any more. */
  close(): void {
    for (const id of [...this.#entries.keys()]) this.#forget(id);
  }

  async #wait(entry: Entry): Promise<void> {
    // An earlier poll of the same client gave up, or is about to.
    entry.wake();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#limits.pollMs);
    entry.wake = resolve;
    await promise;
    clearTimeout(timer);
  }

  #forgetAfter(id: string, ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#forget(id), ms).unref();
  }

  #forget(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    clearTimeout(entry.timer);
    entry.wake();
  }
}

// Without letters and digits that look alike. Eight of them: 2^38, so that nobody begins log-ins until one fits.
const letters = '23456789ABCDEFGHJKLMNPQRSTUVWXYZ';

function newCode(): string {
  const text = Array.from({ length: 8 }, () => letters[randomInt(letters.length)]).join('');
  return `${text.slice(0, 4)}-${text.slice(4)}`;
}

function knows(secret: string, sha256: string): boolean {
  return timingSafeEqual(createHash('sha256').update(secret).digest(), Buffer.from(sha256, 'hex'));
}

function gone(): AppError {
  return new AppError(
    'not_found',
    'proxy.no_log_in',
    'This log-in is not known here: it was completed, it ran out, or it began at another proxy.',
    { hint: 'Start again with `tsh login`.' },
  );
}

function tooMany(): AppError {
  return new AppError('limit', 'proxy.too_many_log_ins', 'Too many log-ins wait for their browser.', {
    hint: 'Complete one of them, or try again in a few minutes.',
  });
}
