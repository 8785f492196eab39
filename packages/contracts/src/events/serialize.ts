// An event → its line. Keys sorted at every depth, no newline inside, pure well-formed JSON. Beyond what JSON
// demands, every character that could act on a reader's terminal is escaped: `tail -f events.log` is a
// documented way to watch, and file names come from users.
import type { AuditEvent } from './catalog.ts';
import { escapeCharacter, unprintable } from './phrase.ts';

/**
 * The line of an event that has been stamped and is not changed any more: log and recording write the same one.
 * Gone with the event.
 */
const lines = new WeakMap<AuditEvent, string>();

/** Without the newline. `undefined` fields are left out, as absent fields are. */
export function serialize(event: AuditEvent): string {
  let line = lines.get(event);
  if (line === undefined) {
    line = write(event);
    lines.set(event, line);
  }
  return line;
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
  for (const { name, written } of sortedKeys(object)) {
    const value = object[name];
    if (value === undefined) continue;
    out += (out.length === 1 ? '' : ',') + written + write(value);
  }
  return `${out}}`;
}

interface Key {
  readonly name: string;
  /** `"name":` */
  readonly written: string;
}

// Events come in few shapes; sorting and writing their keys anew was half the work. Cleared when it grows:
// labels and traits have keys that users choose.
const knownShapes = new Map<string, readonly Key[]>();
const maxKnownShapes = 1000;

function sortedKeys(object: Record<string, unknown>): readonly Key[] {
  const names = Object.keys(object);
  const shape = names.join('\0');
  const known = knownShapes.get(shape);
  // The lengths differ when a name holds the separator itself: no such list is ever remembered.
  if (known !== undefined && known.length === names.length) return known;
  const keys = names.sort().map((name) => ({ name, written: `${writeString(name)}:` }));
  if (names.some((name) => name.includes('\0'))) return keys;
  if (knownShapes.size >= maxKnownShapes) knownShapes.clear();
  knownShapes.set(shape, keys);
  return keys;
}

/** Printable ASCII without quote and backslash: nothing to escape, and nearly everything there is. */
const plain = /^[ !#-[\]-~]*$/;

/** JSON.stringify escapes C0, quotes and (ES2019) lone surrogates; the rest is ours. */
function writeString(value: string): string {
  if (plain.test(value)) return `"${value}"`;
  return JSON.stringify(value).replace(unprintable, escapeCharacter);
}

/** NaN and the infinities are no JSON: they become null, and validation refuses them before. */
function writeScalar(value: unknown): string {
  if (typeof value === 'bigint') return value.toString();
  return JSON.stringify(value) ?? 'null';
}
