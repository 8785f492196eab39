// The part of auth's API by which people log in with a browser: at the proxy's page, or at an identity provider.
// Every pending step is in auth's store, for minutes: any proxy and any auth server can take the next one.
import { z } from 'zod';
import { connectorKinds, githubDocument, oidcDocument } from './connectors.ts';
import { logInProof, userCertificates } from './log-in-shapes.ts';
import { resourceName } from './resource-parts.ts';
import { route } from './route.ts';

export const browserLogInId = z.string().regex(/^[\w-]{1,64}$/);
const remoteAddr = z.string().max(64);
const userAgent = z.string().max(512).optional();
const proxyOnly = { host: ['proxy'] } as const;

/** What is fixed when a client begins a log-in that a person completes in a browser. */
export const browserLogInOrder = z.strictObject({
  /** SSH wire blob. */
  ssh_public_key: z.base64().max(65_536),
  /** SubjectPublicKeyInfo, PEM. */
  tls_public_key: z.string().max(65_536),
  ttl_ms: z.int().min(60_000).optional(),
  /** Filled into the page; the person may be another. */
  user: resourceName.optional(),
  /** The identity provider the page offers first. */
  connector: resourceName.optional(),
  /** Of the secret that fetches the result, which its caller alone knows. Hex. */
  secret_sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

export const browserLogInResult = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('waiting') }),
  z.strictObject({ state: z.literal('done'), certificates: userCertificates }),
  z.strictObject({ state: z.literal('refused'), message: z.string(), hint: z.string().optional() }),
]);

export const signOnRoutes = {
  beginBrowserLogIn: route({
    method: 'POST',
    path: '/v1/browser-log-ins',
    summary: 'A log-in for keys of a client, which a person completes in a browser.',
    access: proxyOnly,
    rate: 'log_in',
    body: browserLogInOrder.extend({ remote_addr: remoteAddr }),
    result: z.strictObject({
      id: browserLogInId,
      /** Shown by client and page: the person compares them. */
      code: z.string(),
      expires: z.iso.datetime(),
    }),
  }),
  readBrowserLogIn: route({
    method: 'GET',
    path: '/v1/browser-log-ins/:id',
    summary: 'What the page of such a log-in shows, as long as somebody can still complete it.',
    access: proxyOnly,
    params: z.strictObject({ id: browserLogInId }),
    result: z.strictObject({
      code: z.string(),
      user: z.string().optional(),
      connector: z.string().optional(),
      /** Of the client that began it. */
      remote_addr: z.string(),
      /** No log-in but a trial of a provider; the page calls it so. */
      trial: z.string().optional(),
    }),
  }),
  completeBrowserLogIn: route({
    method: 'POST',
    path: '/v1/browser-log-ins/:id/complete',
    summary:
      'Password and second factor, or a passkey, for such a log-in. Certificates go to its client alone.',
    access: proxyOnly,
    rate: 'log_in',
    params: z.strictObject({ id: browserLogInId }),
    body: z.strictObject({
      proof: logInProof,
      /** Of the browser. */
      remote_addr: remoteAddr,
      user_agent: userAgent,
    }),
    result: z.strictObject({ user: z.string() }),
  }),
  browserLogInResult: route({
    method: 'POST',
    path: '/v1/browser-log-ins/:id/result',
    summary: 'What came of such a log-in, once; answers after a while when nothing has yet.',
    access: proxyOnly,
    params: z.strictObject({ id: browserLogInId }),
    body: z.strictObject({ secret: z.string().max(256) }),
    result: browserLogInResult,
  }),
  beginSso: route({
    method: 'POST',
    path: '/v1/sso/begin',
    summary: 'Sends a browser to an identity provider, for a log-in that waits.',
    access: proxyOnly,
    rate: 'log_in',
    body: z.strictObject({
      connector: resourceName,
      browser_log_in: browserLogInId,
      /** `host[:port]` the browser calls the proxy by: which of several redirect addresses is used. */
      host: z.string().max(300).optional(),
      remote_addr: remoteAddr,
    }),
    result: z.strictObject({
      /** At the provider. */
      url: z.url(),
      /** Names the cookie. */
      flow: z.string().regex(/^[0-9a-f]{16}$/),
      /** For a cookie of this browser: nobody else can come back from the provider. */
      binding: z.string(),
    }),
  }),
  completeSso: route({
    method: 'POST',
    path: '/v1/sso/complete',
    summary: 'A browser came back from the identity provider. Good once.',
    access: proxyOnly,
    rate: 'log_in',
    body: z.strictObject({
      kind: z.enum(connectorKinds),
      /** What the provider put behind the `?`. */
      query: z.string().max(8_192),
      /** Cookies of this browser: flow → binding. */
      bindings: z.record(z.string().max(16), z.string().max(64)),
      remote_addr: remoteAddr,
      user_agent: userAgent,
    }),
    /** `trial`: nobody was logged in. */
    result: z.strictObject({ user: z.string(), connector: z.string(), trial: z.boolean().optional() }),
  }),
  beginSsoTrial: route({
    method: 'POST',
    path: '/v1/sso/trials',
    summary: 'Try a connector that is not written yet: a log-in by it that ends with what it would give.',
    access: { user: { resource: 'oidc', verb: 'create' } },
    body: z.strictObject({
      connector: z.discriminatedUnion('kind', [oidcDocument, githubDocument]),
      secret_sha256: z.string().regex(/^[0-9a-f]{64}$/),
    }),
    result: z.strictObject({
      id: browserLogInId,
      /** For a browser. */
      url: z.string(),
      code: z.string(),
      expires: z.iso.datetime(),
    }),
  }),
  ssoTrialResult: route({
    method: 'POST',
    path: '/v1/sso/trials/:id/result',
    summary: 'What came of the trial, once.',
    access: { user: { resource: 'oidc', verb: 'create' } },
    params: z.strictObject({ id: browserLogInId }),
    body: z.strictObject({ secret: z.string().max(256) }),
    result: z.discriminatedUnion('state', [
      z.strictObject({ state: z.literal('waiting') }),
      z.strictObject({ state: z.literal('refused'), message: z.string(), hint: z.string().optional() }),
      z.strictObject({
        state: z.literal('tried'),
        user: z.string(),
        roles: z.array(z.string()),
        attributes: z.record(z.string(), z.array(z.string())),
        /** Why a log-in would be refused all the same. */
        problems: z.array(z.string()),
      }),
    ]),
  }),
} as const;
