// A server that speaks GitHub's OAuth and API as its documents say, manners included: refusals come with status 200.
import { createHash, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import { type ProviderHost, startProviderHost } from './provider-host.fixture.ts';

export interface GithubPerson {
  readonly id: number;
  readonly login: string;
  /** `org/team` */
  readonly teams: readonly string[];
}

export const githubClient = { id: 'Iv1.0123456789abcdef', secret: 'a-github-secret-of-the-test' };

interface Grant {
  readonly person: GithubPerson;
  readonly challenge: string;
  readonly redirect: string;
}

export class GithubServer {
  readonly host: ProviderHost;
  /** Who is logged in there, in the browser. undefined: the person presses cancel. */
  person: GithubPerson | undefined;
  /** As the API answers, when it is out of order. */
  apiStatus = 200;
  readonly #codes = new Map<string, Grant>();
  readonly #tokens = new Map<string, GithubPerson>();

  private constructor(host: ProviderHost) {
    this.host = host;
    host.serve((incoming, answer) => void this.#serve(incoming, answer));
  }

  static async start(): Promise<GithubServer> {
    return new GithubServer(await startProviderHost());
  }

  close(): Promise<void> {
    return this.host.close();
  }

  /** The browser goes there and is sent back: what stands behind the `?`. */
  async browse(url: string): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    request(url, { ca: this.host.ca, agent: false }, resolve).once('error', reject).end();
    const { location = '' } = (await promise).resume().headers;
    return location.slice(location.indexOf('?') + 1);
  }

  async #serve(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(incoming.url ?? '/', this.host.origin);
    if (pathname === '/login/oauth/authorize') return this.#authorize(searchParams, answer);
    if (pathname === '/login/oauth/access_token') return this.#token(incoming, answer);
    const token = /^Bearer (.+)$/i.exec(incoming.headers.authorization ?? '')?.[1] ?? '';
    const person = this.#tokens.get(token);
    if (this.apiStatus !== 200) return json(answer, this.apiStatus, { message: 'Server Error' });
    if (person === undefined) return json(answer, 401, { message: 'Bad credentials' });
    if (pathname === '/api/v3/user')
      return json(answer, 200, { id: person.id, login: person.login, type: 'User' });
    if (pathname !== '/api/v3/user/teams') return json(answer, 404, { message: 'Not Found' });
    const [page, size] = ['page', 'per_page'].map((name) => Number(searchParams.get(name) ?? 30));
    const all = person.teams.map((name) => {
      const [login, slug] = name.split('/');
      return { slug, name: slug, organization: { login } };
    });
    json(answer, 200, all.slice(((page ?? 1) - 1) * (size ?? 30), (page ?? 1) * (size ?? 30)));
  }

  #authorize(asked: URLSearchParams, answer: ServerResponse): void {
    const back = new URL(asked.get('redirect_uri') ?? '');
    back.searchParams.set('state', asked.get('state') ?? '');
    if (this.person === undefined) {
      back.searchParams.set('error', 'access_denied');
      back.searchParams.set('error_description', 'The user has denied your application access.');
    } else {
      const code = randomBytes(10).toString('hex');
      this.#codes.set(code, {
        person: this.person,
        challenge: asked.get('code_challenge') ?? '',
        redirect: asked.get('redirect_uri') ?? '',
      });
      back.searchParams.set('code', code);
    }
    answer.writeHead(302, { location: back.href }).end();
  }

  async #token(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const sent = new URLSearchParams(await text(incoming));
    const refuse = (error: string) =>
      json(answer, 200, { error, error_description: `${error}, says the server.` });
    if (sent.get('client_id') !== githubClient.id || sent.get('client_secret') !== githubClient.secret)
      return refuse('incorrect_client_credentials');
    const code = sent.get('code') ?? '';
    const grant = this.#codes.get(code);
    this.#codes.delete(code);
    const challenge = createHash('sha256')
      .update(sent.get('code_verifier') ?? '')
      .digest('base64url');
    if (grant === undefined || grant.challenge !== challenge) return refuse('bad_verification_code');
    if (grant.redirect !== sent.get('redirect_uri')) return refuse('redirect_uri_mismatch');
    const token = `gho_${randomBytes(18).toString('hex')}`;
    this.#tokens.set(token, grant.person);
    json(answer, 200, { access_token: token, token_type: 'bearer', scope: 'read:org,read:user' });
  }
}

function json(answer: ServerResponse, status: number, body: unknown): void {
  answer.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
