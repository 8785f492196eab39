// An event → its line. Keys sorted at every depth, no newline inside, pure well-formed JSON. Beyond what JSON
// demands, every character that could act on a reader's terminal is escaped: `tail -f events.log` is a
// documented way to watch, and file names come from users.
import type { AuditEvent } from './catalog.ts';
import { escapeCharacter, unprintable } from './phrase.ts';

/** Without the newline. `undefined` fields are left out, as absent fields are. */
export function serialize(event: AuditEvent): string {
  return write(event);
}

/** The same form for lines that are no audit events (recording index, print lines). */
export function serializeLine(record: Readonly<Record<string, unknown>>): string {
  return write(record);
}

function write(value: unknown): string {
  if (typeof value === 'string') return writeString(value);
  if (typeof value !== 'object' || value === null) return writeScalar(value);
  return Array.isArray(value)
    ? `[${value.map(write).join(',')}]`
    : writeObject(value as Record<string, unknown>);
}

function writeObject(object: Record<string, unknown>): string {
  let out = '{';
  for (const key of Object.keys(object).sort()) {
    const value = object[key];
    if (value === undefined) continue;
    out += `${out.length === 1 ? '' : ','}${writeString(key)}:${write(value)}`;
  }
  return `${out}}`;
}

/** JSON.stringify escapes C0, quotes and (ES2019) lone surrogates; the rest is ours. */
function writeString(value: string): string {
  return JSON.stringify(value).replace(unprintable, escapeCharacter);
}

/** NaN and the infinities are no JSON: they become null, and validation refuses them before. */
function writeScalar(value: unknown): string {
  if (typeof value === 'bigint') return value.toString();
  return JSON.stringify(value) ?? 'null';
}
