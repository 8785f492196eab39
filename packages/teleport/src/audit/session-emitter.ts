// Stamps events: uid, time, cluster name, and the position (`ei`) in the session.
import { randomUUID } from 'node:crypto';
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
      uid: randomUUID(),
      ...draft,
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

function assertValid(event: AuditEvent): void {
  const checked = checkEvent(event);
  if (checked.ok) return;
  throw new AppError('internal', 'audit.invalid_event', `An audit event is malformed: ${checked.detail}`);
}
