// What arrived → what the handler takes: each part against its schema, every complaint with the path of its field.
import type { Route } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { z } from 'zod';

/** As the transport took them apart; anything can be in them. */
export interface RawParts {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
}

/** Throws AppError `bad_input`. A part without a schema is not looked at, and is not handed on. */
export function readParts(route: Route, raw: RawParts): RawParts {
  return {
    params: readPart('path', route.params, raw.params),
    query: readPart('query', route.query, raw.query ?? {}),
    body: readPart('body', route.body, raw.body),
  };
}

/** Complaints told; a hostile body can have thousands. */
const maxComplaints = 3;
const maxMessage = 500;

function readPart(part: string, schema: z.ZodType | undefined, value: unknown): unknown {
  if (schema === undefined) return undefined;
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const complaints = parsed.error.issues.flatMap((issue) => complaintsOf([part], issue));
  const told = complaints.slice(0, maxComplaints).join('; ');
  const more = complaints.length > maxComplaints ? `; and ${complaints.length - maxComplaints} more` : '';
  throw new AppError('bad_input', 'api.bad_request', `${shortened(told)}${more}.`);
}

function complaintsOf(at: readonly PropertyKey[], issue: z.core.$ZodIssue): string[] {
  const path = [...at, ...issue.path];
  if (issue.code === 'invalid_union') {
    // Of the alternatives the one that was meant: it got furthest before it failed.
    const closest = issue.errors.toSorted((a, b) => depth(b) - depth(a))[0];
    if (closest !== undefined && depth(closest) > 0) return closest.flatMap((one) => complaintsOf(path, one));
  }
  return [`${pathText(path)}: ${lowerFirst(issue.message)}`];
}

function depth(issues: readonly z.core.$ZodIssue[]): number {
  return Math.max(0, ...issues.map((issue) => issue.path.length));
}

/** `body.spec.roles[0]`. Keys come from the peer: they are written so that they can act on no terminal. */
function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((key, n) => {
      if (typeof key === 'number') return `[${key}]`;
      const name = /^[\w-]{1,64}$/.test(String(key)) ? String(key) : JSON.stringify(String(key).slice(0, 64));
      return n === 0 ? name : `.${name}`;
    })
    .join('');
}

const lowerFirst = (text: string) => text.charAt(0).toLowerCase() + text.slice(1);

function shortened(text: string): string {
  const safe = text.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, '?');
  return safe.length > maxMessage ? `${safe.slice(0, maxMessage)}…` : safe;
}
