// The audit log as the auth service needs it.
import type { AuditLog } from '../audit/audit-log.ts';
import type { EventStamp } from '../audit/session-emitter.ts';
import type { AuditSink } from './auth-service.ts';

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
