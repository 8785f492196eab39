// Events → the columns of the log's table, as parameters of append_events.
import { type AuditEvent, serialize } from '@sallyport/contracts/events/event.ts';
import { int4Array, int8Array, textArray, uuidArray } from '../postgres/binary-array.ts';
import type { BatchPlace } from './audit-log.ts';

/** Part of one append_events: the events of one append. */
export interface AppendPart {
  readonly events: readonly AuditEvent[];
  readonly place: BatchPlace | undefined;
}

/** Clocks may disagree so much, ms: until then after midnight an event may be in yesterday's partition. */
const clockSlackMs = 3600 * 1000;
const dayMs = 24 * 3600 * 1000;

/** `day`: of arrival; null: the database says. `nowMs`: ours, to tell which events are late. */
export function appendValues(parts: readonly AppendPart[], day: string | null, nowMs: number): unknown[] {
  const places = parts.flatMap(({ place }) => place ?? []);
  const seen = new Set<string>();
  const events: AuditEvent[] = [];
  const placeOf: number[] = [];
  let places_ = 0;
  for (const { events: own, place } of parts) {
    if (place !== undefined) places_++;
    for (const event of own) {
      // Twice in one statement would be a conflict with itself.
      if (seen.has(event.uid)) continue;
      seen.add(event.uid);
      events.push(event);
      placeOf.push(place === undefined ? 0 : places_);
    }
  }
  const times = events.map((event) => Date.parse(event.time));
  const lateness = late(events, times, nowMs);
  return [
    day,
    orNull(
      textArray,
      places.map(({ host }) => host),
    ),
    orNull(
      textArray,
      places.map(({ stream }) => stream),
    ),
    orNull(
      int8Array,
      places.map(({ first }) => first),
    ),
    orNull(
      int8Array,
      places.map(({ next }) => next),
    ),
    orNull(uuidArray, lateness.uids),
    lateness.from,
    orNull(int4Array, placeOf),
    orNull(
      uuidArray,
      events.map(({ uid }) => uid),
    ),
    orNull(int8Array, times),
    orNull(
      textArray,
      events.map(({ event }) => event),
    ),
    orNull(
      textArray,
      events.map(({ code }) => code),
    ),
    orNull(
      textArray,
      events.map((event) => ('user' in event ? columnText(event.user) : null)),
    ),
    orNull(
      textArray,
      events.map((event) => ('sid' in event ? columnText(event.sid) : null)),
    ),
    orNull(textArray, events.map(serialize)),
  ];
}

/** NUL and half surrogate pairs have no place in a database; the line has them escaped. */
export function columnText(text: string | undefined): string | null {
  return text === undefined ? null : text.replaceAll('\0', '\ufffd').toWellFormed();
}

/** Events that may have arrived on an earlier day already: they happened before today, as far as clocks can tell. */
function late(events: readonly AuditEvent[], times: readonly number[], nowMs: number) {
  const today = Math.floor(nowMs / dayMs) * dayMs + clockSlackMs;
  const uids = events.flatMap(({ uid }, i) => ((times[i] ?? 0) < today ? uid : []));
  const oldest = times.reduce((least, time) => Math.min(least, time), nowMs) - clockSlackMs;
  return { uids, from: uids.length === 0 ? null : new Date(Math.max(0, oldest)).toISOString().slice(0, 10) };
}

function orNull<T>(encode: (values: readonly T[]) => Buffer, values: readonly T[]): Buffer | null {
  return values.length === 0 ? null : encode(values);
}
