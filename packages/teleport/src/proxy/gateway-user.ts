// Who comes to the gateway. Any certificate of the cluster's user CA that is in force; the login name means nothing
// here, for the gateway has no accounts.
import { issuedAt, lockedOut } from '@sallyport/contracts/api/lock.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parseCertificate } from '../ca/parse-certificate.ts';
import { verifyUserCertificate } from '../ca/verify.ts';
import type { AuthAttempt, AuthDecision } from '../ssh-transport/ssh-server.ts';
import type { ClusterTrust } from './cluster-trust.ts';
import type { ProxyOptions } from './proxy.ts';

export interface GatewayUser {
  readonly user: string;
  readonly roles: readonly string[];
  readonly mfaDevice: string | undefined;
  /** When the certificate was made. */
  readonly issued: Date;
  readonly validBefore: Date | undefined;
}

/** The transport has verified that the peer holds the certificate's private key. */
export function judgeUser(
  { cluster, now }: Pick<ProxyOptions, 'cluster' | 'now'>,
  trust: ClusterTrust,
  { blob, remote }: Pick<AuthAttempt, 'blob' | 'remote'>,
): AuthDecision<GatewayUser> {
  const verdict = verifyUserCertificate({
    blob,
    trustedCas: trust.authorities.user,
    login: anyLogin(blob),
    now: now(),
    remoteAddress: remote.host,
  });
  if (!verdict.ok) {
    // Untrusted text; it helps whoever reads the log and proves nothing.
    const claimed = verdict.claimedUser === undefined ? '' : ` (the certificate says ${verdict.claimedUser})`;
    return { ok: false, reason: `${verdict.reason}${claimed}` };
  }
  const { user, roles, mfaDevice, validAfter, validBefore } = verdict.identity;
  const identity = { user, roles, mfaDevice, issued: issuedAt(validAfter), validBefore };
  const locked = lockedOut(identity, cluster.locks, now());
  return locked === undefined ? { ok: true, identity } : { ok: false, reason: locked };
}

/** One the certificate names; none, and the verifier refuses it: a certificate for every account is not ours. */
function anyLogin(blob: Buffer): string {
  try {
    return parseCertificate(blob).principals[0] ?? '';
  } catch (error) {
    if (error instanceof AppError) return '';
    throw error;
  }
}
