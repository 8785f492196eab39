// `[login@]node:path` or a path here. As scp reads it: a colon before the first slash makes it a node's.

export interface RemotePlace {
  readonly login: string | undefined;
  readonly node: string;
  /** Relative to the home folder; empty is that folder. */
  readonly path: string;
}

export type Place = { readonly local: string } | { readonly remote: RemotePlace };

export function parsePlace(text: string): Place {
  const found = /^(?:([^/:@]+)@)?(\[[0-9a-fA-F:]+\]|[^/:[\]]+):(.*)$/s.exec(text);
  if (!found?.[2]) return { local: text };
  return { remote: { login: found[1], node: found[2], path: found[3] ?? '' } };
}
