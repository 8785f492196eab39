// What a joining host signs with its SSH host key: the whole request, not the challenge alone, so that nobody between
// could put another token, name or TLS key beside a signature. The first line keeps it apart from everything else a
// host key signs: key exchanges (a bare hash), log-ins to tunnels (begin with a length), relay lines.

/** 1, in hosts before: the challenge alone. Told in the request; no longer taken. */
export const joinProofVersion = 2;

/** `request`: the body of the join. `signature` is left out; the order of keys means nothing. */
export function joinProofText(request: Readonly<Record<string, unknown>>): string {
  const fields = Object.entries(request)
    .filter(([name]) => name !== 'signature')
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `sallyport-join-2\n${JSON.stringify(fields)}`;
}
