// One-time links: `/web/invite/<token>` for a new account, `/web/reset/<token>` for one that is set up anew. Reading a
// link uses nothing up (mail scanners open links); the form does.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import { asAppError } from '@sallyport/contracts/api/error-answer.ts';
import { AppError, httpStatuses } from '@sallyport/contracts/errors.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ClusterSettings } from './cluster-settings.ts';
import { addAssets, sendPage, takeForms } from './page.ts';
import { donePage, problemPage, setupPage } from './setup-page.ts';
import type { WebApp } from './web-server.ts';

export interface SetupRoutesOptions {
  readonly api: Pick<Client<AuthRoutes>, 'readInvite' | 'redeemInvite'>;
  readonly settings: ClusterSettings;
}

const minPassword = 12;

/** Fields of the form as they arrive; empty ones were not filled in. */
const form = z.object({
  password: z.string().max(1024).default(''),
  again: z.string().max(1024).default(''),
  otp: z.string().trim().max(16).optional(),
  webauthn: z.string().max(32_768).optional(),
  device_name: z.string().trim().max(64).optional(),
});
type Form = z.output<typeof form>;

interface LinkRequest {
  readonly Params: { readonly token: string };
}

export function setupRoutes(options: SetupRoutesOptions): (app: WebApp) => void {
  return (app) => {
    addAssets(app, ['setup.js', 'setup.css', 'credential.js']);
    // A scope of its own: only these routes take forms.
    void app.register(async (scope) => {
      takeForms(scope);
      scope.setErrorHandler((error, request, reply) => {
        const { kind, message } = asAppError(error);
        const passing = kind === 'unavailable' || kind === 'limit' || kind === 'internal';
        const page = problemPage(`${message} (request ${request.id})`, passing);
        return sendPage(reply, httpStatuses[kind], page);
      });
      for (const purpose of ['invite', 'reset']) {
        const url = `/web/${purpose}/:token`;
        const config = { attempt: true } as const;
        scope.get<LinkRequest>(url, { config }, (request, reply) => show(options, request, reply));
        scope.post<LinkRequest>(url, { config }, (request, reply) => redeem(options, request, reply));
      }
    });
  };
}

async function show(
  { api, settings }: SetupRoutesOptions,
  request: FastifyRequest<LinkRequest>,
  reply: FastifyReply,
  problem?: AppError,
): Promise<FastifyReply> {
  const { token } = request.params;
  const setup = await api.readInvite({ body: { token, remote_addr: request.ip } });
  const page = await setupPage(setup, await settings.clusterName(), problem?.message);
  return sendPage(reply, problem ? httpStatuses[problem.kind] : 200, page);
}

async function redeem(
  options: SetupRoutesOptions,
  request: FastifyRequest<LinkRequest>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { api, settings } = options;
  try {
    const { again, webauthn, otp, password, device_name } = readForm(request.body);
    if (password !== again) throw mistake('The two passwords differ.');
    if (password.length < minPassword) throw mistake(`The password needs ${minPassword} characters.`);
    const { user } = await api.redeemInvite({
      body: {
        token: request.params.token,
        password,
        ...(otp ? { otp } : {}),
        ...(webauthn ? { webauthn: readCredential(webauthn) } : {}),
        ...(device_name ? { device_name } : {}),
        remote_addr: request.ip,
      },
    });
    const { proxy } = await settings.find();
    const address = proxy.ssh.public_addr ?? request.headers.host ?? proxy.ssh.web_listen_addr;
    return sendPage(reply, 200, donePage(user, address, await settings.clusterName()));
  } catch (error) {
    // The form again, with what was wrong; when the link itself is what is wrong, reading it says so.
    return show(options, request, reply, asAppError(error));
  }
}

function readForm(body: unknown): Form {
  const parsed = form.safeParse(body ?? {});
  if (parsed.success) return parsed.data;
  throw mistake('The form cannot be read.');
}

function readCredential(text: string): Record<string, unknown> {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(text));
  } catch {
    throw mistake('What the security key answered cannot be read.');
  }
}

function mistake(message: string): AppError {
  return new AppError('bad_input', 'proxy.bad_form', message);
}
