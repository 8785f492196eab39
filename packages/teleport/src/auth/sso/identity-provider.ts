// An identity provider as the log-in needs it. Types only; oidc.ts and github.ts implement it.
import type { ConnectorKind } from '@sallyport/contracts/api/connectors.ts';
import type { Attributes } from './attributes.ts';

/** What was fixed when the browser was sent away, and must hold when it comes back. */
export interface Errand {
  readonly state: string;
  /** OpenID Connect only: ties the token to this errand. */
  readonly nonce: string;
  /** PKCE (RFC 7636): whoever sees the code cannot use it. */
  readonly codeVerifier: string;
  readonly redirectUrl: string;
}

/** A person the provider vouches for. */
export interface Vouched {
  /** The provider's own name of the person, which never goes to another. */
  readonly subject: string;
  /** As the connector says it is made; not checked yet. */
  readonly username: string;
  readonly attributes: Attributes;
  /** By the connector's mappings; perhaps none. */
  readonly roles: readonly string[];
}

export interface IdentityProvider {
  readonly kind: ConnectorKind;
  readonly name: string;
  /** For people. */
  readonly display: string;
  readonly redirectUrls: readonly string[];
  /** Where the browser goes. */
  authorizationUrl(errand: Errand): Promise<URL>;
  /** `query`: what it came back with. Rejects with AppError `denied` when the provider does not vouch. */
  identify(errand: Errand, query: string): Promise<Vouched>;
}
