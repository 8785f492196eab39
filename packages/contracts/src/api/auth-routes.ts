// The API of the auth service: mutual TLS 1.3 on 3025 (or through a proxy, by ALPN), and a local socket for the
// administrator of the auth host. One file so that the whole contract can be read at once.
import { z } from 'zod';
import { connectorKinds } from './connectors.ts';
import { logInProof, trust, userCertificates } from './log-in-shapes.ts';
import { mfaRoutes } from './mfa-routes.ts';
import { metadata, resourceDocument, resourceKinds, resourceName } from './resources.ts';
import { hostRoles, route } from './route.ts';
import { maxReports, sessionReport, sessionTracker } from './session-trackers.ts';
import { signOnRoutes } from './sign-on-routes.ts';

export { logInProof, userCertificates };

const instant = z.iso.datetime();
/** SSH wire blobs travel as base64. */
const base64 = z.base64().max(65_536);
const pem = z.string().max(65_536);
const ttlMs = z.int().min(60_000);
const textFlag = z.enum(['true', 'false']).transform((text) => text === 'true');
const textInt = z
  .string()
  .regex(/^\d{1,9}$/)
  .transform(Number);
const kind = z.enum(resourceKinds);

const hostCertificates = z.strictObject({
  /** SSH host certificate. */
  ssh_certificate: base64,
  /** X.509 leaf, for TLS as client and as server. */
  tls_certificate: pem,
  valid_before: instant,
});

const status = z.strictObject({
  cluster_name: z.string(),
  version: z.string(),
  min_client_version: z.string(),
  /** `sha256:<hex>` over the SubjectPublicKeyInfo of each trusted host CA. */
  ca_pins: z.array(z.string()),
  auth: z.strictObject({
    type: z.string(),
    second_factor: z.string(),
    webauthn_rp_id: z.string().optional(),
    /** Identity providers a log-in page offers. */
    connectors: z
      .array(z.strictObject({ kind: z.enum(connectorKinds), name: z.string(), display: z.string() }))
      .optional(),
    /** The one `tsh login` uses when it is told none. */
    connector_name: z.string().optional(),
    /** False: only by an identity provider. Absent: true. */
    local: z.boolean().optional(),
    /** By a passkey alone, without name and password. */
    passwordless: z.boolean().optional(),
  }),
  session_recording: z.string(),
});

const inviteSetup = z.strictObject({
  user: z.string(),
  /** invite: a new account. reset: an old one whose password and devices are set anew. */
  purpose: z.enum(['invite', 'reset']),
  expires: instant,
  second_factor: z.string(),
  totp: z.strictObject({ secret: z.string(), url: z.string() }).optional(),
  webauthn: z.record(z.string(), z.unknown()).optional(),
});

export const authRoutes = {
  ping: route({
    method: 'GET',
    path: '/v1/ping',
    summary: 'Version, name and log-in settings of the cluster.',
    access: 'anyone',
    result: status,
  }),

  // -- hosts -------------------------------------------------------------------------------------------
  joinChallenge: route({
    method: 'POST',
    path: '/v1/join/challenge',
    summary: 'A nonce, good once and for a minute, that a joining host signs with its new host key.',
    access: 'anyone',
    result: z.strictObject({ nonce: base64 }),
  }),
  join: route({
    method: 'POST',
    path: '/v1/join',
    summary: 'Join the cluster with a token: proves possession of the host key, answers with certificates.',
    access: 'anyone',
    body: z.strictObject({
      token: z.string().min(1).max(256),
      nonce: base64,
      /** SSH signature blob by the host key over the request: join-proof.ts. */
      signature: base64,
      /** Absent: only the nonce was signed, as by hosts of before; they are told to be upgraded. */
      signature_version: z.int().optional(),
      host_uuid: z.uuid(),
      nodename: z.string().min(1).max(255),
      roles: z.array(z.enum(hostRoles)).min(1),
      ssh_public_key: base64,
      /** SubjectPublicKeyInfo, PEM. */
      tls_public_key: pem,
      /** Names and addresses, without ports, this host is dialled by. */
      principals: z.array(z.string().max(255)).max(64),
      version: z.string().max(64),
    }),
    result: hostCertificates.extend({ trust, labels: z.record(z.string(), z.string()).optional() }),
  }),
  renewHost: route({
    method: 'POST',
    path: '/v1/hosts/renew',
    summary: 'New certificates for the calling host and the keys it has, or for new ones in a rotation.',
    access: { host: true },
    body: z.strictObject({
      ssh_public_key: base64,
      tls_public_key: pem,
      principals: z.array(z.string().max(255)).max(64),
      version: z.string().max(64),
    }),
    result: hostCertificates.extend({ trust }),
  }),
  heartbeat: route({
    method: 'PUT',
    path: '/v1/hosts/self/:kind',
    summary:
      'The calling host is there: writes its node, proxy or auth_server resource for the next minutes.',
    access: { host: ['node', 'proxy', 'auth'] },
    params: z.strictObject({ kind: z.enum(['node', 'proxy', 'auth_server']) }),
    body: resourceDocument,
    result: z.strictObject({ expires: instant }),
  }),
  reportSessions: route({
    method: 'POST',
    path: '/v1/hosts/self/sessions',
    summary: 'Live sessions of the calling node: these are as they are now, and those are over.',
    access: { host: ['node'] },
    body: z.strictObject({
      live: z.array(sessionReport).max(maxReports),
      over: z.array(z.uuid()).max(4 * maxReports),
    }),
    /** Until when what was reported is believed. */
    result: z.strictObject({ expires: instant }),
  }),
  trust: route({
    method: 'GET',
    path: '/v1/trust',
    summary: 'The certificate authorities that are trusted now (public halves).',
    access: 'anyone',
    result: trust,
  }),
  watch: route({
    method: 'GET',
    path: '/v1/watch',
    summary:
      'Resources of the named kinds: all of them first, or what changed since `after`; then `synced`, then every change as it happens.',
    access: { host: true },
    /** Comma-separated kinds. */
    query: z.strictObject({
      kinds: z.string().max(256),
      /**
       * The newest position of an earlier watch of the same kinds, at any auth server; empty: of none. Given, positions
       * are told, and the watch may begin with `resumed`: then with what changed only.
       */
      after: z.string().max(256).optional(),
    }),
    stream: true,
    result: z.discriminatedUnion('type', [
      z.strictObject({ type: z.literal('put'), resource: resourceDocument, position: z.string().optional() }),
      z.strictObject({
        type: z.literal('delete'),
        kind,
        name: z.string(),
        position: z.string().optional(),
      }),
      /** What follows are changes of what the caller has. */
      z.strictObject({ type: z.literal('resumed') }),
      z.strictObject({ type: z.literal('synced'), position: z.string().optional() }),
      /** Every 4 s when nothing changes, so that a dead link shows. */
      z.strictObject({ type: z.literal('alive') }),
    ]),
  }),
  emitEvents: route({
    method: 'POST',
    path: '/v1/events',
    summary:
      'Audit events of the calling host. Positions are contiguous in a stream; a repeated one is dropped.',
    access: { host: true },
    bodyLimit: 4 * 2 ** 20,
    body: z.strictObject({
      /** The outbox they come from; a new one begins at position 0. */
      stream: z.uuid(),
      first: z.int().min(0),
      /** Serialized events, one JSON object each. */
      lines: z.array(z.string().max(262_144)).min(1).max(2_000),
    }),
    /** Everything before this position is in the log as durably as its policy says. */
    result: z.strictObject({ acknowledged: z.int().min(0) }),
  }),

  // -- log-in ------------------------------------------------------------------------------------------
  mfaChallenge: route({
    method: 'POST',
    path: '/v1/mfa/challenge',
    summary: 'What the second factor of a user must answer. Says nothing about whether the user exists.',
    access: { host: ['proxy'] },
    rate: 'log_in',
    body: z.strictObject({ user: resourceName, remote_addr: z.string().max(64) }),
    result: z.strictObject({ webauthn: z.record(z.string(), z.unknown()).optional(), otp: z.boolean() }),
  }),
  logIn: route({
    method: 'POST',
    path: '/v1/login',
    summary: 'Password and second factor for certificates. Slowed and locked after failures; always audited.',
    access: { host: ['proxy'] },
    rate: 'log_in',
    body: z.strictObject({
      proof: logInProof,
      ssh_public_key: base64,
      tls_public_key: pem,
      ttl_ms: ttlMs.optional(),
      /** Address of the person, as the proxy saw it. */
      remote_addr: z.string().max(64),
      user_agent: z.string().max(512).optional(),
    }),
    result: userCertificates,
  }),
  createInvite: route({
    method: 'POST',
    path: '/v1/users/:name/invite',
    summary:
      'A one-time link by which the user sets password and second factor. Older links of the user end.',
    access: { user: { resource: 'user', verb: 'update' } },
    params: z.strictObject({ name: resourceName }),
    body: z.strictObject({ purpose: z.enum(['invite', 'reset']), ttl_ms: ttlMs.optional() }),
    result: z.strictObject({ token: z.string(), url: z.string(), expires: instant }),
  }),
  readInvite: route({
    method: 'POST',
    path: '/v1/invites/read',
    summary: 'What the page of a one-time link shows.',
    access: { host: ['proxy'] },
    rate: 'log_in',
    body: z.strictObject({ token: z.string().max(256), remote_addr: z.string().max(64) }),
    result: inviteSetup,
  }),
  redeemInvite: route({
    method: 'POST',
    path: '/v1/invites/redeem',
    summary: 'Sets password and second factor; the link is used up.',
    access: { host: ['proxy'] },
    rate: 'log_in',
    body: z.strictObject({
      token: z.string().max(256),
      password: z.string().min(12).max(1024).optional(),
      otp: z.string().max(16).optional(),
      webauthn: z.record(z.string(), z.unknown()).optional(),
      device_name: z.string().max(64).optional(),
      remote_addr: z.string().max(64),
    }),
    result: z.strictObject({ user: z.string() }),
  }),
  issueCertificates: route({
    method: 'POST',
    path: '/v1/users/:name/certificates',
    summary: 'Certificates for a user without log-in: `tctl auth sign`. Capped by the roles.',
    access: { user: { resource: 'cert_authority', verb: 'create' } },
    params: z.strictObject({ name: resourceName }),
    body: z.strictObject({
      ssh_public_key: base64,
      tls_public_key: pem.optional(),
      ttl_ms: ttlMs.optional(),
    }),
    result: userCertificates.extend({ tls_certificate: pem.optional(), capped: z.boolean() }),
  }),

  // -- log-in by browser and identity providers -----------------------------------------------------------
  ...signOnRoutes,

  // -- second factors ------------------------------------------------------------------------------------
  ...mfaRoutes,

  // -- resources ---------------------------------------------------------------------------------------
  // The handler checks `allow.rules` for the kind that was asked for.
  listResources: route({
    method: 'GET',
    path: '/v1/resources/:kind',
    summary: 'Every resource of a kind, by name. Nodes: those the caller may log in to.',
    access: { host: true, user: true },
    params: z.strictObject({ kind }),
    query: z.strictObject({ secrets: textFlag.optional() }),
    result: z.strictObject({ resources: z.array(resourceDocument) }),
  }),
  getResource: route({
    method: 'GET',
    path: '/v1/resources/:kind/:name',
    summary: 'One resource.',
    access: { host: true, user: true },
    params: z.strictObject({ kind, name: z.string().max(256) }),
    query: z.strictObject({ secrets: textFlag.optional() }),
    result: resourceDocument,
  }),
  putResource: route({
    method: 'PUT',
    path: '/v1/resources/:kind/:name',
    summary: 'Write a resource: create it, replace it, or replace exactly the revision it carries.',
    access: { user: true },
    params: z.strictObject({ kind, name: z.string().max(256) }),
    query: z.strictObject({ mode: z.enum(['create', 'upsert', 'update']).optional() }),
    body: resourceDocument,
    result: resourceDocument,
  }),
  deleteResource: route({
    method: 'DELETE',
    path: '/v1/resources/:kind/:name',
    summary: 'Delete a resource.',
    access: { user: true },
    params: z.strictObject({ kind, name: z.string().max(256) }),
    result: z.strictObject({ deleted: metadata.shape.name.or(z.string()) }),
  }),

  // -- live sessions -----------------------------------------------------------------------------------
  listSessions: route({
    method: 'GET',
    path: '/v1/sessions',
    summary: "Live sessions: the caller's own, those they may join, and all for whoever may list sessions.",
    access: { user: true },
    result: z.strictObject({ sessions: z.array(sessionTracker) }),
  }),
  getSession: route({
    method: 'GET',
    path: '/v1/sessions/:sid',
    summary: 'One live session, for whoever sees it in the list.',
    access: { user: true },
    params: z.strictObject({ sid: z.uuid() }),
    result: sessionTracker,
  }),

  // -- tokens, CAs, the log ----------------------------------------------------------------------------
  createToken: route({
    method: 'POST',
    path: '/v1/tokens',
    summary: 'A join token: 16 random bytes in hex unless a value is given.',
    access: { user: { resource: 'token', verb: 'create' } },
    body: z.strictObject({
      roles: z.array(z.enum(hostRoles)).min(1),
      ttl_ms: ttlMs.optional(),
      value: z.string().min(8).max(256).optional(),
      labels: z.record(z.string(), z.string()).optional(),
      uses: z.int().min(1).optional(),
    }),
    result: z.strictObject({ token: z.string(), expires: instant, ca_pins: z.array(z.string()) }),
  }),
  rotate: route({
    method: 'POST',
    path: '/v1/cas/rotate',
    summary: 'Take a CA to the next phase of its rotation.',
    access: { user: { resource: 'cert_authority', verb: 'update' } },
    body: z.strictObject({
      type: z.enum(['host', 'user', 'all']),
      phase: z.enum(['init', 'update_clients', 'update_servers', 'standby', 'rollback']),
    }),
    result: z.strictObject({ phases: z.record(z.string(), z.string()) }),
  }),
  searchEvents: route({
    method: 'GET',
    path: '/v1/events',
    summary: 'Audit events between two instants, a page at a time.',
    access: { user: { resource: 'event', verb: 'list' } },
    query: z.strictObject({
      from: instant.optional(),
      to: instant.optional(),
      /** Names or codes, comma-separated. */
      include: z.string().max(1024).optional(),
      user: z.string().optional(),
      sid: z.string().optional(),
      text: z.string().max(256).optional(),
      limit: textInt.optional(),
      startKey: z.string().optional(),
      order: z.enum(['asc', 'desc']).optional(),
    }),
    result: z.strictObject({ events: z.array(z.record(z.string(), z.unknown())), startKey: z.string() }),
  }),
} as const;

export type AuthRoutes = typeof authRoutes;
export type Trust = z.output<typeof trust>;
export type HostCertificates = z.output<typeof hostCertificates>;
export type UserCertificates = z.output<typeof userCertificates>;
export type LogInProof = z.output<typeof logInProof>;
export type ClusterStatus = z.output<typeof status>;
