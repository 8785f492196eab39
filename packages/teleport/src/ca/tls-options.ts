// Mutual TLS 1.3 among our own services: the options of both ends, and who the other end turned out to be.
import { X509Certificate } from 'node:crypto';
import type { ConnectionOptions, TLSSocket, TlsOptions } from 'node:tls';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { printable } from './public-key.ts';
import { readTlsIdentity, type TlsIdentity } from './tls-identity.ts';

/** X.509 authorities (PEM) and the cluster they speak for. A `Trust` of the contract fits. */
export interface TlsTrust {
  readonly cluster_name: string;
  readonly tls_host_cas: readonly string[];
  readonly tls_user_cas: readonly string[];
}

export interface ServerTls {
  readonly keyPem: string;
  /** The leaf, then its authority: a joining host finds the pinned key in the chain. */
  readonly certPem: string;
  readonly trust: TlsTrust;
  readonly alpn?: readonly string[];
}

export interface ClientTls {
  /** Absent together: an anonymous client. */
  readonly keyPem?: string;
  readonly certPem?: string;
  readonly trust: TlsTrust;
  /** The server must be a host of our cluster with one of these roles, whatever its DNS name. */
  readonly expect: readonly HostRole[];
  readonly alpn?: readonly string[];
}

/** Asks for a certificate and lets everybody in: `verifyPeer` says who it is, and if not, why. */
export function serverTlsOptions({ keyPem, certPem, trust, alpn }: ServerTls): TlsOptions {
  return {
    key: keyPem,
    cert: certPem,
    ca: [...trust.tls_host_cas, ...trust.tls_user_cas],
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.3',
    ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
  };
}

/** The handshake fails unless the server is who is expected. */
export function clientTlsOptions({ keyPem, certPem, trust, expect, alpn }: ClientTls): ConnectionOptions {
  return {
    ...(keyPem === undefined || certPem === undefined ? {} : { key: keyPem, cert: certPem }),
    ca: [...trust.tls_host_cas],
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    // Instead of the DNS name: chain and dates were found good, so its identity may be believed.
    checkServerIdentity: (_name, { raw }) => serverProblem(raw, trust, expect),
    ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
  };
}

function serverProblem(raw: Buffer, trust: TlsTrust, expect: readonly HostRole[]): Error | undefined {
  const identity = readTlsIdentity(raw);
  const problem =
    identity === undefined ? noIdentity : (clusterProblem(identity, trust) ?? roleProblem(identity, expect));
  return problem === undefined ? undefined : new AppError('denied', 'ca.wrong_server', capital(problem));
}

export type PeerVerdict =
  | { readonly ok: true; readonly identity: TlsIdentity }
  /** The peer showed no certificate at all. */
  | { readonly ok: false; readonly anonymous: true; readonly reason: string }
  /** `claimed` is who the certificate says it is; believe nothing of it but for a log line. */
  | {
      readonly ok: false;
      readonly anonymous: false;
      readonly reason: string;
      readonly claimed?: TlsIdentity;
    };

export interface PeerExpectation {
  readonly trust: TlsTrust;
  readonly now: Date;
  /** Default: anybody of ours. */
  readonly expect?: readonly ('user' | HostRole)[];
}

/**
 * What was found of a connection's peer, for servers that ask at every call: signature and text of its certificate
 * do not change while the trust is the same object. Its life, and who is expected, are looked at each time.
 */
const found = new WeakMap<TLSSocket, { readonly trust: TlsTrust; readonly identity: TlsIdentity }>();

/** Who is at the other end of a finished handshake (which proved that it holds its key). Never throws. */
export function verifyPeer(socket: TLSSocket, expectation: PeerExpectation): PeerVerdict {
  const { trust, now, expect } = expectation;
  const known = found.get(socket);
  if (known?.trust === trust && now <= known.identity.validBefore) {
    const reason = expect === undefined ? undefined : roleProblem(known.identity, expect);
    const { identity } = known;
    if (reason === undefined) return { ok: true, identity };
    return { ok: false, anonymous: false, reason, claimed: identity };
  }
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    return { ok: false, anonymous: true, reason: 'the peer showed no certificate' };
  }
  const verdict = verifyTlsCertificate(certificate, expectation);
  if (verdict.ok && socket.authorized) found.set(socket, { trust, identity: verdict.identity });
  if (!verdict.ok || socket.authorized) return verdict;
  // What OpenSSL knows beyond us, such as the purpose the certificate may serve.
  const reason = `the certificate does not hold: ${String(socket.authorizationError)}`;
  return { ok: false, anonymous: false, reason, claimed: verdict.identity };
}

/**
 * A certificate alone: authority, signature, life, cluster, role. Checked by us and not left to the handshake, which
 * may have resumed a session of before a rotation, and which cannot tell a host authority from a user authority.
 */
export function verifyTlsCertificate(
  certificate: X509Certificate,
  expectation: PeerExpectation,
): PeerVerdict {
  const identity = readTlsIdentity(certificate);
  const reason = identity === undefined ? noIdentity : certificateProblem(certificate, identity, expectation);
  if (identity !== undefined && reason === undefined) return { ok: true, identity };
  const claimed = identity === undefined ? {} : { claimed: identity };
  return { ok: false, anonymous: false, reason: reason ?? noIdentity, ...claimed };
}

const noIdentity = 'the certificate names nobody of a cluster';

function certificateProblem(
  certificate: X509Certificate,
  identity: TlsIdentity,
  { trust, now, expect }: PeerExpectation,
): string | undefined {
  const authorities = identity.kind === 'host' ? trust.tls_host_cas : trust.tls_user_cas;
  if (!authorities.some((pem) => issuedBy(certificate, pem, now))) {
    return `the certificate is not signed by a ${identity.kind} CA this cluster trusts`;
  }
  return (
    lifeProblem(certificate, now) ??
    clusterProblem(identity, trust) ??
    (expect === undefined ? undefined : roleProblem(identity, expect))
  );
}

function issuedBy(certificate: X509Certificate, authorityPem: string, now: Date): boolean {
  try {
    const authority = new X509Certificate(authorityPem);
    return (
      authority.ca &&
      certificate.checkIssued(authority) &&
      certificate.verify(authority.publicKey) &&
      lifeProblem(authority, now) === undefined
    );
  } catch {
    return false;
  }
}

function lifeProblem({ validFrom, validTo }: X509Certificate, now: Date): string | undefined {
  const [from, to] = [new Date(validFrom), new Date(validTo)];
  if (now < from) return `the certificate is not valid before ${from.toISOString()}`;
  // RFC 5280 section 4.1.2.5: the last instant is part of its life.
  return now > to ? `the certificate expired at ${to.toISOString()}` : undefined;
}

function clusterProblem({ cluster }: TlsIdentity, trust: TlsTrust): string | undefined {
  return cluster === trust.cluster_name
    ? undefined
    : `the certificate is of cluster "${printable(cluster)}", not of "${trust.cluster_name}"`;
}

function roleProblem(identity: TlsIdentity, expect: readonly ('user' | HostRole)[]): string | undefined {
  const roles: readonly string[] = identity.kind === 'user' ? ['user'] : identity.roles;
  if (expect.some((role) => roles.includes(role))) return undefined;
  const is = roles.length === 0 ? 'a host without a role' : roles.join(', ');
  return `the certificate is of ${identity.kind === 'user' ? 'a user' : `a host (${is})`}, expected: ${expect.join(' or ')}`;
}

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}
