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

interface Row {
  readonly event: AuditEvent;
  readonly time: number;
  /** Which of the batch places it belongs to, from 1; 0: none. */
  readonly place: number;
}

type Column<T> = (rows: readonly T[]) => Buffer;

// In the order of the parameters of append_events.
const placeColumns: readonly Column<BatchPlace>[] = [
  (places) => textArray(places.map(({ host }) => host)),
  (places) => textArray(places.map(({ stream }) => stream)),
  (places) => int8Array(places.map(({ first }) => first)),
  (places) => int8Array(places.map(({ next }) => next)),
];
const eventColumns: readonly Column<Row>[] = [
  (rows) => int4Array(rows.map(({ place }) => place)),
  (rows) => uuidArray(rows.map(({ event }) => event.uid)),
  (rows) => int8Array(rows.map(({ time }) => time)),
  (rows) => textArray(rows.map(({ event }) => event.event)),
  (rows) => textArray(rows.map(({ event }) => event.code)),
  (rows) => textArray(rows.map(({ event }) => ('user' in event ? columnText(event.user) : null))),
  (rows) => textArray(rows.map(({ event }) => ('sid' in event ? columnText(event.sid) : null))),
  (rows) => textArray(rows.map(({ event }) => serialize(event))),
];

/** `day`: of arrival; null: the database says. `nowMs`: ours, to tell which events are late. */
export function appendValues(parts: readonly AppendPart[], day: string | null, nowMs: number): unknown[] {
  const places = parts.flatMap(({ place }) => place ?? []);
  const rows = rowsOf(parts);
  const { uids, from } = late(rows, nowMs);
  const late_ = uids.length === 0 ? null : uuidArray(uids);
  return [day, ...encoded(placeColumns, places), late_, from, ...encoded(eventColumns, rows)];
}

function rowsOf(parts: readonly AppendPart[]): Row[] {
  const seen = new Set<string>();
  const rows: Row[] = [];
  let places = 0;
  for (const { events, place } of parts) {
    if (place !== undefined) places++;
    for (const event of events) {
      // Twice in one statement would be a conflict with itself.
      if (seen.has(event.uid)) continue;
      seen.add(event.uid);
      rows.push({ event, time: Date.parse(event.time), place: place === undefined ? 0 : places });
    }
  }
  return rows;
}

/** An array of nothing is NULL there. */
function encoded<T>(columns: readonly Column<T>[], rows: readonly T[]): (Buffer | null)[] {
  return columns.map((column) => (rows.length === 0 ? null : column(rows)));
}

/** NUL and half surrogate pairs have no place in a database; the line has them escaped. */
export function columnText(text: string | undefined): string | null {
  return text === undefined ? null : text.replaceAll('\0', '\ufffd').toWellFormed();
}

/** Events that may have arrived on an earlier day already: they happened before today, as far as clocks can tell. */
function late(rows: readonly Row[], nowMs: number) {
  const today = Math.floor(nowMs / dayMs) * dayMs + clockSlackMs;
  const uids = rows.flatMap(({ event, time }) => (time < today ? event.uid : []));
  const oldest = rows.reduce((least, { time }) => Math.min(least, time), nowMs) - clockSlackMs;
  return { uids, from: uids.length === 0 ? null : new Date(Math.max(0, oldest)).toISOString().slice(0, 10) };
}
