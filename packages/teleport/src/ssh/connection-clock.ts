// When a live connection has to end by itself: its certificate has, or nobody has done anything for too long.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { ConnectionLimits } from './grant.ts';

/** setTimeout counts milliseconds in 31 bits: later ends are looked at again after a day. */
const dayMs = 86_400_000;
/** How often activity is looked at; a limit below is kept at a quarter of itself. */
const lookMs = 15_000;

export interface ConnectionClockOptions {
  readonly limits: ConnectionLimits;
  /** A number that grows when something is going on. */
  readonly activity: () => number;
  /** Called once. */
  readonly due: (reason: AppError) => void;
}

export class ConnectionClock {
  readonly #options: ConnectionClockOptions;
  #expiry: NodeJS.Timeout | undefined;
  #look: NodeJS.Timeout | undefined;
  #ended = false;
  #seen = -1;
  #seenAtMs = performance.now();

  constructor(options: ConnectionClockOptions) {
    this.#options = options;
    this.#awaitExpiry();
    const { idleMs } = options.limits;
    if (idleMs === undefined || idleMs <= 0 || this.#ended) return;
    this.#look = setInterval(() => this.#lookAt(idleMs), Math.min(lookMs, Math.ceil(idleMs / 4))).unref();
  }

  stop(): void {
    clearTimeout(this.#expiry);
    clearInterval(this.#look);
  }

  #awaitExpiry(): void {
    const { until } = this.#options.limits;
    if (until === undefined) return;
    const leftMs = until.getTime() - Date.now();
    if (leftMs <= 0) {
      this.#end(new AppError('denied', 'session.certificate_expired', 'The certificate has expired.'));
      return;
    }
    this.#expiry = setTimeout(() => this.#awaitExpiry(), Math.min(leftMs, dayMs)).unref();
  }

  #lookAt(idleMs: number): void {
    const activity = this.#options.activity();
    const now = performance.now();
    if (activity !== this.#seen) {
      this.#seen = activity;
      this.#seenAtMs = now;
    } else if (now - this.#seenAtMs >= idleMs) {
      const message = `Nothing was done for ${durationText(idleMs)}.`;
      this.#end(new AppError('denied', 'session.idle', message));
    }
  }

  #end(reason: AppError): void {
    this.stop();
    this.#ended = true;
    this.#options.due(reason);
  }
}

function durationText(ms: number): string {
  if (ms % 60_000 === 0) return `${ms / 60_000} min`;
  return `${ms / 1_000} s`;
}
