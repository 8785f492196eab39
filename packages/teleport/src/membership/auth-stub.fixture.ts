// An auth server of the tests' own: real TLS, real authorities and the contract's shapes, and a body for each test to
// say what happens. The real one has its tests with this room in cli/.

import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { TLSSocket, TlsOptions } from 'node:tls';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { joinProofText } from '@sallyport/contracts/api/join-proof.ts';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { alpnProtocols } from '@sallyport/contracts/api/tunnel.ts';
import { Authorities } from '../ca/authorities.ts';
import { type HostKeys, openHostKeys } from '../ca/host-keys.ts';
import { identityExtensions } from '../ca/identity.ts';
import { issueCertificate } from '../ca/issue.ts';
import { verifySignature } from '../ca/signature.ts';
import { issueHostTls, splitNames } from '../ca/tls-issue.ts';
import { type PeerVerdict, serverTlsOptions, verifyPeer } from '../ca/tls-options.ts';
import type { Address } from '../config/config.ts';
import { temporaryDirectory } from '../temporary-directory.fixture.ts';
import { type Granted, HostMember } from './host-member.ts';
import type { MembershipLog } from './membership-log.ts';

export { until } from '../until.fixture.ts';
export { temporaryDirectory };

export const token = 'a-token-of-the-tests';
const hourMs = 3_600_000;

export interface LoggedLine {
  readonly level: 'debug' | 'info' | 'warn';
  readonly fields: Record<string, unknown>;
  readonly message: string;
}

export function collectLog(): MembershipLog & { readonly lines: LoggedLine[] } {
  const lines: LoggedLine[] = [];
  const at = (level: LoggedLine['level']) => (fields: object, message: string) =>
    void lines.push({ level, fields: { ...fields }, message });
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn') };
}

/** One call as the server saw it. */
export interface StubCall {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  readonly peer: PeerVerdict;
  readonly request: IncomingMessage;
}

/** What is answered: a value as JSON, or the response is written by hand. */
export type StubHandler = (call: StubCall, response: ServerResponse) => unknown;

export class AuthStub {
  readonly authorities: Authorities;
  readonly calls: StubCall[] = [];
  readonly watchers = new Set<ServerResponse>();
  /** `POST /v1/join` → what it does. */
  readonly handlers = new Map<string, StubHandler>();
  readonly #server: ReturnType<typeof createServer>;
  readonly #sockets = new Set<Socket>();
  readonly #tls: () => Promise<TlsOptions>;
  /** Of certificates it grants. */
  lifeMs = hourMs;
  #port = 0;

  private constructor(
    authorities: Authorities,
    server: ReturnType<typeof createServer>,
    tls: () => Promise<TlsOptions>,
  ) {
    this.authorities = authorities;
    this.#server = server;
    this.#tls = tls;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket.on('close', () => this.#sockets.delete(socket)));
    });
    server.on('request', (request, response) => void this.#serve(request, response));
    this.handlers.set('POST /v1/join/challenge', () => ({ nonce: randomBytes(32).toString('base64') }));
    this.handlers.set('POST /v1/join', ({ body }, response) => this.#join(body, response));
    this.handlers.set('POST /v1/hosts/renew', ({ body, peer }, response) =>
      this.#renew(body, peer, response),
    );
    this.handlers.set('GET /v1/watch', (_, response) => this.#watch(response));
  }

  static async start(
    t: TestContext,
    {
      clusterName = 'prod',
      role = 'auth' as HostRole,
      showAuthorityOf = undefined as Authorities | undefined,
    } = {},
  ): Promise<AuthStub> {
    const dataDir = await temporaryDirectory(t);
    const authorities = await Authorities.open({ dataDir, clusterName, create: true, now: () => new Date() });
    const keys = await openHostKeys(join(dataDir, 'auth-host'));
    const hostUuid = randomUUID();
    const tls = async () => {
      const leaf = await certify(authorities, keys, { hostUuid, roles: [role], lifeMs: hourMs });
      const shown = showAuthorityOf ?? authorities;
      return serverTlsOptions({
        keyPem: keys.tls.keyPem,
        certPem: `${leaf.tls_certificate}${shown.active('host').tls.certificatePem}`,
        trust: authorities.trust(),
        alpn: [alpnProtocols.auth],
      });
    };
    const stub = new AuthStub(authorities, createServer(await tls()), tls);
    await stub.listen();
    t.after(() => stub.stop());
    return stub;
  }

  get address(): Address {
    return { host: '127.0.0.1', port: this.#port };
  }

  /** Again on the same port, after a stop. */
  async listen(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** As if the machine had lost its power: no goodbye to anybody. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.cut();
    await closed;
  }

  /** A certificate of what signs now, and the trust of now, for new connections. */
  async retrust(): Promise<void> {
    this.#server.setSecureContext(await this.#tls());
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** To every open watch. */
  tell(line: object): void {
    for (const response of this.watchers) response.write(`${JSON.stringify(line)}\n`);
  }

  count(call: string): number {
    return this.calls.filter(({ method, path }) => `${method} ${path}` === call).length;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const path = (request.url ?? '').split('?')[0] ?? '';
    const peer = verifyPeer(request.socket as TLSSocket, {
      trust: this.authorities.trust(),
      now: new Date(),
    });
    const body: unknown = text === '' ? undefined : JSON.parse(text);
    const call = { method: request.method ?? '', path, body, peer, request };
    this.calls.push(call);
    const result = await this.handlers.get(`${call.method} ${path}`)?.(call, response);
    if (result !== undefined) response.end(JSON.stringify(result));
    else if (!response.headersSent && !this.watchers.has(response)) refuse(response, 404, 'no such call');
  }

  async #join(body: unknown, response: ServerResponse): Promise<Granted | undefined> {
    const request = authRoutes.join.body.parse(body);
    const key = Buffer.from(request.ssh_public_key, 'base64');
    const signature = Buffer.from(request.signature, 'base64');
    const proven = verifySignature(key, signature, Buffer.from(joinProofText(request)));
    if (request.token !== token || !proven) {
      refuse(response, 403, 'The token is not known, or has expired.', 'token.unknown');
      return undefined;
    }
    const { host_uuid: hostUuid, roles, principals } = request;
    const keys = { ssh: request.ssh_public_key, tls: request.tls_public_key };
    return this.#grant(hostUuid, roles, principals, keys);
  }

  async #renew(body: unknown, peer: PeerVerdict, response: ServerResponse): Promise<Granted | undefined> {
    if (!peer.ok || peer.identity.kind !== 'host') {
      refuse(response, 403, peer.ok ? 'no host' : peer.reason);
      return undefined;
    }
    const request = authRoutes.renewHost.body.parse(body);
    const keys = { ssh: request.ssh_public_key, tls: request.tls_public_key };
    return this.#grant(peer.identity.hostUuid, [...peer.identity.roles], request.principals, keys);
  }

  async #grant(hostUuid: string, roles: HostRole[], names: string[], keys: { ssh: string; tls: string }) {
    const publicKeys = { ssh: Buffer.from(keys.ssh, 'base64'), tls: keys.tls };
    return grant(this.authorities, publicKeys, { hostUuid, roles, names, lifeMs: this.lifeMs });
  }

  #watch(response: ServerResponse): undefined {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.flushHeaders();
    this.watchers.add(response);
    response.on('close', () => this.watchers.delete(response));
    for (const resource of this.authorities.documents()) this.#line(response, { type: 'put', resource });
    this.#line(response, { type: 'synced' });
  }

  #line(response: ServerResponse, line: object): void {
    response.write(`${JSON.stringify(line)}\n`);
  }
}

export function refuse(
  response: ServerResponse,
  status: number,
  message: string,
  code = 'stub.refused',
): void {
  response.writeHead(status).end(JSON.stringify({ error: { message, code, kind: 'denied' } }));
}

export interface CertifyOptions {
  readonly hostUuid: string;
  readonly roles: readonly HostRole[];
  readonly names?: readonly string[];
  readonly lifeMs?: number;
}

export function certify(authorities: Authorities, keys: HostKeys, options: CertifyOptions): Promise<Granted> {
  return grant(authorities, { ssh: keys.ssh.publicKey, tls: keys.tls.publicKeyPem }, options);
}

async function grant(
  authorities: Authorities,
  keys: { ssh: Buffer; tls: string },
  { hostUuid, roles, names = [], lifeMs = hourMs }: CertifyOptions,
): Promise<Granted> {
  const { ssh, tls } = authorities.active('host');
  const validAfter = new Date(Date.now() - 1_000);
  const validBefore = new Date(Date.now() + lifeMs);
  const principals = [hostUuid, '127.0.0.1', ...names];
  const blob = await issueCertificate(ssh, {
    type: 'host',
    publicKey: keys.ssh,
    keyId: hostUuid,
    principals,
    validAfter,
    validBefore,
    extensions: { [identityExtensions.roles]: JSON.stringify(roles) },
  });
  const tlsCertificate = await issueHostTls(tls, {
    publicKeyPem: keys.tls,
    cluster: authorities.clusterName,
    hostUuid,
    roles,
    ...splitNames(principals),
    validAfter,
    validBefore,
  });
  return {
    ssh_certificate: blob.toString('base64'),
    tls_certificate: tlsCertificate,
    valid_before: validBefore.toISOString(),
    trust: authorities.trust(),
  };
}

export interface TestMember {
  readonly dataDir: string;
  readonly member: HostMember;
}

/** A host that has joined, without the way there. */
export async function makeMember(
  t: TestContext,
  authorities: Authorities,
  { roles = ['node'] as HostRole[], lifeMs = hourMs } = {},
): Promise<TestMember> {
  const dataDir = await temporaryDirectory(t);
  const keys = await openHostKeys(dataDir);
  const hostUuid = randomUUID();
  const granted = await certify(authorities, keys, { hostUuid, roles, lifeMs });
  return { dataDir, member: await HostMember.adopt({ dataDir, keys, hostUuid }, roles, granted) };
}
