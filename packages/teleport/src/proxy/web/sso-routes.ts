// The way to an identity provider and back. `POST /web/cli/<id>/sso` sends the browser there; it comes back to
// `/v1/webapi/oidc/callback` or `/v1/webapi/github/callback`, and only the browser that was sent has the cookie.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import { type ConnectorKind, connectorKinds } from '@sallyport/contracts/api/connectors.ts';
import { asAppError } from '@sallyport/contracts/api/error-answer.ts';
import { AppError, httpStatuses } from '@sallyport/contracts/errors.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { loggedInPage, logInProblemPage, onTheWayPage, triedPage } from './browser-log-in-page.ts';
import { personOf } from './browser-log-in-routes.ts';
import type { ClusterSettings } from './cluster-settings.ts';
import { sendPage, takeForms } from './page.ts';
import type { WebApp } from './web-server.ts';

export interface SsoRoutesOptions {
  readonly api: Pick<Client<AuthRoutes>, 'beginSso' | 'completeSso'>;
  readonly settings: ClusterSettings;
}

interface PageRequest {
  readonly Params: { readonly id: string };
}

const form = z.object({ connector: z.string().min(1).max(128) });
/** `__Host-`: of this very host, by https; nobody beside it can set one. Its name holds what tells flows apart. */
const cookiePrefix = '__Host-sallyport-sso-';
const cookieLifeS = 300;
/** Flows of one browser at a time that are looked at. */
const maxCookies = 16;
const maxQuery = 8_192;

export function ssoRoutes(options: SsoRoutesOptions): (app: WebApp) => void {
  return (app) => {
    void app.register(async (scope) => {
      takeForms(scope);
      scope.setErrorHandler((error, request, reply) => {
        const { kind, message, hint } = asAppError(error);
        const passing = kind === 'unavailable' || kind === 'limit' || kind === 'internal';
        const text = `${message}${hint === undefined ? '' : ` ${hint}`} (request ${request.id})`;
        return sendPage(reply, httpStatuses[kind], logInProblemPage(text, passing));
      });
      // No secret that could be guessed: auth limits these by address, an office shares one.
      scope.post<PageRequest>('/web/cli/:id/sso', (request, reply) => begin(options, request, reply));
      for (const kind of connectorKinds) {
        for (const prefix of ['', '/v1'])
          scope.get(`${prefix}/webapi/${kind}/callback`, (request, reply) =>
            complete(options, kind, request, reply),
          );
      }
    });
  };
}

async function begin(
  { api, settings }: SsoRoutesOptions,
  request: FastifyRequest<PageRequest>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const parsed = form.safeParse(request.body ?? {});
  if (!parsed.success) throw new AppError('bad_input', 'proxy.bad_form', 'The form cannot be read.');
  const { connector } = parsed.data;
  const { host } = request.headers;
  const { url, flow, binding } = await api.beginSso({
    body: {
      connector,
      browser_log_in: request.params.id,
      remote_addr: request.ip,
      ...(host === undefined ? {} : { host: host.slice(0, 300) }),
    },
  });
  const { auth } = await settings.ping();
  const display = auth.connectors?.find(({ name }) => name === connector)?.display ?? connector;
  // Lax: it comes with the provider's answer, which is a link from another site, and with nothing else from there.
  void reply.header('set-cookie', cookie(flow, binding, cookieLifeS));
  return sendPage(reply, 200, onTheWayPage(display, url));
}

async function complete(
  { api, settings }: SsoRoutesOptions,
  kind: ConnectorKind,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const query = request.url.slice(request.url.indexOf('?') + 1);
  if (!request.url.includes('?') || query.length > maxQuery)
    throw new AppError('bad_input', 'proxy.bad_callback', 'This is no return from an identity provider.');
  const bindings = bindingsOf(request.headers.cookie ?? '');
  const done = await api.completeSso({ body: { kind, query, bindings, ...personOf(request) } });
  if (done.trial === true) return sendPage(reply, 200, triedPage(done.connector));
  const { user } = done;
  return sendPage(reply, 200, loggedInPage(user, await settings.clusterName()));
}

function cookie(flow: string, value: string, lifeS: number): string {
  return `${cookiePrefix}${flow}=${value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=${lifeS}`;
}

function bindingsOf(header: string): Record<string, string> {
  const ours = header
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part.startsWith(cookiePrefix))
    .map((part) => part.slice(cookiePrefix.length).split('='))
    .filter(([flow = '', value = '']) => /^[0-9a-f]{16}$/.test(flow) && /^[\w-]{1,64}$/.test(value));
  return Object.fromEntries(ours.slice(0, maxCookies).map(([flow = '', value = '']) => [flow, value]));
}
