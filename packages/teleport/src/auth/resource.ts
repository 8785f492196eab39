// Users and roles as YAML documents (`kind`, `version`, `metadata`, `spec`) ↔ our values, and what names may be.
import { AppError } from '@sallyport/contracts/errors.ts';
import { z } from 'zod';
import { lossPolicies, recordedKinds } from '../ca/identity.ts';
import { formatDuration, parseDuration } from '../config/duration.ts';
import type { LabelSelector, Role, RoleConditions } from './role.ts';
import type { User } from './user.ts';

export type Resource =
  | { readonly kind: 'user'; readonly value: User }
  | { readonly kind: 'role'; readonly value: Role };

// A name becomes a certificate's key id and part of log lines: no blanks, no control characters, no leading dash.
export const resourceName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$/,
    'must be 1 to 128 letters, digits or ._@+- and begin with a letter or digit',
  );

/** A host account. A leading dash would be an option to some program one day. */
export const loginName = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.@\\$-]{0,254}$/, 'must be the name of a host account');

const loginOrTemplate = z.union(
  [loginName, z.string().regex(/^\{\{\s*(internal|external)\.[A-Za-z0-9_-]+\s*\}\}$/)],
  {
    error: 'must be the name of a host account or {{internal.TRAIT}}',
  },
);
// `cores: 8` is text to a label. Not z.coerce: it would make "a,b" of a list.
const labelText = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const labels = z.record(z.string(), z.union([labelText, z.array(labelText)]));
const ttl = z
  .string()
  .refine((text) => (parseDuration(text) ?? 0) >= 60_000, 'must be a duration of at least 1m, such as 8h');
const recordSession = z.enum(['best_effort', 'strict']);

const head = {
  version: z.string().optional(),
  metadata: z.strictObject({
    name: resourceName,
    description: z.string().optional(),
    revision: z.string().optional(),
  }),
};

const roleDocument = z.strictObject({
  kind: z.literal('role'),
  ...head,
  spec: z
    .strictObject({
      allow: z
        .strictObject({ logins: z.array(loginOrTemplate).optional(), node_labels: labels.optional() })
        .optional(),
      deny: z
        .strictObject({
          logins: z.array(z.union([loginOrTemplate, z.literal('*')])).optional(),
          node_labels: labels.optional(),
        })
        .optional(),
      options: z
        .strictObject({
          max_session_ttl: ttl.optional(),
          enhanced_recording: z.array(z.enum(recordedKinds)).optional(),
          // Both documented spellings: a word, or a word for each protocol.
          record_session: z
            .union([
              recordSession,
              z.strictObject({ default: recordSession.optional(), ssh: recordSession.optional() }),
            ])
            .optional(),
          loss_policy: z.enum(lossPolicies).optional(),
          port_forwarding: z.boolean().optional(),
        })
        .optional(),
    })
    .optional(),
});

const userDocument = z.strictObject({
  kind: z.literal('user'),
  ...head,
  spec: z.strictObject({
    roles: z.array(resourceName).min(1),
    traits: z.record(z.string(), z.array(z.string())).optional(),
    created: z.iso.datetime().optional(),
  }),
});

/** `where` names the document in messages. Throws AppError `auth.bad_resource`. */
export function readResource(document: unknown, where: string, now: Date): Resource {
  const kind = z.looseObject({ kind: z.string() }).safeParse(document).data?.kind;
  if (kind === 'role') return { kind, value: toRole(check(roleDocument, document, where)) };
  if (kind === 'user') return { kind, value: toUser(check(userDocument, document, where), where, now) };
  throw new AppError(
    'bad_input',
    'auth.bad_resource',
    `${where}: kind must be role or user${kind === undefined ? '' : `, not "${kind}"`}.`,
  );
}

export function checkName(what: string, name: string): string {
  return check(resourceName, name, `${what} name "${name}"`);
}

export function checkLogins(logins: readonly string[]): string[] {
  return logins.map((login) => check(loginName, login, `login "${login}"`));
}

/** First mistake first; a second one is often its consequence. */
function check<T>(schema: z.ZodType<T, unknown>, value: unknown, where: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path.join('.') ?? '';
  throw new AppError(
    'bad_input',
    'auth.bad_resource',
    `${where}: ${path === '' ? '' : `${path}: `}${issue?.message ?? 'is not valid'}.`,
  );
}

function toRole({ metadata, spec }: z.output<typeof roleDocument>): Role {
  const options = spec?.options ?? {};
  const record = options.record_session;
  return {
    name: metadata.name,
    allow: toConditions(spec?.allow),
    deny: toConditions(spec?.deny),
    options: {
      maxSessionTtlMs:
        options.max_session_ttl === undefined ? undefined : parseDuration(options.max_session_ttl),
      enhancedRecording: options.enhanced_recording,
      recordSession: typeof record === 'object' ? (record.ssh ?? record.default) : record,
      lossPolicy: options.loss_policy,
      portForwarding: options.port_forwarding,
    },
  };
}

function toConditions(
  raw: { logins?: string[] | undefined; node_labels?: z.output<typeof labels> | undefined } = {},
): RoleConditions {
  const selector = Object.entries(raw.node_labels ?? {}).map(([key, value]) => [
    key,
    Array.isArray(value) ? value : [value],
  ]);
  return { logins: raw.logins ?? [], nodeLabels: Object.fromEntries(selector) as LabelSelector };
}

function toUser({ metadata, spec }: z.output<typeof userDocument>, where: string, now: Date): User {
  const traits = spec.traits ?? {};
  for (const login of traits['logins'] ?? []) check(loginName, login, `${where}: spec.traits.logins`);
  return { name: metadata.name, roles: spec.roles, traits, created: spec.created ?? now.toISOString() };
}

/** The document of a value, as `tctl get` prints it and `tctl create -f` takes it back. */
export function writeResource(resource: Resource, revision: string | undefined): Record<string, unknown> {
  const { kind, value } = resource;
  const metadata = { name: value.name, ...(revision === undefined ? {} : { revision }) };
  return {
    kind,
    version: kind === 'role' ? 'v7' : 'v2',
    metadata,
    spec: kind === 'role' ? roleSpec(value) : userSpec(value),
  };
}

function userSpec(user: User): Record<string, unknown> {
  return { roles: user.roles, traits: user.traits, created: user.created };
}

function roleSpec({ allow, deny, options }: Role): Record<string, unknown> {
  return present({
    allow: conditionsSpec(allow),
    deny: conditionsSpec(deny),
    options: present({
      max_session_ttl:
        options.maxSessionTtlMs === undefined ? undefined : formatDuration(options.maxSessionTtlMs),
      enhanced_recording: options.enhancedRecording,
      record_session: options.recordSession,
      loss_policy: options.lossPolicy,
      port_forwarding: options.portForwarding,
    }),
  });
}

function conditionsSpec({ logins, nodeLabels }: RoleConditions): Record<string, unknown> | undefined {
  const spec = present({
    logins: logins.length === 0 ? undefined : logins,
    node_labels: Object.keys(nodeLabels).length === 0 ? undefined : nodeLabels,
  });
  return Object.keys(spec).length === 0 ? undefined : spec;
}

function present(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}
