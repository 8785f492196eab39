// OpenID Connect (Core 1.0) by the authorization code with PKCE. The library checks issuer, state, nonce, audience,
// signature, life and `auth_time` of what comes back; this file says what it must check, and reads the result.
import type { OidcDocument } from '@sallyport/contracts/api/connectors.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import * as openid from 'openid-client';
import { parseDuration } from '../../config/duration.ts';
import { toAttributes } from './attributes.ts';
import { claimsToRoles } from './claims-to-roles.ts';
import type { Errand, IdentityProvider, Vouched } from './identity-provider.ts';
import { denied, exchangeFailed } from './provider-errors.ts';
import { providerFetch, unreachable } from './provider-fetch.ts';

type Spec = OidcDocument['spec'];

/** So long after the keys of a provider were read they are read anew. */
const discoveredMs = 10 * 60_000;
const clockToleranceS = 30;
const defaultScope = ['profile', 'email'];

export class OidcConnector implements IdentityProvider {
  readonly kind = 'oidc';
  readonly name: string;
  readonly display: string;
  readonly redirectUrls: readonly string[];
  readonly #spec: Spec;
  #discovered: { readonly at: number; readonly config: Promise<openid.Configuration> } | undefined;

  constructor({ metadata, spec }: OidcDocument) {
    this.name = metadata.name;
    this.display = spec.display ?? metadata.name;
    this.redirectUrls = [spec.redirect_url].flat();
    this.#spec = spec;
  }

  async authorizationUrl(errand: Errand): Promise<URL> {
    const { scope = defaultScope, prompt, acr_values: acr = [] } = this.#spec;
    const maxAge = this.#maxAgeS();
    const config = await this.#configuration();
    return openid.buildAuthorizationUrl(config, {
      redirect_uri: errand.redirectUrl,
      scope: [...new Set(['openid', ...scope])].join(' '),
      state: errand.state,
      nonce: errand.nonce,
      code_challenge: await openid.calculatePKCECodeChallenge(errand.codeVerifier),
      code_challenge_method: 'S256',
      ...(prompt === undefined ? {} : { prompt }),
      ...(maxAge === undefined ? {} : { max_age: String(maxAge) }),
      ...(acr.length === 0 ? {} : { acr_values: acr.join(' ') }),
    });
  }

  async identify(errand: Errand, query: string): Promise<Vouched> {
    const config = await this.#configuration();
    const maxAge = this.#maxAgeS();
    const came = new URL(`${errand.redirectUrl}?${query}`);
    try {
      const tokens = await openid.authorizationCodeGrant(config, came, {
        expectedState: errand.state,
        expectedNonce: errand.nonce,
        pkceCodeVerifier: errand.codeVerifier,
        idTokenExpected: true,
        ...(maxAge === undefined ? {} : { maxAge }),
      });
      const token = tokens.claims();
      if (token === undefined) throw denied('the provider sent no id_token');
      this.#checkAcr(token.acr);
      const info =
        config.serverMetadata().userinfo_endpoint === undefined
          ? {}
          : await openid.fetchUserInfo(config, tokens.access_token, token.sub);
      // What is signed goes before what is only sent.
      return readClaims(this.#spec, token.sub, { ...info, ...token });
    } catch (error) {
      throw exchangeFailed(this.display, error);
    }
  }

  #checkAcr(acr: unknown): void {
    const { acr_values: wanted = [] } = this.#spec;
    if (wanted.length === 0 || wanted.some((each) => each === acr)) return;
    const got = typeof acr === 'string' ? `"${acr.slice(0, 64)}"` : 'none';
    throw denied(`the provider's log-in was of class ${got}, not of ${wanted.join(' or ')} (acr)`);
  }

  #maxAgeS(): number | undefined {
    const ms = parseDuration(this.#spec.max_age ?? '');
    return ms === undefined ? undefined : Math.floor(ms / 1000);
  }

  #configuration(): Promise<openid.Configuration> {
    const known = this.#discovered;
    if (known !== undefined && performance.now() - known.at < discoveredMs) return known.config;
    const config = this.#discover();
    this.#discovered = { at: performance.now(), config };
    // One that failed is not remembered: the next person asks anew.
    config.catch(() => {
      if (this.#discovered?.config === config) this.#discovered = undefined;
    });
    return config;
  }

  async #discover(): Promise<openid.Configuration> {
    const { issuer_url: issuer, client_id: clientId, client_secret: secret = '', issuer_ca: ca } = this.#spec;
    const url = new URL(issuer);
    const fetch = providerFetch({ ca, provider: this.display });
    // A loopback address is development; connectors.ts takes no other without TLS.
    const plain = url.protocol === 'http:' ? [openid.allowInsecureRequests] : [];
    try {
      const found = await openid.discovery(url, clientId, undefined, undefined, {
        [openid.customFetch]: fetch,
        timeout: 10,
        execute: plain,
      });
      const server = found.serverMetadata();
      const ways = server.token_endpoint_auth_methods_supported;
      const basic = ways === undefined || ways.includes('client_secret_basic');
      const config = new openid.Configuration(
        server,
        clientId,
        { client_secret: secret, [openid.clockTolerance]: clockToleranceS },
        basic ? openid.ClientSecretBasic(secret) : openid.ClientSecretPost(secret),
      );
      config[openid.customFetch] = fetch;
      config.timeout = 10;
      // TLS alone would do for the code flow; the signature is one more lock on the same door.
      openid.enableNonRepudiationChecks(config);
      for (const each of plain) each(config);
      return config;
    } catch (error) {
      const cause = error instanceof Error ? (error.cause ?? error) : error;
      if (cause instanceof AppError) throw cause;
      throw unreachable(this.display, `its discovery document is not usable (${messageOf(error)})`, error);
    }
  }
}

/** Claims → who it is. Exported for its tests: pure. */
export function readClaims(spec: Spec, subject: string, claims: Readonly<Record<string, unknown>>): Vouched {
  const { username_claim: claim = 'email', allow_unverified_email: lax = false } = spec;
  const attributes = toAttributes(lax ? claims : withoutUnverified(claims, spec));
  const [username, another] = Object.hasOwn(attributes, claim) ? (attributes[claim] ?? []) : [];
  if (username === undefined || another !== undefined)
    throw denied(`the provider does not say the person's ${claim} (username_claim)`);
  return { subject, username, attributes, roles: claimsToRoles(attributes, spec.claims_to_roles) };
}

/** An address nobody has checked may be another person's. It counts for nothing; where all hangs on it, it refuses. */
function withoutUnverified(
  claims: Readonly<Record<string, unknown>>,
  spec: Spec,
): Readonly<Record<string, unknown>> {
  if (!Object.hasOwn(claims, 'email') || claims['email_verified'] === true) return claims;
  const { username_claim: name = 'email', claims_to_roles: mappings } = spec;
  if (name === 'email' || mappings.some(({ claim }) => claim === 'email')) {
    throw denied('the provider has not verified the e-mail address of the person (allow_unverified_email)');
  }
  const { email: _, ...rest } = claims;
  return rest;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
