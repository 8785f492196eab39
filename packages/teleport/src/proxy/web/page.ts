// What every page has: its frame, the policy it is sent with, its files, and forms that come back from it.
import { readFileSync } from 'node:fs';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { type Html, html } from './html.ts';
import type { WebApp } from './web-server.ts';

const assetsPath = '/web/assets';
const types = { js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8' } as const;

// Scripts and styles from our own files only, forms and requests to ourselves: what is put into the page cannot act.
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join('; ');
const headers = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': policy,
  'permissions-policy': 'publickey-credentials-create=(self), publickey-credentials-get=(self)',
};

/** `head`: more for the head. */
export function page(title: string, content: Html, script = 'setup.js', head?: Html): Html {
  return html`<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="robots" content="noindex">
  <title>${title}</title>
  <link rel="stylesheet" href="${assetsPath}/setup.css">
  <script type="module" src="${assetsPath}/${script}"></script>
  ${head}
</head>
<body>
  <main>
    <h1>${title}</h1>
    ${content}
  </main>
</body>
</html>
`;
}

export function sendPage(reply: FastifyReply, status: number, { text }: Html): FastifyReply {
  return reply.code(status).headers(headers).send(text);
}

/** Read once, at the start. */
export function addAssets(app: WebApp, names: readonly `${string}.${keyof typeof types}`[]): void {
  for (const name of names) {
    const content = readFileSync(new URL(`assets/${name}`, import.meta.url));
    const type = types[name.endsWith('.js') ? 'js' : 'css'];
    app.get(`${assetsPath}/${name}`, (_, reply) => reply.type(type).send(content));
  }
}

/** For a scope of its own: nothing else of the web port takes forms. */
export function takeForms(scope: Pick<FastifyInstance, 'addContentTypeParser'>): void {
  scope.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_, body, done) =>
    done(null, Object.fromEntries(new URLSearchParams(String(body)))),
  );
}
