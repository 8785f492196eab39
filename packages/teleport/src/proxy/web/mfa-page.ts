// `/web/mfa/<id>`: a question tsh asks a person who is logged in, answered with a security key: for a session, or about
// the keys themselves. Only the key can answer; what comes of it goes to tsh.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import { asAppError } from '@sallyport/contracts/api/error-answer.ts';
import type { ResultOf } from '@sallyport/contracts/api/route.ts';
import { AppError, httpStatuses } from '@sallyport/contracts/errors.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { personOf, readCredential } from './browser-log-in-routes.ts';
import { Html, html } from './html.ts';
import { addAssets, page, sendPage, takeForms } from './page.ts';
import type { WebApp } from './web-server.ts';

export interface MfaRoutesOptions {
  readonly api: Pick<Client<AuthRoutes>, 'readMfaTask' | 'completeMfaTask'>;
}

type Task = ResultOf<AuthRoutes['readMfaTask']>;

interface PageRequest {
  readonly Params: { readonly id: string };
}

const script = 'mfa.js';
const field = z.string().max(32_768).default('');
const form = z.object({ get: field, create: field });

export function mfaRoutes(options: MfaRoutesOptions): (app: WebApp) => void {
  return (app) => {
    addAssets(app, [script]);
    void app.register(async (scope) => {
      takeForms(scope);
      scope.setErrorHandler((error, request, reply) => {
        const { kind, message } = asAppError(error);
        return sendPage(reply, httpStatuses[kind], problemPage(`${message} (request ${request.id})`));
      });
      const url = '/web/mfa/:id';
      const config = { attempt: true } as const;
      scope.get<PageRequest>(url, (request, reply) => show(options, request, reply));
      scope.post<PageRequest>(url, { config }, (request, reply) => complete(options, request, reply));
    });
  };
}

async function show(
  { api }: MfaRoutesOptions,
  request: FastifyRequest<PageRequest>,
  reply: FastifyReply,
  problem?: AppError,
): Promise<FastifyReply> {
  const task = await api.readMfaTask({ params: { id: request.params.id } });
  return sendPage(
    reply,
    problem === undefined ? 200 : httpStatuses[problem.kind],
    taskPage(task, problem?.message),
  );
}

async function complete(
  options: MfaRoutesOptions,
  request: FastifyRequest<PageRequest>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  try {
    const parsed = form.safeParse(request.body ?? {});
    if (!parsed.success) throw new AppError('bad_input', 'proxy.bad_form', 'The form cannot be read.');
    const { get, create } = parsed.data;
    const { id } = request.params;
    const answers = {
      ...(get === '' ? {} : { get: readCredential(get) }),
      ...(create === '' ? {} : { create: readCredential(create) }),
    };
    await options.api.completeMfaTask({ params: { id }, body: { ...answers, ...personOf(request) } });
    return sendPage(reply, 200, donePage());
  } catch (error) {
    // The question again, with what was wrong; when it is over, showing it says so.
    return show(options, request, reply, asAppError(error));
  }
}

const titles: Readonly<Record<Task['type'], string>> = {
  session: 'Confirm a session',
  add_device: 'Add a security key',
  add_app: 'Add an authenticator app',
  remove_device: 'Remove a second factor',
};

const sentences: Readonly<Record<Task['type'], (task: Task) => Html>> = {
  session: ({ user, subject }) =>
    html`<strong>${user}</strong> opens a session: <strong>${subject}</strong>.`,
  add_device: ({ user, subject }) =>
    html`<strong>${user}</strong> adds the security key <strong>${subject}</strong>.`,
  add_app: ({ user, subject }) =>
    html`<strong>${user}</strong> adds the authenticator app <strong>${subject}</strong>.`,
  remove_device: ({ user, subject }) => html`<strong>${user}</strong> removes <strong>${subject}</strong>.`,
};

function taskPage(task: Task, problem: string | undefined): Html {
  const { type, code, get, create } = task;
  return page(
    titles[type],
    html`<p>${sentences[type](task)}</p>
    <p>Your terminal shows this code:</p>
    <p class="code"><strong id="code">${code}</strong></p>
    <p>If no terminal of yours shows it, close this page.</p>
    ${problem === undefined ? undefined : html`<p class="problem" role="alert">${problem}</p>`}
    <form method="post" id="mfa">
      ${get && create ? html`<p>Your browser asks twice: for a key you have, then for the new one.</p>` : undefined}
      <input type="hidden" name="get"><input type="hidden" name="create"><input type="hidden" name="done">
      <button type="submit">${create === undefined ? 'Use the security key' : 'Add the security key'}</button>
      <noscript><p>Security keys need JavaScript.</p></noscript>
      <p class="problem" id="key-problem" role="alert" hidden></p>
    </form>
    <script type="application/json" id="options">${asJson({ get, create })}</script>`,
    script,
  );
}

/** Inside a script element no entity is read; `<` must not end it. */
function asJson(value: object): Html {
  return new Html(JSON.stringify(value).replace(/</g, '\\u003c'));
}

function donePage(): Html {
  return page('Done', html`<p role="status">Your terminal goes on. You can close this page.</p>`, script);
}

function problemPage(message: string): Html {
  return page(
    'This cannot be answered',
    html`<p role="alert">${message}</p><p>Start again in your terminal.</p>`,
    script,
  );
}
