// The audit log as everybody else sees it. FileLog is the implementation on disk, PostgresLog the one in a database,
// EveryLog several at once; audit-log.contract.ts is the behaviour every implementation shows.
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

  /**
   * Is the event with this id in the log? `since`: not appended before then. Only where it costs no reading of the
   * log; elsewhere search for it.
   */
  has?(uid: string, since: Date): Promise<boolean>;

  /** Waits for what was handed over, then lets go of the log. Appends after it reject. */
  close(): Promise<void>;
}

/** A batch of a host: its events hold the positions from `first` to before `next` in one of the host's streams. */
export interface BatchPlace {
  readonly host: string;
  readonly stream: string;
  readonly first: number;
  /** May be further on than there are events: a position whose event nobody can read is used up, too. */
  readonly next: number;
}

/** A log that keeps the positions of other hosts' streams with their events: in one commit, for all who write to it. */
export interface PositionedLog extends AuditLog {
  /** Position expected next of this host's stream; 0: it is new. */
  position(host: string, stream: string): Promise<number>;
  /**
   * Appends when `first` is the position expected, and moves it to `next`. Resolves to the position expected after:
   * anything but `next` means that somebody else was first and that nothing was written.
   */
  appendAt(place: BatchPlace, events: readonly AuditEvent[]): Promise<number>;
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
