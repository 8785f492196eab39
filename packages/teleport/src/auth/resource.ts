// Documents as people write them (YAML, `kind`, `metadata`, `spec`) → checked, with messages that name the place.
import {
  loginName,
  type ResourceDocument,
  type ResourceDocumentKind,
  resourceDocument,
  resourceName,
} from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { z } from 'zod';
import type { Role } from './role.ts';
import { toRole, toRoleDocument } from './role-document.ts';
import type { User } from './user.ts';
import { toUser, toUserDocument } from './user-document.ts';

export type Resource =
  | { readonly kind: 'user'; readonly value: User }
  | { readonly kind: 'role'; readonly value: Role };

/** What people write; the other kinds write themselves. */
const writtenKinds: readonly ResourceDocumentKind[] = ['role', 'user', 'token', 'lock'];

/** `where` names the document in messages. Throws AppError `auth.bad_resource`. */
export function readDocument(document: unknown, where: string): ResourceDocument {
  const kind = z.looseObject({ kind: z.string() }).safeParse(document).data?.kind;
  if (!writtenKinds.some((each) => each === kind)) {
    throw bad(
      `${where}: kind must be one of ${writtenKinds.join(', ')}${kind === undefined ? '' : `, not "${kind}"`}`,
    );
  }
  const checked = check(resourceDocument, document, where);
  try {
    checkMeaning(checked);
  } catch (error) {
    throw bad(`${where}: ${AppError.from(error).message.replace(/\.$/, '')}`);
  }
  return checked;
}

/** What the shape of a document does not say: durations that are too short, logins among the traits. */
export function checkMeaning(document: ResourceDocument): void {
  if (document.kind === 'role') toRole(document);
  if (document.kind === 'user') {
    for (const login of document.spec.traits?.['logins'] ?? []) check(loginName, login, 'spec.traits.logins');
  }
}

/** `where` names the document in messages. Throws AppError `auth.bad_resource`. */
export function readResource(document: unknown, where: string, now: Date): Resource {
  const checked = readDocument(document, where);
  if (checked.kind === 'role') return { kind: 'role', value: toRole(checked) };
  if (checked.kind === 'user') return { kind: 'user', value: toUser(checked, now.toISOString()) };
  throw bad(`${where}: kind must be role or user, not "${checked.kind}"`);
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
  throw bad(`${where}: ${path === '' ? '' : `${path}: `}${issue?.message ?? 'is not valid'}`);
}

function bad(message: string): AppError {
  return new AppError('bad_input', 'auth.bad_resource', `${message}.`);
}

/** The document of a value, as `tctl get` prints it and `tctl create -f` takes it back. */
export function writeResource(resource: Resource, revision: string | undefined): Record<string, unknown> {
  const document = resource.kind === 'role' ? toRoleDocument(resource.value) : toUserDocument(resource.value);
  const metadata = revision === undefined ? document.metadata : { ...document.metadata, revision };
  return { ...document, metadata };
}
