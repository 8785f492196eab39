// A request and an answer for every route of the auth service: the compiler holds them against the routes, the
// tests send them through a server.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { NodeDocument, RoleDocument } from '@sallyport/contracts/api/resources.ts';
import type { RequestOf, ResultOf } from '@sallyport/contracts/api/route.ts';
import type { SessionReport, SessionTracker } from '@sallyport/contracts/api/session-trackers.ts';
import type { Handlers } from './handler.ts';

type Samples = {
  readonly [Name in keyof AuthRoutes]: {
    readonly request: RequestOf<AuthRoutes[Name]>;
    /** Lines, for a stream. */
    readonly answer: AuthRoutes[Name] extends { readonly stream: true }
      ? readonly ResultOf<AuthRoutes[Name]>[]
      : ResultOf<AuthRoutes[Name]>;
  };
};

const time = '2026-01-02T03:04:05.000Z';
const uuid = '1048a649-8f3f-4431-9529-0c53339b65a5';
const blob = 'AAAA';
const trust = {
  cluster_name: 'purple',
  ssh_host_cas: ['ssh-ed25519 AAAA'],
  ssh_user_cas: [],
  tls_host_cas: ['PEM'],
  tls_user_cas: [],
};
const hostCertificates = { ssh_certificate: blob, tls_certificate: 'PEM', valid_before: time };
const userCertificates = { user: 'alice', logins: ['root'], roles: ['dev'], ...hostCertificates, trust };
const role: RoleDocument = {
  kind: 'role',
  metadata: { name: 'dev', labels: { team: 'a b/c' } },
  spec: { allow: { logins: ['root', '{{internal.logins}}'], node_labels: { env: ['dev', 'test'] } } },
};
const node: NodeDocument = {
  kind: 'node',
  metadata: { name: uuid, expires: time },
  spec: { hostname: 'web-1', tunnel: true, labels: {}, version: '1.0.0' },
};
const keys = { ssh_public_key: blob, tls_public_key: 'PEM' };
const report: SessionReport = {
  sid: uuid,
  state: 'running',
  login: 'root',
  owner: 'ana',
  owner_roles: ['access'],
  started: time,
  participants: [{ user: 'ana', mode: 'owner', joined: time }],
};
const { sid: _, ...reported } = report;
const tracker: SessionTracker = {
  kind: 'session_tracker',
  version: 'v1',
  metadata: { name: uuid, expires: time },
  spec: { ...reported, kind: 'ssh', server_id: uuid, hostname: 'web-1', join_modes: ['peer'] },
};

export const samples: Samples = {
  ping: {
    request: {},
    answer: {
      cluster_name: 'purple',
      version: '1.0.0',
      min_client_version: '1.0.0',
      ca_pins: ['sha256:00'],
      auth: { type: 'local', second_factor: 'otp' },
      session_recording: 'node',
    },
  },
  joinChallenge: { request: {}, answer: { nonce: blob } },
  join: {
    request: {
      body: {
        ...keys,
        token: 'abcd',
        nonce: blob,
        signature: blob,
        host_uuid: uuid,
        nodename: 'web-1',
        roles: ['node'],
        principals: ['web-1', '::1'],
        version: '1.0.0',
      },
    },
    answer: { ...hostCertificates, trust, labels: { a: 'b' } },
  },
  renewHost: {
    request: { body: { ...keys, principals: [], version: '1.0.0' } },
    answer: { ...hostCertificates, trust },
  },
  heartbeat: { request: { params: { kind: 'node' }, body: node }, answer: { expires: time } },
  trust: { request: {}, answer: trust },
  watch: {
    request: { query: { kinds: 'role,lock' } },
    answer: [
      { type: 'put', resource: role },
      { type: 'synced' },
      { type: 'delete', kind: 'lock', name: 'x' },
      { type: 'alive' },
    ],
  },
  emitEvents: {
    request: { body: { stream: uuid, first: 0, lines: ['{}'] } },
    answer: { acknowledged: 1 },
  },
  mfaChallenge: {
    request: { body: { user: 'alice', remote_addr: '203.0.113.1' } },
    answer: { otp: true, webauthn: { challenge: 'x' } },
  },
  logIn: {
    request: {
      body: {
        proof: { user: 'alice', password: 'secret', otp: '123456' },
        ...keys,
        remote_addr: '203.0.113.1',
      },
    },
    answer: userCertificates,
  },
  createInvite: {
    request: { params: { name: 'alice' }, body: { purpose: 'invite', ttl_ms: 60_000 } },
    answer: { token: 'x', url: 'https://x/y', expires: time },
  },
  readInvite: {
    request: { body: { token: 'x', remote_addr: '203.0.113.1' } },
    answer: { user: 'alice', purpose: 'reset', expires: time, second_factor: 'otp' },
  },
  redeemInvite: {
    request: { body: { token: 'x', password: 'long enough a secret', remote_addr: '203.0.113.1' } },
    answer: { user: 'alice' },
  },
  issueCertificates: {
    request: { params: { name: 'alice' }, body: { ssh_public_key: blob } },
    answer: { ...userCertificates, capped: true },
  },
  beginBrowserLogIn: {
    request: {
      body: { ...keys, connector: 'okta', secret_sha256: '0'.repeat(64), remote_addr: '203.0.113.1' },
    },
    answer: { id: 'x', code: 'ABCD-2345', expires: time },
  },
  readBrowserLogIn: {
    request: { params: { id: 'x' } },
    answer: { code: 'ABCD-2345', user: 'alice', remote_addr: '203.0.113.1' },
  },
  completeBrowserLogIn: {
    request: {
      params: { id: 'x' },
      body: { proof: { user: 'alice', password: 'secret' }, remote_addr: '203.0.113.1', user_agent: 'curl' },
    },
    answer: { user: 'alice' },
  },
  browserLogInResult: {
    request: { params: { id: 'x' }, body: { secret: 'y' } },
    answer: { state: 'done', certificates: userCertificates },
  },
  beginSso: {
    request: { body: { connector: 'okta', browser_log_in: 'x', remote_addr: '203.0.113.1' } },
    answer: { url: 'https://idp.example.com/auth', flow: '0123456789abcdef', binding: 'z' },
  },
  completeSso: {
    request: {
      body: {
        kind: 'oidc',
        query: 'code=a&state=b',
        bindings: { '0123456789abcdef': 'z' },
        remote_addr: '203.0.113.1',
      },
    },
    answer: { user: 'alice', connector: 'okta' },
  },
  beginSsoTrial: {
    request: {
      body: {
        connector: {
          kind: 'github',
          metadata: { name: 'github' },
          spec: {
            client_id: 'a',
            client_secret: 'b',
            redirect_url: 'https://proxy.example.com/v1/webapi/github/callback',
            teams_to_roles: [{ organization: 'acme', team: 'ops', roles: ['ops'] }],
          },
        },
        secret_sha256: '0'.repeat(64),
      },
    },
    answer: { id: 'x', url: 'https://proxy.example.com/web/cli/x', code: 'ABCD-2345', expires: time },
  },
  ssoTrialResult: {
    request: { params: { id: 'x' }, body: { secret: 'y' } },
    answer: { state: 'tried', user: 'alice', roles: ['ops'], attributes: { groups: ['dev'] }, problems: [] },
  },
  sessionCertificate: {
    request: { body: { node: 'web-1', login: 'root', ssh_public_key: blob, otp: '123456' } },
    answer: { state: 'issued', ssh_certificate: blob, valid_before: time },
  },
  listMfaDevices: {
    request: {},
    answer: { devices: [{ id: uuid, name: 'key', type: 'webauthn', passwordless: true }], offers: ['totp'] },
  },
  beginTotpDevice: {
    request: { body: { name: 'phone', otp: '123456' } },
    answer: { id: 'x', secret: 'ABC', url: 'otpauth://totp/x', expires: time },
  },
  finishTotpDevice: {
    request: { params: { id: 'x' }, body: { otp: '123456' } },
    answer: { device: { id: uuid, name: 'phone', type: 'totp', added: time } },
  },
  removeMfaDevice: {
    request: { body: { name: 'phone', otp: '123456' } },
    answer: { device: { id: uuid, name: 'phone', type: 'totp' } },
  },
  beginMfaTask: {
    request: { body: { type: 'add_device', name: 'key', passwordless: true } },
    answer: { id: 'x', code: 'ABCD-2345', expires: time },
  },
  mfaTaskResult: { request: { params: { id: 'x' } }, answer: { state: 'waiting' } },
  readMfaTask: {
    request: { params: { id: 'x' } },
    answer: { type: 'session', user: 'alice', code: 'ABCD-2345', subject: 'root@web-1', get: { a: 1 } },
  },
  completeMfaTask: {
    request: { params: { id: 'x' }, body: { get: { a: 1 }, remote_addr: '203.0.113.1' } },
    answer: { user: 'alice' },
  },
  passkeyChallenge: {
    request: { body: { remote_addr: '203.0.113.1' } },
    answer: { webauthn: { challenge: 'x' } },
  },
  listResources: {
    request: { params: { kind: 'role' }, query: { secrets: 'true' } },
    answer: { resources: [role, node] },
  },
  getResource: { request: { params: { kind: 'role', name: 'dev' } }, answer: role },
  putResource: {
    request: { params: { kind: 'role', name: 'dev' }, query: { mode: 'create' }, body: role },
    answer: role,
  },
  deleteResource: { request: { params: { kind: 'token', name: 'a/b c%?#ü' } }, answer: { deleted: 'dev' } },
  reportSessions: { request: { body: { live: [report], over: [uuid] } }, answer: { expires: time } },
  listSessions: { request: {}, answer: { sessions: [tracker] } },
  getSession: { request: { params: { sid: uuid } }, answer: tracker },
  createToken: {
    request: { body: { roles: ['node', 'proxy'], ttl_ms: 60_000 } },
    answer: { token: 'x', expires: time, ca_pins: [] },
  },
  rotate: { request: { body: { type: 'all', phase: 'init' } }, answer: { phases: { host: 'init' } } },
  searchEvents: {
    request: { query: { limit: '5', order: 'desc', include: 'session.start' } },
    answer: { events: [{ event: 'x' }], startKey: '' },
  },
};

/** Answers every call with its sample; `arrived` sees what the handlers were given. */
export function sampleHandlers(arrived: (name: string, request: unknown) => void): Handlers<AuthRoutes> {
  const handlers = Object.entries(samples).map(([name, { answer }]) => [
    name,
    (request: unknown) => {
      arrived(name, request);
      return Array.isArray(answer) ? linesOf(answer) : Promise.resolve(answer);
    },
  ]);
  return Object.fromEntries(handlers) as Handlers<AuthRoutes>;
}

async function* linesOf(lines: readonly unknown[]): AsyncGenerator<unknown> {
  yield* lines;
}
