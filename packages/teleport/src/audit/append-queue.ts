// Keeps events while the log cannot take them, and hands them over in order when it can. Bounded: a caller that
// gets `limit` must stop making events (the kernel's wait in the spool; a session's are a reason to end it).
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import type { AuditLog } from './audit-log.ts';

export interface AppendQueueOptions {
  /** Events that may be held. Default 10,000. */
  readonly maxEvents?: number;
  /** Between two tries. Default 1,000. */
  readonly retryMs?: number;
  /** Called when an append failed and will be tried again; for the log of the service. */
  readonly onRetry?: (error: AppError, heldEvents: number) => void;
}

interface Held {
  readonly events: readonly AuditEvent[];
  readonly resolve: () => void;
  readonly reject: (error: AppError) => void;
}

export class AppendQueue {
  readonly #log: AuditLog;
  readonly #options: AppendQueueOptions;
  readonly #stop = new AbortController();
  #held: Held[] = [];
  #heldEvents = 0;
  #flushing: Promise<void> | undefined;

  constructor(log: AuditLog, options: AppendQueueOptions = {}) {
    this.#log = log;
    this.#options = options;
  }

  /** Events waiting or on their way. */
  get heldEvents(): number {
    return this.#heldEvents;
  }

  /** Resolves when the events are durable, however long the disk is full. Rejects with `limit` when too many wait. */
  push(events: readonly AuditEvent[]): Promise<void> {
    if (this.#stop.signal.aborted) return Promise.reject(closedError());
    const max = this.#options.maxEvents ?? 10_000;
    // A single call larger than the bound may pass when nothing waits; it could never be written otherwise.
    if (this.#heldEvents > 0 && this.#heldEvents + events.length > max) {
      return Promise.reject(
        new AppError('limit', 'audit.queue_full', `${this.#heldEvents} audit events wait for the log.`),
      );
    }
    return new Promise((resolve, reject) => {
      this.#held.push({ events, resolve, reject });
      this.#heldEvents += events.length;
      this.#flushing ??= this.#flush();
    });
  }

  /** One more try for what is held, then rejects the rest. Does not close the log. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#flushing;
  }

  async #flush(): Promise<void> {
    while (this.#held.length > 0) {
      const group = this.#held;
      this.#held = [];
      const error = await this.#tryAppend(group);
      if (error === undefined) this.#settle(group, (held) => held.resolve());
      else if (error.kind !== 'unavailable' && error.kind !== 'limit')
        this.#settle(group, (held) => held.reject(error));
      else if (this.#stop.signal.aborted)
        this.#settle([...group, ...this.#held.splice(0)], (held) => held.reject(error));
      else {
        this.#held = [...group, ...this.#held]; // order is kept: nothing overtakes what failed
        this.#options.onRetry?.(error, this.#heldEvents);
        await delay(this.#options.retryMs ?? 1000, undefined, { signal: this.#stop.signal }).catch(() => {});
      }
    }
    this.#flushing = undefined;
  }

  async #tryAppend(group: readonly Held[]): Promise<AppError | undefined> {
    try {
      await this.#log.append(group.flatMap((held) => held.events));
      return undefined;
    } catch (thrown) {
      return AppError.from(thrown);
    }
  }

  #settle(group: readonly Held[], how: (held: Held) => void): void {
    for (const held of group) {
      this.#heldEvents -= held.events.length;
      how(held);
    }
  }
}

function closedError(): AppError {
  return new AppError('unavailable', 'audit.closed', 'The audit log is closed.');
}
