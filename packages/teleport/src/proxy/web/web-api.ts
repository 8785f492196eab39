// The endpoints clients and scripts use before they have a certificate. `/webapi/…` and `/v1/webapi/…` are the same.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import { readParts } from '@sallyport/contracts/api/request-parts.ts';
import type { ArrivedOf, ResultOf, Route } from '@sallyport/contracts/api/route.ts';
import { type WebRoutes, webRoutes } from '@sallyport/contracts/api/web-routes.ts';
import type { FastifyRequest } from 'fastify';
import { beginBrowserLogIn } from './browser-log-in-routes.ts';
import type { ClusterSettings } from './cluster-settings.ts';
import { checkClientVersion, type WebApp } from './web-server.ts';

export interface WebApiOptions {
  readonly api: Pick<
    Client<AuthRoutes>,
    'mfaChallenge' | 'passkeyChallenge' | 'logIn' | 'beginBrowserLogIn' | 'browserLogInResult'
  >;
  readonly settings: ClusterSettings;
  readonly version: string;
}

interface Asking {
  readonly remoteAddr: string;
  readonly userAgent: string | undefined;
  /** As the client called us. */
  readonly host: string | undefined;
}

type WebHandler<R> = (arrived: ArrivedOf<R>, asking: Asking) => Promise<ResultOf<R>>;
type WebHandlers = { readonly [Name in keyof WebRoutes]: WebHandler<WebRoutes[Name]> };

/** Answer clients of every version: it is how they learn that they are too old. */
const forAnyVersion = new Set<Route>([webRoutes.ping, webRoutes.find]);
const checksSecrets = new Set<Route>([
  webRoutes.mfaChallenge,
  webRoutes.passkeyChallenge,
  webRoutes.logIn,
  webRoutes.startBrowserLogIn,
]);
// Not more than the API of auth takes.
const maxUserAgent = 512;

export function webApi(options: WebApiOptions): (app: WebApp) => void {
  const handlers = handlersOf(options);
  return (app) => {
    for (const [name, route] of Object.entries(webRoutes) as [keyof WebRoutes, Route][]) {
      // The table's types hold for each name by itself; a loop over names loses which belongs to which.
      const handler = handlers[name] as WebHandler<Route>;
      for (const prefix of ['', '/v1']) {
        app.route({
          method: route.method,
          url: `${prefix}${route.path}`,
          config: checksSecrets.has(route) ? { attempt: true } : {},
          handler: async (request) => {
            if (!forAnyVersion.has(route)) checkClientVersion(request, options.version);
            const { params, query, body } = request;
            return handler(readParts(route, { params, query, body }) as ArrivedOf<Route>, askingOf(request));
          },
        });
      }
    }
  };
}

/** How long a poll waits: less than clients and middle boxes allow an answer to take. */
const pollMs = 15_000;
const pollPauseMs = 500;
/** Polls that wait here at once; one more is answered at once. */
const maxWaiting = 500;

function handlersOf({ api, settings }: WebApiOptions): WebHandlers {
  let waiting = 0;
  return {
    ping: () => settings.ping(),
    find: () => settings.find(),
    mfaChallenge: ({ body }, { remoteAddr }) =>
      api.mfaChallenge({ body: { ...body, remote_addr: remoteAddr } }),
    passkeyChallenge: (_, { remoteAddr }) => api.passkeyChallenge({ body: { remote_addr: remoteAddr } }),
    logIn: ({ body }, { remoteAddr, userAgent }) =>
      api.logIn({
        body: {
          ...body,
          remote_addr: remoteAddr,
          ...(userAgent === undefined ? {} : { user_agent: userAgent }),
        },
      }),
    startBrowserLogIn: (arrived, asking) => beginBrowserLogIn({ api, settings }, arrived, asking),
    browserLogInResult: async ({ params, body }) => {
      const ask = () => api.browserLogInResult({ params, body });
      const until = performance.now() + pollMs;
      let result = await ask();
      if (waiting >= maxWaiting) return result;
      waiting++;
      try {
        while (result.state === 'waiting' && performance.now() < until) {
          await new Promise((wake) => setTimeout(wake, pollPauseMs));
          result = await ask();
        }
        return result;
      } finally {
        waiting--;
      }
    },
  };
}

function askingOf(request: FastifyRequest): Asking {
  const { 'user-agent': userAgent, host } = request.headers;
  return { remoteAddr: request.ip, userAgent: userAgent?.slice(0, maxUserAgent), host };
}
