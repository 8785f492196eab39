// The audit log as the auth service needs it.

import type { AuditEvent, EventDraft } from '@sallyport/contracts/events/event.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import type { EventStamp } from '../audit/session-emitter.ts';

/** As much of the audit log as auth needs. */
export interface AuditSink {
  append(events: readonly AuditEvent[]): Promise<void>;
  stamp(draft: EventDraft): AuditEvent;
  /** Is the event with this id in the log? `since`: not older. Asked after a crash only, to write nothing twice. */
  has?(uid: string, since: Date): Promise<boolean>;
}

export function auditSink(log: Pick<AuditLog, 'append' | 'search' | 'has'>, stamp: EventStamp): AuditSink {
  return {
    append: (events) => log.append(events),
    stamp: (draft) => stamp.stamp(draft),
    async has(uid, since) {
      if (log.has !== undefined) return log.has(uid, since);
      for await (const event of log.search({ from: since, text: uid })) if (event.uid === uid) return true;
      return false;
    },
  };
}
