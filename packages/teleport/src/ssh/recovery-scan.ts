// What the log already holds of sessions whose daemon died. Streams it: memory is a bit an event.
import { type AuditEvent, dataEi } from '@sallyport/contracts/events/event.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import { SeenRecords } from './enhanced/seen-records.ts';
import type { Journal } from './session-journal.ts';

export interface LoggedSession {
  readonly seen: SeenRecords;
  /** -1: none. */
  lastEi: number;
  started: boolean;
  /** The owner; whoever joined is in `joined`. */
  left: boolean;
  readonly joined: Set<string>;
  ended: boolean;
}

/** Event times come from two clocks; the log is read from this much before the oldest session began, ms. */
const slackMs = 3_600_000;

export function nothingOf(): LoggedSession {
  return {
    seen: new SeenRecords(),
    lastEi: -1,
    started: false,
    left: false,
    joined: new Set(),
    ended: false,
  };
}

/** One pass through the log for all of them. */
export async function readLoggedSessions(
  log: AuditLog,
  journals: readonly Journal[],
): Promise<ReadonlyMap<string, LoggedSession>> {
  const sessions = new Map(journals.map(({ facts }) => [facts.sid, nothingOf()]));
  if (journals.length === 0) return sessions;
  const from = new Date(Math.min(...journals.map(({ facts }) => Date.parse(facts.started))) - slackMs);
  const [first] = journals;
  // The log filters by one session at most; with more we do.
  const query = journals.length === 1 && first ? { from, sid: first.facts.sid } : { from };
  for await (const event of log.search(query)) {
    const session = 'sid' in event && event.sid !== undefined ? sessions.get(event.sid) : undefined;
    if (session) note(session, event);
  }
  return sessions;
}

function note(session: LoggedSession, event: AuditEvent): void {
  // session.data stands at a fixed position behind everything.
  if (event.ei < dataEi) session.lastEi = Math.max(session.lastEi, event.ei);
  if ('seq' in event && event.seq !== undefined) session.seen.add(event.seq);
  else if (event.event === 'session.events_lost') session.seen.addKey(event.uid);
  else if (event.event === 'session.start') session.started = true;
  else if (event.event === 'session.join') session.joined.add(event.user);
  else if (event.event === 'session.leave' && event.mode === undefined) session.left = true;
  else if (event.event === 'session.end') session.ended = true;
}
