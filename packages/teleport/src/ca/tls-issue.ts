// Making X.509 leaves. The caller has decided that they may be made.
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { TlsAuthority } from './tls-authority.ts';

export interface HostTlsRequest {
  /** SubjectPublicKeyInfo, PEM: ECDSA P-256. */
  readonly publicKeyPem: string;
  readonly cluster: string;
  readonly hostUuid: string;
  readonly roles: readonly HostRole[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly validAfter: Date;
  readonly validBefore: Date;
}

export interface UserTlsRequest {
  readonly publicKeyPem: string;
  readonly cluster: string;
  readonly user: string;
  readonly roles: readonly string[];
  readonly traits: Readonly<Record<string, readonly string[]>>;
  readonly logins: readonly string[];
  readonly validAfter: Date;
  readonly validBefore: Date;
}

/** Good for TLS as client and as server. Resolves to the leaf's PEM alone. */
export async function issueHostTls(_authority: TlsAuthority, _request: HostTlsRequest): Promise<string> {
  throw new AppError('unsupported', 'ca.not_yet', 'Not built yet.');
}

/** Good for TLS as client only. */
export async function issueUserTls(_authority: TlsAuthority, _request: UserTlsRequest): Promise<string> {
  throw new AppError('unsupported', 'ca.not_yet', 'Not built yet.');
}
