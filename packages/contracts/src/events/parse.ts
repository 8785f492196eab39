// A line → its event. Reading is more forgiving than writing: a field this version does not know (a newer
// cluster wrote it) is kept; a known field with a wrong type is an error.
import { z } from 'zod';
import { type AuditEvent, type CatalogEntry, entryOf } from './catalog.ts';

export type ParsedEvent =
  | { readonly ok: true; readonly event: AuditEvent }
  | {
      readonly ok: false;
      readonly reason: 'not_json' | 'unknown_event' | 'invalid';
      readonly detail: string;
    };

export function parseEvent(line: string): ParsedEvent {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch (cause) {
    return { ok: false, reason: 'not_json', detail: cause instanceof Error ? cause.message : 'not JSON' };
  }
  return checkEvent(record);
}

/** `writing`: a field the schema does not know is an error too. */
export function checkEvent(record: unknown, purpose: 'reading' | 'writing' = 'reading'): ParsedEvent {
  const code = codeOf(record);
  const entry = code === undefined ? undefined : entryOf(code);
  if (entry === undefined)
    return { ok: false, reason: 'unknown_event', detail: `no event has the code ${code}` };
  const schema = purpose === 'writing' ? entry.schema : readSchema(entry);
  const result = schema.safeParse(record);
  // The record itself, not the copy that was checked: it has every field, also those named like __proto__.
  if (result.success) return { ok: true, event: record as AuditEvent };
  return { ok: false, reason: 'invalid', detail: `${entry.code}: ${z.prettifyError(result.error)}` };
}

function codeOf(record: unknown): string | undefined {
  if (typeof record !== 'object' || record === null) return undefined;
  const code = (record as { code?: unknown }).code;
  return typeof code === 'string' ? code : undefined;
}

// Loose variants are made on first use: most processes read few of the events.
const readSchemas = new Map<string, z.ZodType<AuditEvent>>();

function readSchema(entry: CatalogEntry): z.ZodType<AuditEvent> {
  let schema = readSchemas.get(entry.code);
  if (schema === undefined) {
    schema = (entry.schema as unknown as z.ZodObject).loose() as unknown as z.ZodType<AuditEvent>;
    readSchemas.set(entry.code, schema);
  }
  return schema;
}
