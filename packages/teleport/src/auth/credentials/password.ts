// Passwords: argon2id (RFC 9106), and as much work for a user who is not there as for one who is.
import { randomBytes } from 'node:crypto';
import { hash, verify } from '@node-rs/argon2';
import { AppError } from '@sallyport/contracts/errors.ts';

// 46 MiB, one pass, one lane: of OWASP's equivalent settings the one with the most memory. About 30 ms of a core.
const cost = { memoryCost: 47_104, timeCost: 1, parallelism: 1 };
/** Hashes being made at once: bounds memory (46 MiB each) and leaves libuv's four threads to files. */
const concurrency = 2;
const maxWaiting = 1_024;
export const minPasswordLength = 12;

let running = 0;
const waiting: (() => void)[] = [];
let decoy: Promise<string> | undefined;

export function hashPassword(password: string): Promise<string> {
  if (password.length < minPasswordLength) {
    return Promise.reject(
      new AppError(
        'bad_input',
        'auth.weak_password',
        `A password has at least ${minPasswordLength} characters.`,
      ),
    );
  }
  return inTurn(() => hash(normal(password), cost));
}

/** `stored` undefined: nobody has this password; answers false after the same work. */
export async function checkPassword(stored: string | undefined, password: string): Promise<boolean> {
  decoy ??= inTurn(() => hash(randomBytes(16), cost));
  const against = stored ?? (await decoy);
  const same = await inTurn(() => verify(against, normal(password)));
  return same && stored !== undefined;
}

/** The same characters typed on another system may be composed differently. */
function normal(password: string): string {
  return password.normalize('NFKC');
}

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= concurrency) {
    if (waiting.length >= maxWaiting)
      throw new AppError('limit', 'auth.busy', 'Too many people are logging in right now. Try again.');
    await new Promise<void>((resolve) => waiting.push(resolve));
  } else running++;
  try {
    return await work();
  } finally {
    // Handed to the next in line, or given back.
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  }
}
