// Mutual TLS 1.3 among our own services: the options of both ends, and who the other end turned out to be.
import type { ConnectionOptions, TLSSocket, TlsOptions } from 'node:tls';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import type { TlsIdentity } from './tls-identity.ts';

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
export function clientTlsOptions({ keyPem, certPem, trust, alpn }: ClientTls): ConnectionOptions {
  return {
    ...(keyPem === undefined || certPem === undefined ? {} : { key: keyPem, cert: certPem }),
    ca: [...trust.tls_host_cas],
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
  };
}

export type PeerVerdict =
  | { readonly ok: true; readonly identity: TlsIdentity }
  /** The peer showed no certificate at all. */
  | { readonly ok: false; readonly anonymous: true; readonly reason: string }
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

/** Who is at the other end of a finished handshake. Never throws. */
export function verifyPeer(_socket: TLSSocket, _expectation: PeerExpectation): PeerVerdict {
  return { ok: false, anonymous: true, reason: 'not built yet' };
}
