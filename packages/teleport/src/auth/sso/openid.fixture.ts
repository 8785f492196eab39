// A real OpenID provider (oidc-provider, a certified one) for tests, with a log-in page of one field; and a browser of
// a few lines that goes through it. Chromium does the same in the tests of tsh.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import Provider, { type Configuration, type KoaContextWithOIDC } from 'oidc-provider';
import { type ProviderHost, startProviderHost } from './provider-host.fixture.ts';

export type Claims = Readonly<Record<string, unknown>>;

export interface OpenidOptions {
  readonly redirectUrls: readonly string[];
  /** Claims by the name typed into the log-in page; it is the `sub`, too. */
  readonly people: Readonly<Record<string, Claims>>;
  readonly configuration?: Configuration;
}

export const client = { id: 'sallyport', secret: 'a-secret-of-the-test' };

export interface OpenidServer extends Pick<ProviderHost, 'origin' | 'ca' | 'leafPem' | 'close'> {
  /** Goes to the address, logs in, and stops where the provider sends the browser back: what stands behind its `?`. */
  browse(url: string, name: string): Promise<string>;
}

export async function startOpenid({
  redirectUrls,
  people,
  configuration,
}: OpenidOptions): Promise<OpenidServer> {
  const host = await startProviderHost();
  const provider = new Provider(host.origin, {
    clients: [
      {
        client_id: client.id,
        client_secret: client.secret,
        redirect_uris: [...redirectUrls],
        grant_types: ['authorization_code'],
        response_types: ['code'],
      },
    ],
    findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id, ...people[id] }) }),
    claims: { email: ['email', 'email_verified'], profile: ['name', 'groups', 'preferred_username'] },
    conformIdTokenClaims: false,
    cookies: { keys: ['of the test'] },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    pkce: { required: () => true },
    loadExistingGrant: grantAll,
    renderError: (ctx, out) => {
      ctx.type = 'html';
      ctx.body = `<h1>The provider refuses</h1><p>${out.error}</p>`;
    },
    ...configuration,
  });
  const app = provider.callback();
  host.serve((incoming, answer) => {
    const uid = /^\/interaction\/([\w-]+)$/.exec(incoming.url ?? '')?.[1];
    if (incoming.url === '/favicon.ico') answer.writeHead(204).end();
    else if (uid === undefined) void app(incoming, answer);
    else void interact(provider, incoming, answer).catch((error: unknown) => answer.destroy(error as Error));
  });
  return { ...host, browse: (url, name) => browse(host, url, name) };
}

/** Consent is given by who owns the provider, as in a company. */
async function grantAll(ctx: KoaContextWithOIDC) {
  const { provider, client: asking, session } = ctx.oidc;
  if (asking === undefined || session?.accountId === undefined) return undefined;
  const grant = new provider.Grant({ clientId: asking.clientId, accountId: session.accountId });
  grant.addOIDCScope('openid email profile');
  await grant.save();
  return grant;
}

/** The log-in page. The name `nobody` presses "cancel". */
async function interact(
  provider: Provider,
  incoming: IncomingMessage,
  answer: ServerResponse,
): Promise<void> {
  if (incoming.method !== 'POST') {
    answer.setHeader('content-type', 'text/html');
    answer.end(
      '<title>Provider</title><form method="post"><label for="name">Name</label><input id="name" name="name"><button>Sign in</button></form>',
    );
    return;
  }
  const name = new URLSearchParams(await text(incoming)).get('name') ?? '';
  const result =
    name === 'nobody'
      ? { error: 'access_denied', error_description: 'the person pressed cancel' }
      : { login: { accountId: name } };
  await provider.interactionFinished(incoming, answer, result, { mergeWithLastSubmission: false });
}

async function browse({ origin, ca }: ProviderHost, start: string, name: string): Promise<string> {
  const jar = new Map<string, string>();
  let url = start;
  let body: string | undefined;
  for (let hop = 0; hop < 12; hop++) {
    const answer = await send(url, ca, jar, body);
    body = undefined;
    const { location } = answer.headers;
    if (location === undefined) {
      if (!url.includes('/interaction/')) throw new Error(`${answer.statusCode} ${await text(answer)}`);
      body = `name=${name}`;
      continue;
    }
    answer.resume();
    url = new URL(location, url).href;
    if (!url.startsWith(origin)) return url.slice(url.indexOf('?') + 1);
  }
  throw new Error('the provider sends the browser around');
}

function send(url: string, ca: string, jar: Map<string, string>, body?: string): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const headers = {
    cookie: [...jar].map(([key, value]) => `${key}=${value}`).join('; '),
    ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
  };
  const sent = request(
    url,
    { ca, headers, method: body === undefined ? 'GET' : 'POST', agent: false },
    (answer) => {
      for (const line of answer.headers['set-cookie'] ?? []) {
        const [pair = ''] = line.split(';');
        const at = pair.indexOf('=');
        jar.set(pair.slice(0, at), pair.slice(at + 1));
      }
      resolve(answer);
    },
  );
  sent.once('error', reject);
  sent.end(body);
  return promise;
}
