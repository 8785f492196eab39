// Stamps events: uid, time, cluster name, and the position (`ei`) in the session.
import { hash as digest, randomUUID } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, checkEvent, type EventDraft } from '@sallyport/contracts/events/event.ts';

export interface EventStampOptions {
  readonly clusterName: string;
  /** Wall clock, ms. */
  readonly now?: () => number;
  /** Check every event against its schema; for tests and development. In production the types must do. */
  readonly validate?: boolean;
}

/** For events outside any session: `ei` is 0. */
export class EventStamp {
  readonly #options: EventStampOptions;

  constructor(options: EventStampOptions) {
    this.#options = options;
  }

  /** What the draft brings (time, uid, ei) wins over what the stamp would fill in. */
  stamp(draft: EventDraft): AuditEvent {
    const now = this.#options.now ?? Date.now;
    const event = {
      ...draft,
      uid: draft.uid ?? randomUUID(),
      ei: draft.ei ?? this.nextEi(),
      time: draft.time ?? new Date(now()).toISOString(),
      cluster_name: this.#options.clusterName,
    } as AuditEvent;
    if (this.#options.validate === true) assertValid(event);
    return event;
  }

  nextEi(): number {
    return 0;
  }
}

/**
 * For the events of one session. Its counter is shared with the terminal recording (pass `() => emitter.nextEi()`
 * to it), so that `ei` orders commands and output against each other.
 */
export class SessionEmitter extends EventStamp {
  #next: number;

  /** `firstEi`: 0 for a new session; one more than the last used when a session is taken over after a restart. */
  constructor(options: EventStampOptions & { readonly firstEi?: number }) {
    super(options);
    this.#next = options.firstEi ?? 0;
  }

  override nextEi(): number {
    return this.#next++;
  }
}

/**
 * The id of a kernel event, made from its session and its kernel sequence number: whoever reads the same spool
 * frame twice (a restart between append and acknowledgement) makes the same id twice, and it can be told.
 * A version 8 uuid (RFC 9562, section 5.8) over SHA-256.
 */
export function kernelEventUid(sid: string, seq: number): string {
  const hash = digest('sha256', `${sid}:${seq}`, 'buffer');
  hash[6] = ((hash[6] as number) & 0x0f) | 0x80;
  hash[8] = ((hash[8] as number) & 0x3f) | 0x80;
  const hex = hash.toString('hex', 0, 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

function assertValid(event: AuditEvent): void {
  const checked = checkEvent(event, 'writing');
  if (checked.ok) return;
  throw new AppError('internal', 'audit.invalid_event', `An audit event is malformed: ${checked.detail}`);
}
