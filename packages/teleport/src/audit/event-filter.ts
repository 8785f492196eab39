// A query → a test of lines. Cheap tests on the raw line come first: most lines of a log are not the ones asked
// for and are never parsed.
import { type AuditEvent, parseEvent } from '@sallyport/contracts/events/event.ts';
import type { EventQuery } from './audit-log.ts';

/** `undefined`: not asked for. `skipped`: asked for or not, the line is no event this version can read. */
export type Matched = AuditEvent | 'skipped' | undefined;

export function eventFilter(query: EventQuery): (line: string) => Matched {
  const mayMatch = lineTest(query);
  const matches = eventTest(query);
  return (line) => {
    if (!mayMatch(line)) return undefined;
    const parsed = parseEvent(line);
    if (!parsed.ok) return 'skipped';
    return matches(parsed.event) ? parsed.event : undefined;
  };
}

/** Necessary conditions only: what passes is parsed and tested exactly. */
function lineTest(query: EventQuery): (line: string) => boolean {
  const needles: string[] = [];
  if (query.sid !== undefined) needles.push(JSON.stringify(query.sid));
  const text = query.text === undefined || query.text === '' ? undefined : query.text;
  // The line holds the text as JSON writes it: a quote in it appears as \".
  const lowered = text === undefined ? undefined : JSON.stringify(text).slice(1, -1).toLowerCase();
  return (line) =>
    needles.every((needle) => line.includes(needle)) &&
    (lowered === undefined || line.toLowerCase().includes(lowered));
}

function eventTest(query: EventQuery): (event: AuditEvent) => boolean {
  const from = query.from?.getTime() ?? Number.NEGATIVE_INFINITY;
  const to = query.to?.getTime() ?? Number.POSITIVE_INFINITY;
  const types = query.types === undefined ? undefined : new Set<string>(query.types);
  return (event) => {
    const time = Date.parse(event.time);
    if (time < from || time >= to) return false;
    if (types !== undefined && !types.has(event.event) && !types.has(event.code)) return false;
    if (query.user !== undefined && (!('user' in event) || event.user !== query.user)) return false;
    return query.sid === undefined || ('sid' in event && event.sid === query.sid);
  };
}
