// The HTTP endpoints of the proxy that clients and scripts use before they have a certificate. As documented;
// `/v1/webapi/…` and `/webapi/…` are the same.
import { z } from 'zod';
import { logInProof, userCertificates } from './auth-routes.ts';
import { connectorKinds } from './connectors.ts';
import { resourceName } from './resources.ts';
import { route } from './route.ts';
import { browserLogInId, browserLogInOrder, browserLogInResult } from './sign-on-routes.ts';

const proxySettings = z.strictObject({
  ssh: z.strictObject({
    listen_addr: z.string(),
    tunnel_listen_addr: z.string(),
    web_listen_addr: z.string(),
    public_addr: z.string().optional(),
    ssh_public_addr: z.string().optional(),
    ssh_tunnel_public_addr: z.string().optional(),
  }),
  tls_routing_enabled: z.boolean(),
});

const find = z.strictObject({
  proxy: proxySettings,
  server_version: z.string(),
  min_client_version: z.string(),
  cluster_name: z.string(),
  automatic_upgrades: z.boolean(),
  edition: z.literal('oss'),
  fips: z.boolean(),
});

const connectorName = z.strictObject({ name: z.string(), display: z.string() });
const base64 = z.base64().max(65_536);

export const webRoutes = {
  ping: route({
    method: 'GET',
    path: '/webapi/ping',
    summary: 'What a client needs to know before it logs in.',
    access: 'anyone',
    result: find.extend({
      auth: z.strictObject({
        type: z.string(),
        second_factor: z.string(),
        local: z.strictObject({ name: z.string() }).optional(),
        webauthn: z.strictObject({ rp_id: z.string() }).optional(),
        /** The provider `tsh login` uses when it is told none. */
        oidc: connectorName.optional(),
        github: connectorName.optional(),
        /** Every provider. */
        connectors: z.array(connectorName.extend({ kind: z.enum(connectorKinds) })).optional(),
        /** Passkeys alone are enough. */
        passwordless: z.boolean().optional(),
      }),
    }),
  }),
  find: route({
    method: 'GET',
    path: '/webapi/find',
    summary: 'The same without the log-in settings.',
    access: 'anyone',
    result: find,
  }),
  mfaChallenge: route({
    method: 'POST',
    path: '/webapi/mfa/login/begin',
    summary: 'What the second factor must answer.',
    access: 'anyone',
    rate: 'log_in',
    body: z.strictObject({ user: resourceName }),
    result: z.strictObject({ webauthn: z.record(z.string(), z.unknown()).optional(), otp: z.boolean() }),
  }),
  passkeyChallenge: route({
    method: 'POST',
    path: '/webapi/mfa/passkey/begin',
    summary: 'What a passkey that logs in by itself must sign.',
    access: 'anyone',
    rate: 'log_in',
    body: z.strictObject({}),
    result: z.strictObject({ webauthn: z.record(z.string(), z.unknown()) }),
  }),
  logIn: route({
    method: 'POST',
    path: '/webapi/ssh/certs',
    summary: 'Password and second factor for certificates.',
    access: 'anyone',
    rate: 'log_in',
    body: z.strictObject({
      proof: logInProof,
      ssh_public_key: base64,
      tls_public_key: z.string().max(65_536),
      ttl_ms: z.int().min(60_000).optional(),
    }),
    result: userCertificates,
  }),
  startBrowserLogIn: route({
    method: 'POST',
    path: '/webapi/cli/requests',
    summary: 'A log-in that a person completes in a browser, for keys of the calling client.',
    access: 'anyone',
    rate: 'log_in',
    body: browserLogInOrder,
    result: z.strictObject({
      id: browserLogInId,
      /** For the browser. */
      url: z.url(),
      /** Shown by client and page: the person compares them. */
      code: z.string(),
      expires: z.iso.datetime(),
    }),
  }),
  browserLogInResult: route({
    method: 'POST',
    path: '/webapi/cli/requests/:id/result',
    summary:
      'Certificates of a log-in completed in a browser, once; answers after a while when there are none yet.',
    access: 'anyone',
    params: z.strictObject({ id: browserLogInId }),
    body: z.strictObject({ secret: z.string().max(256) }),
    result: browserLogInResult,
  }),
} as const;

export type WebRoutes = typeof webRoutes;
export type Ping = z.output<typeof webRoutes.ping.result>;
