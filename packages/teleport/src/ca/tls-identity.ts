// Who an X.509 certificate of ours names. Read, not verified: believe it only after verifyPeer or a TLS handshake
// against our authorities.
import type { HostRole } from '@sallyport/contracts/api/route.ts';

export interface HostTlsIdentity {
  readonly kind: 'host';
  readonly cluster: string;
  readonly hostUuid: string;
  readonly roles: readonly HostRole[];
  readonly validBefore: Date;
}

export interface UserTlsIdentity {
  readonly kind: 'user';
  readonly cluster: string;
  readonly user: string;
  readonly roles: readonly string[];
  readonly traits: Readonly<Record<string, readonly string[]>>;
  readonly logins: readonly string[];
  readonly validBefore: Date;
}

export type TlsIdentity = HostTlsIdentity | UserTlsIdentity;

/** `undefined`: not a certificate, or not one that names somebody in our terms. Never throws. */
export function readTlsIdentity(_certificate: Buffer | string): TlsIdentity | undefined {
  return undefined;
}
