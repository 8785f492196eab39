// `/web/cli/<id>`: the page of a log-in that `tsh` began. The API beside it (webapi/cli/…) is in web-api.ts.
import type { AuthRoutes, LogInProof } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import { asAppError } from '@sallyport/contracts/api/error-answer.ts';
import type { ArrivedOf, ResultOf } from '@sallyport/contracts/api/route.ts';
import type { WebRoutes } from '@sallyport/contracts/api/web-routes.ts';
import { AppError, httpStatuses } from '@sallyport/contracts/errors.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { loggedInPage, logInPage, logInProblemPage } from './browser-log-in-page.ts';
import type { ClusterSettings } from './cluster-settings.ts';
import { addAssets, sendPage, takeForms } from './page.ts';
import type { WebApp } from './web-server.ts';

export interface BrowserLogInOptions {
  readonly api: Pick<Client<AuthRoutes>, 'readBrowserLogIn' | 'completeBrowserLogIn'>;
  readonly settings: ClusterSettings;
}

/** Not more than the API of auth takes. */
const maxUserAgent = 512;

/** Fields of the form as they arrive; empty ones were not filled in. */
const form = z.object({
  user: z.string().trim().max(255).default(''),
  /** The key alone: it says who it is. */
  passkey: z.literal('yes').optional(),
  password: z.string().max(1024).default(''),
  otp: z.string().trim().max(16).optional(),
  webauthn: z.string().max(32_768).optional(),
});
type Form = z.output<typeof form>;

interface PageRequest {
  readonly Params: { readonly id: string };
}

export function browserLogInRoutes(options: BrowserLogInOptions): (app: WebApp) => void {
  return (app) => {
    addAssets(app, ['log-in.js']);
    void app.register(async (scope) => {
      takeForms(scope);
      scope.setErrorHandler((error, request, reply) => {
        const { kind, message } = asAppError(error);
        const passing = kind === 'unavailable' || kind === 'limit' || kind === 'internal';
        const problem = logInProblemPage(`${message} (request ${request.id})`, passing);
        return sendPage(reply, httpStatuses[kind], problem);
      });
      const url = '/web/cli/:id';
      scope.get<PageRequest>(url, (request, reply) => show(options, request, reply));
      scope.post<PageRequest>(url, { config: { attempt: true } }, (request, reply) =>
        complete(options, request, reply),
      );
    });
  };
}

/** Of `POST /webapi/cli/requests`. `host`: as the client called us, where no public address is configured. */
export async function beginBrowserLogIn(
  {
    api,
    settings,
  }: { readonly api: Pick<Client<AuthRoutes>, 'beginBrowserLogIn'>; readonly settings: ClusterSettings },
  { body }: ArrivedOf<WebRoutes['startBrowserLogIn']>,
  { remoteAddr, host }: { readonly remoteAddr: string; readonly host: string | undefined },
): Promise<ResultOf<WebRoutes['startBrowserLogIn']>> {
  const { proxy } = await settings.find();
  const { id, code, expires } = await api.beginBrowserLogIn({ body: { ...body, remote_addr: remoteAddr } });
  const address = proxy.ssh.public_addr ?? host ?? proxy.ssh.web_listen_addr;
  return { id, url: `https://${address}/web/cli/${id}`, code, expires };
}

interface Retry {
  readonly user: string | undefined;
  readonly problem: AppError;
}

async function show(
  { api, settings }: BrowserLogInOptions,
  request: FastifyRequest<PageRequest>,
  reply: FastifyReply,
  retry?: Retry,
): Promise<FastifyReply> {
  const { id } = request.params;
  const logIn = await api.readBrowserLogIn({ params: { id } });
  const content = logInPage({
    id,
    logIn,
    ping: await settings.ping(),
    remoteAddr: request.ip,
    user: retry?.user,
    problem: retry?.problem.message,
  });
  return sendPage(reply, retry ? httpStatuses[retry.problem.kind] : 200, content);
}

async function complete(
  options: BrowserLogInOptions,
  request: FastifyRequest<PageRequest>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { api, settings } = options;
  const { id } = request.params;
  let user: string | undefined;
  try {
    const filled = readForm(request.body);
    user = filled.user;
    // As any log-in: auth checks, slows down, and writes the event, for the browser's address.
    const done = await api.completeBrowserLogIn({
      params: { id },
      body: { proof: proofOf(filled), ...personOf(request) },
    });
    return sendPage(reply, 200, loggedInPage(done.user, await settings.clusterName()));
  } catch (error) {
    // The form again, with what was wrong; when the log-in itself is over, showing it says so.
    return show(options, request, reply, { user, problem: asAppError(error) });
  }
}

function proofOf({ user, password, otp, webauthn, passkey }: Form): LogInProof {
  if (passkey !== undefined) return { webauthn: readCredential(webauthn ?? '') };
  return {
    user,
    password,
    ...(otp ? { otp } : {}),
    ...(webauthn ? { webauthn: readCredential(webauthn) } : {}),
  };
}

/** Whose browser it is, for the log. */
export function personOf(request: FastifyRequest): { remote_addr: string; user_agent?: string } {
  const userAgent = request.headers['user-agent']?.slice(0, maxUserAgent);
  return { remote_addr: request.ip, ...(userAgent === undefined ? {} : { user_agent: userAgent }) };
}

function readForm(body: unknown): Form {
  const parsed = form.safeParse(body ?? {});
  if (parsed.success && (parsed.data.user !== '' || parsed.data.passkey !== undefined)) return parsed.data;
  throw new AppError('bad_input', 'proxy.bad_form', 'The form cannot be read.');
}

export function readCredential(text: string): Record<string, unknown> {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(text));
  } catch {
    throw new AppError('bad_input', 'proxy.bad_form', 'What the security key answered cannot be read.');
  }
}
