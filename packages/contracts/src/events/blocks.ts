// The building blocks of every audit event: M, U, S, Srv, C, St, B, Cmd of the wire contract. A block is a plain
// zod shape; events spread the ones they carry. A field is optional here when a documented event of an older
// version lacks it: we read those, and we always write what we know.
import { z } from 'zod';

export const uuid = z.uuid();

/** RFC 3339, UTC ("Z"). We write milliseconds; older records carry fewer or more digits. */
export const instant = z.iso.datetime();

/** RFC 3339 UTC with nanoseconds: `2026-01-02T03:04:05.123456789Z`. */
export const kernelInstant = z.iso.datetime({ precision: 9 });

const exactBytes = z.base64().describe('exact bytes, present only when they are not valid UTF-8');

type RequiredText<K extends string> = { [P in K]: z.ZodString } & {
  [P in `${K}_bytes`]: z.ZodOptional<z.ZodBase64>;
};
type OptionalText<K extends string> = { [P in K]: z.ZodOptional<z.ZodString> } & {
  [P in `${K}_bytes`]: z.ZodOptional<z.ZodBase64>;
};

/** `path: string` plus `path_bytes`, see bytes.ts. */
export function text<K extends string>(name: K, meaning?: string): RequiredText<K> {
  const field = meaning === undefined ? z.string() : z.string().describe(meaning);
  // A computed key loses its literal type; the names are checked by the golden lines.
  return { [name]: field, [`${name}_bytes`]: exactBytes.optional() } as RequiredText<K>;
}

export function optionalText<K extends string>(name: K, meaning?: string): OptionalText<K> {
  const field = meaning === undefined ? z.string().optional() : z.string().optional().describe(meaning);
  return { [name]: field, [`${name}_bytes`]: exactBytes.optional() } as OptionalText<K>;
}

/**
 * An unsigned 64-bit kernel number. JSON readers keep only 53 bits, so what is larger is written as a decimal
 * string (inode numbers of overlay and network file systems do get there).
 */
export const wideInteger = z.union([z.int().nonnegative(), z.string().regex(/^[0-9]{16,20}$/)]);

/** The wire form of a 64-bit number, see `wideInteger`. */
export function wireInteger(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
}

/** M, except `event` and `code`, which each event pins to its own literals. */
export const meta = {
  ei: z.int().nonnegative().describe('position in the session, terminal output included'),
  uid: uuid.describe('id of this event'),
  time: instant,
  cluster_name: z.string().optional().describe('absent only in records of the oldest versions'),
};

/** U. */
export const user = {
  user: z.string(),
  login: z.string().optional().describe('the account on the host'),
  user_kind: z
    .union([z.literal(1), z.literal(2), z.literal(3)])
    .optional()
    .describe('1 human, 2 bot, 3 system'),
  user_roles: z.array(z.string()).optional(),
  user_traits: z.record(z.string(), z.array(z.string())).optional(),
};

/** U where nobody is known yet: a log-in that was refused. */
export const perhapsUser = { ...user, user: z.string().optional() };

/** S. */
export const session = {
  sid: uuid,
  with_mfa: uuid.optional().describe('the device that was used'),
};

/** Srv. */
export const server = {
  namespace: z.string().optional(),
  server_id: uuid.optional(),
  server_hostname: z.string().optional(),
  server_addr: z.string().optional(),
  server_labels: z.record(z.string(), z.string()).optional(),
  server_version: z.string().optional(),
};

/** C. The names hold a dot; they are not nested. */
export const connection = {
  'addr.local': z.string().optional(),
  'addr.remote': z.string().optional(),
  proto: z.string().optional(),
};

/** St. */
export const status = {
  success: z.boolean(),
  error: z.string().optional(),
  message: z.string().optional(),
};

/** Cmd. `exitCode` is a string, as documented. */
export const command = {
  command: z.string(),
  exitCode: z.string().optional(),
  exitError: z.string().optional(),
};
