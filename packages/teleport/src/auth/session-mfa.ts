// A certificate for one session: for one login on one node, made after the second factor was proven for it, good for a
// minute and once. What it says of itself stands in an extension; the node reads it, the access decision judges it.
import type { Identity } from '../ca/identity.ts';
import { optionText } from '../ca/parse-certificate.ts';

export const sessionMfaExtension = 'session-mfa@sallyport';

/** A session opened with it may go on until `until`: its own minute is for the log-in only. */
export interface SessionMfa {
  /** Uuid of the node. */
  readonly node: string;
  readonly login: string;
  /** Uuid of the second factor. */
  readonly device: string;
  /** End of the certificate the person logged in with, RFC 3339 UTC. */
  readonly until: string;
}

export function sessionMfaText({ node, login, device, until }: SessionMfa): string {
  return JSON.stringify({ node, login, device, until });
}

/** undefined: the certificate is none for a session. 'malformed': it says something that cannot be read: refuse it. */
export function readSessionMfa({
  extensions,
}: Pick<Identity, 'extensions'>): SessionMfa | undefined | 'malformed' {
  const data = extensions.get(sessionMfaExtension);
  if (data === undefined) return undefined;
  try {
    const { node, login, device, until } = JSON.parse(optionText(data, sessionMfaExtension)) as Record<
      string,
      unknown
    >;
    if (typeof node !== 'string' || typeof login !== 'string' || typeof device !== 'string')
      return 'malformed';
    if (typeof until !== 'string' || Number.isNaN(Date.parse(until))) return 'malformed';
    return { node, login, device, until };
  } catch {
    return 'malformed';
  }
}
