// Certificates of users: SSH for nodes, X.509 for our own services. They say what user and roles say right now.
import type { UserCertificates } from '@sallyport/contracts/api/auth-routes.ts';
import { userCertificateSkewMs } from '@sallyport/contracts/api/lock.ts';
import { joinLogin } from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { identityExtensions, permitExtensions } from '../ca/identity.ts';
import { identityToExtensions } from '../ca/identity-extensions.ts';
import { issueCertificate } from '../ca/issue.ts';
import { fingerprint } from '../ca/known-hosts.ts';
import { parseCertificate } from '../ca/parse-certificate.ts';
import { issueUserTls } from '../ca/tls-issue.ts';
import { allowedLogins, type SessionOptions, sessionOptions } from './access.ts';
import type { Account } from './directory.ts';
import type { Parts } from './parts.ts';

export interface CertificateOrder {
  readonly account: Account;
  /** The subject's plain public key, as an SSH blob. */
  readonly sshPublicKey: Buffer;
  /** SubjectPublicKeyInfo, PEM. */
  readonly tlsPublicKey: string | undefined;
  /** Default 12 h; capped by the user's roles. */
  readonly ttlMs: number | undefined;
  /** Uuid of the second factor that was used. */
  readonly mfaDevice?: string | undefined;
  readonly actor: { readonly user: string; readonly user_kind: 1 | 2 | 3 };
}

export interface IssuedCertificates {
  readonly certificates: Omit<UserCertificates, 'tls_certificate'> & { readonly tls_certificate?: string };
  /** True when the asked-for life was longer than the roles allow. */
  readonly capped: boolean;
  /** To be told before the certificates are handed out. */
  readonly event: EventDraft;
}

export const defaultTtlMs = 12 * 3600_000;
/** At most, when no role says so. */
export const maxTtlMs = 30 * 3600_000;
const minTtlMs = 60_000;

export async function makeUserCertificates(
  parts: Parts,
  order: CertificateOrder,
): Promise<IssuedCertificates> {
  const { user, roles } = order.account;
  const logins = allowedLogins(roles, user.traits);
  const joins = roles.some(({ allow }) => (allow.joinSessions ?? []).length > 0);
  if (logins.length === 0 && !joins) throw noLogins(order.account);
  const options = sessionOptions(roles);
  const { ttlMs, capped } = chooseTtl(order.ttlMs, options.maxSessionTtlMs);
  const now = parts.now();
  const validity = {
    validAfter: new Date(now.getTime() - userCertificateSkewMs),
    validBefore: new Date(now.getTime() + ttlMs),
  };
  const { ssh, tls } = parts.authorities.active('user');
  const blob = await issueCertificate(ssh, {
    type: 'user',
    publicKey: order.sshPublicKey,
    keyId: user.name,
    // With it one joins sessions and does nothing else; no role can give it as a login (it begins with a dash).
    principals: [...logins, joinLogin],
    ...validity,
    extensions: {
      ...identityToExtensions({ ...user, ...options }),
      ...permits(options),
      ...(order.mfaDevice === undefined ? {} : { [identityExtensions.mfaDevice]: order.mfaDevice }),
    },
  });
  const { roles: roleNames, traits } = user;
  const tlsCertificate =
    order.tlsPublicKey === undefined
      ? undefined
      : await issueUserTls(tls, {
          publicKeyPem: order.tlsPublicKey,
          cluster: parts.settings.clusterName,
          user: user.name,
          roles: roleNames,
          traits,
          logins,
          mfaDevice: order.mfaDevice,
          ...validity,
        });
  const certificates = {
    user: user.name,
    logins,
    roles: [...roleNames],
    ssh_certificate: blob.toString('base64'),
    valid_before: validity.validBefore.toISOString(),
    trust: parts.authorities.trust(),
    ...(tlsCertificate === undefined ? {} : { tls_certificate: tlsCertificate }),
  };
  return { certificates, capped, event: certificateEvent(order, blob, validity) };
}

/** What the roles as a whole forward; OpenSSH's own sshd heeds these flags too. */
export function permits({ forwardAgent, x11Forwarding }: SessionOptions): Record<string, string> {
  return {
    ...(forwardAgent ? { [permitExtensions.agentForwarding]: '' } : {}),
    ...(x11Forwarding ? { [permitExtensions.x11Forwarding]: '' } : {}),
  };
}

export function certificateEvent(
  { account: { user }, actor }: Pick<CertificateOrder, 'account' | 'actor'>,
  blob: Buffer,
  { validAfter, validBefore }: { readonly validAfter: Date; readonly validBefore: Date },
): EventDraft {
  const { serial, publicKey, principals } = parseCertificate(blob);
  return {
    event: 'cert.create',
    code: 'TC000I',
    cert_type: 'user',
    identity: {
      user: user.name,
      roles: [...user.roles],
      principals: [...principals],
      serial: serial.toString(),
      fingerprint: fingerprint(publicKey),
      valid_after: validAfter.toISOString(),
      expires: validBefore.toISOString(),
    },
    ...actor,
  };
}

function noLogins({ user }: Account): AppError {
  return new AppError(
    'denied',
    'auth.no_logins',
    `The roles of "${user.name}" (${user.roles.join(', ')}) give no login.`,
    { hint: 'Give the user logins (tctl users add --logins=…), or name logins in a role.' },
  );
}

function chooseTtl(
  asked: number | undefined,
  roleMax: number | undefined,
): { ttlMs: number; capped: boolean } {
  if (asked !== undefined && asked < minTtlMs)
    throw new AppError('bad_input', 'auth.ttl_too_short', 'A certificate lives for at least a minute.');
  const limit = roleMax ?? maxTtlMs;
  return { ttlMs: Math.min(asked ?? defaultTtlMs, limit), capped: asked !== undefined && asked > limit };
}
