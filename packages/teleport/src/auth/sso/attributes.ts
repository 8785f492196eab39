// What an identity provider says of a person, as lists of texts: what roles are mapped from, what becomes traits, and
// what the audit log keeps. Pure. Bounded, because it travels in certificates.

export type Attributes = Readonly<Record<string, readonly string[]>>;

/** What a certificate and an event carry at most. */
export interface AttributeBounds {
  readonly names: number;
  /** Of one name. */
  readonly values: number;
  /** Of one text, characters. */
  readonly length: number;
  /** Of all texts together, characters. */
  readonly total: number;
}

export const readBounds: AttributeBounds = { names: 256, values: 1_000, length: 1_024, total: 256 * 1_024 };
export const traitBounds: AttributeBounds = { names: 32, values: 100, length: 256, total: 6 * 1_024 };
export const toldBounds: AttributeBounds = { names: 16, values: 32, length: 128, total: 2 * 1_024 };

/** Of the token or its issue, not of the person. */
const protocolClaims = new Set(
  'iss aud exp iat nbf auth_time nonce at_hash c_hash s_hash azp jti sid acr amr typ session_state'.split(
    ' ',
  ),
);

/** Claims as JSON → attributes: texts, numbers and truth values, alone or in lists. Objects are no attributes. */
export function toAttributes(claims: Readonly<Record<string, unknown>>): Attributes {
  const entries = Object.entries(claims)
    .filter(([name]) => !protocolClaims.has(name))
    .map(([name, value]) => [name, textsOf(value)] as const)
    .filter(([, values]) => values.length > 0);
  return bounded(Object.fromEntries(entries), readBounds, []);
}

function textsOf(value: unknown): string[] {
  const items: readonly unknown[] = Array.isArray(value) ? value : [value];
  return items.flatMap((item) =>
    typeof item === 'string' || typeof item === 'number' || typeof item === 'boolean' ? [String(item)] : [],
  );
}

/**
 * As much of it as fits: `first` before the others, which follow by name. A text that is too long is left out whole:
 * half of a group's name may be another group's.
 */
export function bounded(
  attributes: Attributes,
  bounds: AttributeBounds,
  first: readonly string[],
): Record<string, string[]> {
  const names = Object.keys(attributes).sort();
  const ordered = [
    ...first.filter((name) => names.includes(name)),
    ...names.filter((name) => !first.includes(name)),
  ];
  const kept: [string, string[]][] = [];
  let left = bounds.total;
  for (const name of new Set(ordered)) {
    if (kept.length === bounds.names || !isPlain(name, bounds.length)) continue;
    const values: string[] = [];
    left -= name.length;
    for (const value of new Set(attributes[name])) {
      if (values.length === bounds.values || value.length > left) break;
      if (!isPlain(value, bounds.length)) continue;
      left -= value.length;
      values.push(value);
    }
    if (values.length > 0) kept.push([name, values]);
  }
  return Object.fromEntries(kept);
}

/** No control character, and no half of a surrogate pair, which no UTF-8 can carry. */
function isPlain(text: string, maxLength: number): boolean {
  return (
    text !== '' &&
    text.length <= maxLength &&
    !/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(text) &&
    text !== '__proto__'
  );
}
