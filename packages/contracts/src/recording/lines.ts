// The lines of a recording, and what its files are called. Pure: where the files lie and how they are read is the
// business of whoever holds them.
//
//   <sid>-0.chunks.gz                   terminal output, raw, from the session's first byte to its last
//   <sid>-0.events.gz                   JSON lines: print lines (which bytes came when) and the session's own events
//   <sid>-0.session.command-events.gz   JSON lines: audit events of the kernel, a part a kind that has any
//   <sid>-0.session.disk-events.gz
//   <sid>-0.session.network-events.gz
//   <sid>.index                         JSON lines: the parts. Written last: where it is, the recording is whole
import { z } from 'zod';
import { instant } from '../events/blocks.ts';
import { type AuditEvent, checkEvent, type EventName } from '../events/event.ts';
import { serializeLine } from '../events/serialize.ts';

/** Terminal output: `bytes` bytes of the chunks, from `offset`, came `ms` after the start of the session. */
const printLineSchema = z.object({
  event: z.literal('print'),
  time: instant,
  ms: z.int().nonnegative(),
  offset: z.int().nonnegative(),
  bytes: z.int().positive(),
  /** Position among all events of the session. */
  ei: z.int().nonnegative(),
  /** Position among the prints, from 0. */
  ci: z.int().nonnegative(),
});

export type PrintLine = z.output<typeof printLineSchema>;

export const partTypes = ['chunks', 'events', 'session.command', 'session.disk', 'session.network'] as const;
export type PartType = (typeof partTypes)[number];

/** Which part an event of a session lies in; `undefined`: it is not kept in a recording. */
export function partOf(event: EventName): PartType | undefined {
  return partByEvent[event];
}

const partByEvent: { readonly [K in EventName]?: PartType } = {
  'session.start': 'events',
  'session.join': 'events',
  resize: 'events',
  'session.leave': 'events',
  'session.input': 'events',
  'session.events_lost': 'events',
  'session.attribution': 'events',
  'session.recording_failed': 'events',
  'session.end': 'events',
  'session.command': 'session.command',
  'session.command.exit': 'session.command',
  'session.disk': 'session.disk',
  'session.network': 'session.network',
  'session.network.outcome': 'session.network',
  'session.network.close': 'session.network',
};

/** Name of a part without its `.gz`: what it is called while the session lives. */
export function partName(sid: string, type: PartType): string {
  return type === 'chunks' || type === 'events' ? `${sid}-0.${type}` : `${sid}-0.${type}-events`;
}

export function indexName(sid: string): string {
  return `${sid}.index`;
}

const indexLineSchema = z.object({
  /** Beside the index. */
  file_name: z.string(),
  type: z.enum(partTypes),
  /** `ei` of the part's first event; 0 for the chunks. */
  index: z.int().nonnegative(),
  /** Offset of the part's first byte in the session's output: 0, as we write one part a type. */
  offset: z.int().nonnegative(),
});

export type IndexLine = z.output<typeof indexLineSchema>;

/** What the `events` part holds. */
export type RecordedLine = PrintLine | AuditEvent;

export function encodePrintLine(print: PrintLine): string {
  return serializeLine(print);
}

export function encodeIndexLine(line: IndexLine): string {
  return serializeLine(line);
}

/** `undefined`: not a line of a recording. */
export function decodeRecordedLine(line: string): RecordedLine | undefined {
  const record = parseJson(line);
  const print = printLineSchema.safeParse(record);
  if (print.success) return print.data;
  const event = checkEvent(record);
  return event.ok ? event.event : undefined;
}

export function decodeIndexLine(line: string): IndexLine | undefined {
  return indexLineSchema.safeParse(parseJson(line)).data;
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
