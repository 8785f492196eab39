// An event's schema as JSON Schema (draft 2020-12), for whoever reads the log with other tools.
import { z } from 'zod';
import type { CatalogEntry } from './catalog.ts';

export interface JsonSchema {
  readonly type?: string;
  readonly format?: string;
  readonly pattern?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly required?: readonly string[];
}

/** Open to further fields: a later version may add some, and never takes one away. */
export function jsonSchemaOf(entry: CatalogEntry): JsonSchema {
  const schema = z.toJSONSchema(entry.schema, { override: ({ jsonSchema }) => simplify(jsonSchema) });
  const { additionalProperties: _strict, ...open } = schema;
  return open as JsonSchema;
}

/** What says nothing to a reader: the expression behind a format, the bounds of any JavaScript integer. */
function simplify(schema: z.core.JSONSchema.BaseSchema): void {
  if (schema.format !== undefined) delete schema.pattern;
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
}
