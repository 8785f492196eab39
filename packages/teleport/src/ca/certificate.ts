// The OpenSSH certificate as a value (openssh-portable PROTOCOL.certkeys, "cert-v01@openssh.com").
// Reading it from bytes is parse-certificate.ts, making one is issue.ts, trusting one is verify.ts.
import type { KeyType } from './signer.ts';

export type CertificateType = 'user' | 'host';

export interface Certificate {
  readonly type: CertificateType;
  /** The subject's plain public key, as an SSH blob. */
  readonly publicKey: Buffer;
  readonly keyType: KeyType;
  readonly serial: bigint;
  readonly keyId: string;
  /** Log-in names or host names. Empty means "any" to OpenSSH; our verifier refuses that. */
  readonly principals: readonly string[];
  /** Unix seconds. `forever` is 2^64 − 1. */
  readonly validAfter: bigint;
  readonly validBefore: bigint;
  /** Name → data as on the wire: empty for a flag, else usually one wrapped string (see optionText). */
  readonly criticalOptions: ReadonlyMap<string, Buffer>;
  readonly extensions: ReadonlyMap<string, Buffer>;
  /** The CA's public key, as an SSH blob. Says who *claims* to have signed; verify before believing. */
  readonly signatureKey: Buffer;
  /** The complete SSH signature blob, and the bytes it covers. */
  readonly signature: Buffer;
  readonly signedData: Buffer;
}

/** PROTOCOL.certkeys: valid before 2^64 − 1 means the certificate never ends. */
export const forever = (1n << 64n) - 1n;
