// Sends what is in the outbox, in order, until it is told to stop. One batch is on its way at a time: order, and
// that a batch is sent again only as it was, follow from that.
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Outbox, OutboxBatch } from './outbox.ts';

/** Resolves to the position of the stream before which the auth service has everything. */
export type SendEvents = (
  batch: OutboxBatch,
  signal: AbortSignal,
) => Promise<{ readonly acknowledged: number }>;

export interface DrainOptions {
  /** Ends the drain. */
  readonly signal: AbortSignal;
  /** Before the second try; doubled for each further one. Default 250. */
  readonly firstRetryMs?: number;
  /** Default 30,000. */
  readonly lastRetryMs?: number;
  /** For the log of the service: a batch was not taken and will be sent again. */
  readonly onRetry?: (error: AppError, heldEvents: number) => void;
  /** The auth service had lost track of the stream; a new one was begun. */
  readonly onRenewed?: (reason: string) => void;
}

/** Code of the auth service's refusal: positions are missing between what it has and what was sent. */
export const positionGap = 'audit.position_gap';

/** Resolves when the signal aborts or the outbox closes. Never rejects. */
export async function drainOutbox(outbox: Outbox, send: SendEvents, options: DrainOptions): Promise<void> {
  const { signal } = options;
  let failures = 0;
  while (!signal.aborted && !outbox.closed) {
    await outbox.arrival(signal);
    try {
      await sendOne(outbox, send, options);
      failures = 0;
    } catch (thrown) {
      if (signal.aborted) return;
      options.onRetry?.(AppError.from(thrown), outbox.stats.heldEvents);
      await delay(backoffMs(failures++, options), undefined, { signal }).catch(() => {});
    }
  }
}

async function sendOne(outbox: Outbox, send: SendEvents, { signal, onRenewed }: DrainOptions): Promise<void> {
  const batch = await outbox.read();
  if (batch === undefined) return;
  const { stream, first, lines, base, end } = batch;
  const answer = await send({ stream, first, lines }, signal).catch((thrown: unknown) => {
    if (AppError.from(thrown).code !== positionGap) throw thrown;
    return { acknowledged: -1 };
  });
  // Of a stream that ended in damage it may have more than is left here; the next stream's events are others.
  const acknowledged = Math.min(base + answer.acknowledged, end);
  if (answer.acknowledged < 0 || acknowledged > outbox.next) {
    // It has lost what it knew of the stream (a restored backup), or we have (a restored disk): positions mean
    // something else to each, and only a new stream is sure to be understood.
    await outbox.renewStream();
    onRenewed?.(answer.acknowledged < 0 ? 'the auth service misses earlier events' : 'it knows later events');
    return;
  }
  if (acknowledged <= batch.position) {
    throw new AppError('unavailable', 'audit.not_acknowledged', 'The auth service took none of the events.');
  }
  await outbox.acknowledge(acknowledged);
}

/** Full jitter: a whole cluster whose auth service comes back must not come back at once. */
function backoffMs(failures: number, { firstRetryMs = 250, lastRetryMs = 30_000 }: DrainOptions): number {
  return (
    Math.random() * Math.min(lastRetryMs, firstRetryMs * 2 ** Math.min(failures, 20)) + firstRetryMs / 10
  );
}
