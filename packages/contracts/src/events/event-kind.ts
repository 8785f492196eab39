// One row of the wire contract: an event's name and code, its schema and the sentence a person reads. The code
// is the key: T1006I and T1006W are different events.
import { z } from 'zod';
import { meta } from './blocks.ts';

type Pinned<Name extends string, Code extends string> = {
  event: z.ZodLiteral<Name>;
  code: z.ZodLiteral<Code>;
} & typeof meta;

/** The schema of one event. Strict: a misspelt field is an error where events are made (see parse.ts for reading). */
export type EventSchema<Name extends string, Code extends string, Shape extends z.ZodRawShape> = z.ZodObject<
  Omit<Pinned<Name, Code>, keyof Shape> & Shape,
  z.core.$strict
>;

export interface EventKind<Name extends string, Code extends string, Shape extends z.ZodRawShape> {
  readonly event: Name;
  readonly code: Code;
  /** What it says, for the reference page: one line. */
  readonly title: string;
  readonly schema: EventSchema<Name, Code, Shape>;
  /** What happened, for a person: one line, safe to print on a terminal. */
  readonly sentence: (event: z.output<EventSchema<Name, Code, Shape>>) => string;
}

export function define<Name extends string, Code extends string, Shape extends z.ZodRawShape>(
  event: Name,
  code: Code,
  title: string,
  shape: Shape,
  sentence: (event: z.output<EventSchema<Name, Code, Shape>>) => string,
): EventKind<Name, Code, Shape> {
  const schema = z.strictObject({ event: z.literal(event), code: z.literal(code), ...meta, ...shape });
  return { event, code, title, schema: schema as EventSchema<Name, Code, Shape>, sentence };
}
