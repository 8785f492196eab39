// How much the API takes from whom, and for how long.
import type { Rate } from './token-buckets.ts';

export interface ApiLimits {
  /** Open connections; more are closed at once. */
  readonly connections: number;
  /** Connections whose peer showed no certificate. */
  readonly anonymousConnections: number;
  /** Calls being answered at once, streams not counted. */
  readonly calls: number;
  /** From the first byte of a request to its last. */
  readonly requestMs: number;
  /** A handler that takes longer is given up (its signal aborts). */
  readonly handlerMs: number;
  /** A connection without a call on it. */
  readonly idleMs: number;
  /** A stream whose reader takes nothing for so long is cut. */
  readonly stalledMs: number;
  /** Between `alive` lines of a quiet stream. */
  readonly aliveMs: number;
  /** Between two signs that a call is being carried out. */
  readonly pulseMs: number;
  /** Calls of `anyone`, for each address. */
  readonly anonymousRate: Rate;
  /** Calls of routes that are part of log-in, for each person's address. */
  readonly logInRate: Rate;
}

/** A cluster of some thousand hosts, each with a stream and a call now and then. */
export const defaultLimits: ApiLimits = {
  connections: 20_000,
  anonymousConnections: 1_000,
  calls: 2_000,
  requestMs: 30_000,
  handlerMs: 60_000,
  idleMs: 75_000,
  stalledMs: 60_000,
  aliveMs: 4_000,
  pulseMs: 500,
  anonymousRate: { burst: 200, perSecond: 20 },
  logInRate: { burst: 30, perSecond: 1 },
};
