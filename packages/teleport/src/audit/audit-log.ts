// The audit log as everybody else sees it. FileLog is the implementation on disk; audit-log.contract.ts is the
// behaviour every implementation shows.
import type { AuditEvent, EventCode, EventName } from '@sallyport/contracts/events/event.ts';

export interface AuditLog {
  /**
   * Resolves when every event is in the log as durably as its policy says: all of them or none. Rejects with an
   * AppError (`unavailable`: disk full, try again later; `limit`: too much is waiting) and then holds none.
   * Events of one call stay together and in order; calls are written in the order they were made.
   */
  append(events: readonly AuditEvent[]): Promise<void>;

  /** Events in the order they were appended, or backwards. Streams: memory does not grow with the log. */
  search(query?: EventQuery): AsyncIterable<AuditEvent>;

  /** Waits for what was handed over, then lets go of the log. Appends after it reject. */
  close(): Promise<void>;
}

/** Conditions are joined by "and"; an absent one holds for every event. */
export interface EventQuery {
  /** Event times, from inclusive, to exclusive. */
  readonly from?: Date;
  readonly to?: Date;
  /** Names ("session.command") or codes ("T4000I"). */
  readonly types?: readonly (EventName | EventCode)[];
  readonly user?: string;
  /** Session. */
  readonly sid?: string;
  /** Occurs, whatever the case of its letters, in the event's line. */
  readonly text?: string;
  /** At most so many events. */
  readonly limit?: number;
  /** `asc`: as appended, the default. `desc`: newest first. */
  readonly order?: 'asc' | 'desc';
}
