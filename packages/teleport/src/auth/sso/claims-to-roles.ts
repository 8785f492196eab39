// Which roles a person gets for what the provider says. Pure: attributes and mappings in, roles out.
import type { OidcDocument } from '@sallyport/contracts/api/connectors.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Attributes } from './attributes.ts';

export type ClaimMapping = OidcDocument['spec']['claims_to_roles'][number];

/** Sorted, each once. A mapping gives its roles for each value of its claim that matches. */
export function claimsToRoles(attributes: Attributes, mappings: readonly ClaimMapping[]): string[] {
  const roles = mappings.flatMap(({ claim, value, roles: given }) => {
    const matches = matcherOf(value);
    const values = Object.hasOwn(attributes, claim) ? (attributes[claim] ?? []) : [];
    return values.flatMap((each) => {
      const groups = matches(each);
      return groups === undefined ? [] : given.flatMap((role) => fillIn(role, groups) ?? []);
    });
  });
  return [...new Set(roles)].sort();
}

/** Throws AppError `auth.bad_resource` for a pattern that is none. */
export function checkMappings(mappings: readonly ClaimMapping[]): void {
  for (const [i, { value, roles }] of mappings.entries()) {
    const where = `spec.claims_to_roles[${i}]`;
    if (!isPattern(value)) {
      if (roles.some((role) => role.includes('$')))
        throw bad(`${where}.roles: $1 needs a value of the form ^…$.`);
      continue;
    }
    try {
      new RegExp(value, 'u');
    } catch {
      throw bad(`${where}.value: is not a regular expression.`);
    }
  }
}

/** What a value must be: `undefined` when it is not; the groups of the pattern when it is. */
function matcherOf(wanted: string): (value: string) => readonly string[] | undefined {
  if (isPattern(wanted)) {
    const pattern = new RegExp(wanted, 'u');
    return (value) => {
      // A pattern that takes exponential time takes it in the length of what it is given.
      if (value.length > maxMatched) return undefined;
      const match = pattern.exec(value);
      return match === null ? undefined : [...match].map((group) => group ?? '');
    };
  }
  if (!wanted.includes('*')) return (value) => (value === wanted ? [] : undefined);
  const pieces = wanted.split('*');
  return (value) => (globMatches(pieces, value) ? [] : undefined);
}

const maxMatched = 256;

function isPattern(value: string): boolean {
  return value.length >= 2 && value.startsWith('^') && value.endsWith('$');
}

/** Greedy from the left, the last piece from the right: linear, and right, because pieces hold no wildcard. */
function globMatches(pieces: readonly string[], value: string): boolean {
  const [head = '', ...rest] = pieces;
  const tail = rest.pop() ?? '';
  if (!value.startsWith(head) || value.length < head.length + tail.length || !value.endsWith(tail))
    return false;
  let at = head.length;
  const end = value.length - tail.length;
  for (const piece of rest) {
    const found = value.indexOf(piece, at);
    if (found < 0 || found + piece.length > end) return false;
    at = found + piece.length;
  }
  return at <= end;
}

/** `undefined`: what came out is no name of a role. A provider must not write into names beyond their letters. */
function fillIn(role: string, groups: readonly string[]): string | undefined {
  const filled = role.replace(/\$\{?([1-9])\}?/g, (_, n: string) => groups[Number(n)] ?? '');
  return /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$/.test(filled) ? filled : undefined;
}

function bad(message: string): AppError {
  return new AppError('bad_input', 'auth.bad_resource', message);
}
