// GitHub, and what speaks like it: OAuth 2.0 by the authorization code with PKCE; who the person is comes from its API.
import type { GithubDocument } from '@sallyport/contracts/api/connectors.ts';
import * as openid from 'openid-client';
import { z } from 'zod';
import type { Errand, IdentityProvider, Vouched } from './identity-provider.ts';
import { denied, exchangeFailed } from './provider-errors.ts';
import { providerFetch, unreachable } from './provider-fetch.ts';

type Spec = GithubDocument['spec'];

const user = z.object({ id: z.int(), login: z.string().min(1).max(128) });
const teams = z.array(
  z.object({ slug: z.string().max(256), organization: z.object({ login: z.string().max(256) }) }),
);
const perPage = 100;
/** A person in more than a thousand teams is told so. */
const maxPages = 10;

export class GithubConnector implements IdentityProvider {
  readonly kind = 'github';
  readonly name: string;
  readonly display: string;
  readonly redirectUrls: readonly string[];
  readonly #spec: Spec;
  readonly #config: openid.Configuration;

  constructor({ metadata, spec }: GithubDocument) {
    this.name = metadata.name;
    this.display = spec.display ?? metadata.name;
    this.redirectUrls = [spec.redirect_url];
    this.#spec = spec;
    const endpoint = endpointOf(spec);
    const secret = spec.client_secret ?? '';
    this.#config = new openid.Configuration(
      {
        issuer: endpoint,
        authorization_endpoint: `${endpoint}/login/oauth/authorize`,
        token_endpoint: `${endpoint}/login/oauth/access_token`,
      },
      spec.client_id,
      { client_secret: secret },
      openid.ClientSecretPost(secret),
    );
    this.#config[openid.customFetch] = errorsAsErrors(
      providerFetch({ ca: spec.issuer_ca, provider: this.display }),
    );
    this.#config.timeout = 10;
    // A loopback address is development; connectors.ts takes no other without TLS.
    if (endpoint.startsWith('http:')) openid.allowInsecureRequests(this.#config);
  }

  async authorizationUrl(errand: Errand): Promise<URL> {
    return openid.buildAuthorizationUrl(this.#config, {
      redirect_uri: errand.redirectUrl,
      // Teams of private organizations are seen with read:org only.
      scope: 'read:org read:user',
      state: errand.state,
      // GitHub heeds it since 2025; servers that do not, ignore it.
      code_challenge: await openid.calculatePKCECodeChallenge(errand.codeVerifier),
      code_challenge_method: 'S256',
    });
  }

  async identify(errand: Errand, query: string): Promise<Vouched> {
    try {
      const tokens = await openid.authorizationCodeGrant(
        this.#config,
        new URL(`${errand.redirectUrl}?${query}`),
        { expectedState: errand.state, pkceCodeVerifier: errand.codeVerifier },
      );
      const person = user.parse(await this.#get(tokens.access_token, '/user'));
      const memberships = await this.#teams(tokens.access_token);
      return readTeams(this.#spec, person, memberships);
    } catch (error) {
      throw error instanceof z.ZodError
        ? denied(`what ${this.display} says of the person cannot be read`, error)
        : exchangeFailed(this.display, error);
    }
  }

  async #teams(token: string): Promise<Membership[]> {
    const all: Membership[] = [];
    for (let page = 1; page <= maxPages; page++) {
      const some = teams.parse(await this.#get(token, `/user/teams?per_page=${perPage}&page=${page}`));
      all.push(...some.map(({ slug, organization }) => ({ team: slug, organization: organization.login })));
      if (some.length < perPage) return all;
    }
    // Roles of the teams that were not read would be missing, and one of them may be the one that denies.
    throw denied(`the person is in more than ${maxPages * perPage} teams`);
  }

  async #get(token: string, path: string): Promise<unknown> {
    const url = new URL(`${apiOf(this.#spec)}${path}`);
    const headers = new Headers({
      accept: 'application/vnd.github+json',
      'x-github-api-version': '2022-11-28',
    });
    const answer = await openid.fetchProtectedResource(this.#config, token, url, 'GET', undefined, headers);
    if (answer.status === 200) return answer.json();
    throw unreachable(this.display, `its API answers with status ${answer.status}`);
  }
}

/** GitHub refuses a code with status 200. The library reads refusals as the standard has them (RFC 6749, 5.2). */
function errorsAsErrors(fetch: openid.CustomFetch): openid.CustomFetch {
  return async (url, options) => {
    const answer = await fetch(url, options);
    if (answer.status !== 200 || options.method !== 'POST') return answer;
    const body = await answer.text();
    const status = /^\s*\{\s*"error"\s*:/.test(body) ? 400 : 200;
    return new Response(body, { status, headers: answer.headers });
  };
}

export interface Membership {
  readonly organization: string;
  readonly team: string;
}

/** Pure. GitHub's names do not tell letters' cases apart. */
export function readTeams(
  { teams_to_roles: mappings }: Pick<Spec, 'teams_to_roles'>,
  { id, login }: z.output<typeof user>,
  memberships: readonly Membership[],
): Vouched {
  const nameOf = ({ organization, team }: Membership) => `${organization}/${team}`.toLowerCase();
  const held = new Set(memberships.map(nameOf));
  const roles = mappings.filter((mapping) => held.has(nameOf(mapping))).flatMap((mapping) => mapping.roles);
  return {
    subject: String(id),
    username: login,
    // Not as `logins`: a person called root at GitHub must not become root here because of a role made for others.
    attributes: { github_login: [login], ...(held.size > 0 ? { github_teams: [...held].sort() } : {}) },
    roles: [...new Set(roles)].sort(),
  };
}

function endpointOf({ endpoint_url: url = 'https://github.com' }: Spec): string {
  return url.replace(/\/+$/, '');
}

function apiOf(spec: Spec): string {
  const own = spec.api_endpoint_url ?? (spec.endpoint_url && `${endpointOf(spec)}/api/v3`);
  return (own ?? 'https://api.github.com').replace(/\/+$/, '');
}
