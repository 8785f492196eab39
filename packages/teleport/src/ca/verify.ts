// Trusting a certificate. Refuses by default: whatever is not understood is a reason to say no.
import { timingSafeEqual } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type Certificate, type CertificateType, forever } from './certificate.ts';
import type { Identity } from './identity.ts';
import { readIdentity } from './identity-extensions.ts';
import { optionText, parseCertificate } from './parse-certificate.ts';
import { printable } from './public-key.ts';
import { verifySignature } from './signature.ts';
import { addressAllowed } from './source-address.ts';

export interface UserCertificateCheck {
  /** The certificate as the peer sent it. That the peer holds its private key is for the transport to prove. */
  readonly blob: Buffer;
  /** SSH blobs of the user CAs. */
  readonly trustedCas: readonly Buffer[];
  /** The host account asked for. */
  readonly login: string;
  readonly now: Date;
  readonly remoteAddress: string;
}

/** `reason` is for the log and the operator; a peer is told no more than "permission denied". */
export type UserCertificateVerdict =
  | { readonly ok: true; readonly identity: Identity; readonly certificate: Certificate }
  | { readonly ok: false; readonly reason: string; readonly claimedUser?: string };

/** Never throws. */
export function verifyUserCertificate(check: UserCertificateCheck): UserCertificateVerdict {
  const parsed = tryParse(check.blob);
  if (typeof parsed === 'string') return { ok: false, reason: parsed };
  const reason =
    trustProblem(parsed, 'user', check.trustedCas, check.now) ??
    loginProblem(parsed, check.login) ??
    criticalProblem(parsed, check.remoteAddress);
  if (reason !== undefined) return { ok: false, reason, claimedUser: printable(parsed.keyId) };
  const identity = readIdentity(parsed);
  if (typeof identity === 'string')
    return { ok: false, reason: identity, claimedUser: printable(parsed.keyId) };
  return { ok: true, identity, certificate: parsed };
}

export interface HostCertificateCheck {
  readonly blob: Buffer;
  readonly trustedCas: readonly Buffer[];
  /** The name or address the client set out to reach. */
  readonly host: string;
  readonly now: Date;
}

export type HostCertificateVerdict =
  | { readonly ok: true; readonly publicKey: Buffer; readonly certificate: Certificate }
  | { readonly ok: false; readonly reason: string };

/** Never throws. */
export function verifyHostCertificate(check: HostCertificateCheck): HostCertificateVerdict {
  const parsed = tryParse(check.blob);
  if (typeof parsed === 'string') return { ok: false, reason: parsed };
  const reason = trustProblem(parsed, 'host', check.trustedCas, check.now) ?? hostProblem(parsed, check.host);
  if (reason !== undefined) return { ok: false, reason };
  return { ok: true, publicKey: parsed.publicKey, certificate: parsed };
}

function tryParse(blob: Buffer): Certificate | string {
  try {
    return parseCertificate(blob);
  } catch (error) {
    return AppError.from(error).message;
  }
}

/** Type, CA, signature, life; in that order, so that nothing signed is believed before its signature holds. */
function trustProblem(
  certificate: Certificate,
  type: CertificateType,
  trustedCas: readonly Buffer[],
  now: Date,
): string | undefined {
  if (certificate.type !== type)
    return `the certificate is a ${certificate.type} certificate, not a ${type} one`;
  if (!trustedCas.some((ca) => sameBytes(ca, certificate.signatureKey))) {
    return 'the certificate is signed by a CA this cluster does not trust';
  }
  if (!verifySignature(certificate.signatureKey, certificate.signature, certificate.signedData)) {
    return "the certificate's signature does not hold: it was altered or forged";
  }
  return lifeProblem(certificate, now);
}

function lifeProblem(certificate: Certificate, now: Date): string | undefined {
  const seconds = BigInt(Math.floor(now.getTime() / 1000));
  if (seconds < certificate.validAfter) {
    return `the certificate is not valid before ${unixTime(certificate.validAfter)}`;
  }
  // As sshd: valid before is exclusive.
  if (certificate.validBefore !== forever && seconds >= certificate.validBefore) {
    return `the certificate expired at ${unixTime(certificate.validBefore)}`;
  }
  return undefined;
}

function loginProblem(certificate: Certificate, login: string): string | undefined {
  if (certificate.principals.length === 0) return 'the certificate names no login';
  if (certificate.principals.some((name) => sameText(name, login))) return undefined;
  return `login "${printable(login)}" is not among the certificate's logins`;
}

/** OpenSSH's rule for hosts: an empty list fits any name; names compare without case (they are DNS names). */
function hostProblem(certificate: Certificate, host: string): string | undefined {
  const wanted = host.toLowerCase();
  if (certificate.principals.some((name) => sameText(name.toLowerCase(), wanted))) {
    return certificate.criticalOptions.size === 0
      ? undefined
      : 'the host certificate has unknown critical options';
  }
  return `the host certificate is not for "${printable(host)}"`;
}

/** PROTOCOL.certkeys: an unknown critical option must refuse. So does a known one that we do not carry out. */
function criticalProblem(certificate: Certificate, remoteAddress: string): string | undefined {
  for (const [name, data] of certificate.criticalOptions) {
    if (name !== 'source-address') {
      const known = name === 'force-command' || name === 'verify-required@openssh.com';
      const what = known ? 'is not supported' : 'is unknown';
      return `critical option "${printable(name)}" ${what}, so the certificate is refused`;
    }
    const allowed = sourceAllowed(data, remoteAddress);
    if (allowed === undefined) return 'critical option "source-address" is malformed';
    if (!allowed) return `the certificate may not be used from ${printable(remoteAddress)} (source-address)`;
  }
  return undefined;
}

function sourceAllowed(data: Buffer, remoteAddress: string): boolean | undefined {
  try {
    return addressAllowed(optionText(data, 'source-address'), remoteAddress);
  } catch {
    return undefined;
  }
}

function sameBytes(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function sameText(a: string, b: string): boolean {
  return sameBytes(Buffer.from(a, 'utf8'), Buffer.from(b, 'utf8'));
}

function unixTime(seconds: bigint): string {
  // Beyond what Date can hold (year 275760) the number itself is the clearest thing to print.
  const ms = seconds * 1000n;
  return ms > 8_640_000_000_000_000n ? `second ${seconds}` : new Date(Number(ms)).toISOString();
}
