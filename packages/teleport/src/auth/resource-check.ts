// What the shape of a document does not say: names, durations that are too short, logins among the traits.
import { loginName, type ResourceDocument, resourceName } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { z } from 'zod';
import { toRole } from './role-document.ts';
import { checkConnector } from './sso/connectors.ts';

/** Throws AppError `auth.bad_resource`. */
export function checkMeaning(document: ResourceDocument): void {
  if (document.kind === 'role') toRole(document);
  if (document.kind === 'oidc' || document.kind === 'github') checkConnector(document);
  if (document.kind === 'lock' && document.spec.issued_before !== undefined && 'node' in document.spec.target)
    throw new AppError('bad_input', 'auth.bad_resource', 'spec.issued_before: is for certificates of users.');
  if (document.kind === 'user') {
    for (const login of document.spec.traits?.['logins'] ?? []) check(loginName, login, 'spec.traits.logins');
  }
}

/** Throws AppError `auth.bad_resource`. */
export function checkName(what: string, name: string): string {
  return check(resourceName, name, `${what} name "${name}"`);
}

/** First mistake first; a second one is often its consequence. */
function check<T>(schema: z.ZodType<T, unknown>, value: unknown, where: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const message = `${where}: ${parsed.error.issues[0]?.message ?? 'is not valid'}.`;
  throw new AppError('bad_input', 'auth.bad_resource', message);
}
