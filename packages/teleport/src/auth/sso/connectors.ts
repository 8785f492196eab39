// Connectors as they are stored: found by name, listed for log-in pages, and never printed with their secrets.
import {
  type ConnectorDocument,
  type ConnectorKind,
  connectorKinds,
  maskedSecret,
} from '@sallyport/contracts/api/connectors.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { listDocuments, readDocumentOf } from '../documents.ts';
import type { Store } from '../store/store.ts';
import { checkMappings } from './claims-to-roles.ts';
import type { IdentityProvider } from './identity-provider.ts';

export async function findConnector(store: Store, name: string): Promise<ConnectorDocument | undefined> {
  for (const kind of connectorKinds) {
    const found = await readDocumentOf(store, kind, name);
    if (found !== undefined) return found;
  }
  return undefined;
}

export async function listConnectors(
  store: Store,
): Promise<{ kind: ConnectorKind; name: string; display: string }[]> {
  const all = await Promise.all(connectorKinds.map((kind) => listDocuments<ConnectorKind>(store, kind)));
  return all.flat().map(({ kind, metadata, spec }) => ({
    kind,
    name: metadata.name,
    display: spec.display ?? metadata.name,
  }));
}

/** Providers, made once for each revision of their document: what they discovered is kept. */
export class Providers {
  readonly #made = new Map<
    string,
    { readonly revision: string | undefined; readonly provider: IdentityProvider }
  >();

  async of(document: ConnectorDocument): Promise<IdentityProvider> {
    const key = `${document.kind}/${document.metadata.name}`;
    const { revision } = document.metadata;
    const known = this.#made.get(key);
    if (known !== undefined && revision !== undefined && known.revision === revision) return known.provider;
    const provider = await makeProvider(document);
    this.#made.delete(key);
    this.#made.set(key, { revision, provider });
    // Names of connectors that were deleted must not pile up.
    for (const oldest of this.#made.keys()) {
      if (this.#made.size <= maxProviders) break;
      this.#made.delete(oldest);
    }
    return provider;
  }
}

const maxProviders = 64;

/** The library is large; whoever has no connector does not load it. */
export async function makeProvider(document: ConnectorDocument): Promise<IdentityProvider> {
  return document.kind === 'oidc'
    ? new (await import('./oidc.ts')).OidcConnector(document)
    : new (await import('./github.ts')).GithubConnector(document);
}

export function withoutSecret<D extends ConnectorDocument>(document: D): D {
  const { client_secret: secret, ...spec } = document.spec;
  return { ...document, spec: secret === undefined ? spec : { ...spec, client_secret: maskedSecret } };
}

/** A document that was read without its secret is written back with the one that is stored. */
export function withStoredSecret<D extends ConnectorDocument>(document: D, stored: D | undefined): D {
  const { client_secret: given } = document.spec;
  if (given !== undefined && given !== maskedSecret) return document;
  const { client_secret: kept } = stored?.spec ?? {};
  if (kept !== undefined) return { ...document, spec: { ...document.spec, client_secret: kept } };
  throw new AppError('bad_input', 'auth.bad_resource', 'spec.client_secret: is missing.', {
    hint: 'The provider shows it when the client is registered there.',
  });
}

/** Throws AppError `auth.bad_resource` for what the shape alone does not say. */
export function checkConnector(document: ConnectorDocument): void {
  if (document.kind === 'oidc') checkMappings(document.spec.claims_to_roles);
}
