// Making X.509 certificates: leaves of hosts and users, and the authorities' own. The caller has decided that they
// may be made.
import { createPublicKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { generateTlsKey, pemOf, spkiPem } from './host-keys.ts';
import { KeyTlsAuthority, type TlsAuthority } from './tls-authority.ts';
import { identityOid, identityUri, type TlsClaims } from './tls-identity.ts';
import {
  authorityKeyId,
  basicConstraints,
  extendedKeyUsage,
  extension,
  keyIdOf,
  keyPurposes,
  keyUsage,
  keyUsages,
  subjectAltName,
  subjectKeyId,
  subjectOf,
  writeCertificate,
  writeName,
} from './x509-writer.ts';

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
  /** Uuid of the second factor. */
  readonly mfaDevice?: string | undefined;
  readonly validAfter: Date;
  readonly validBefore: Date;
}

/** Good for TLS as client and as server. Resolves to the leaf's PEM alone. */
export async function issueHostTls(authority: TlsAuthority, request: HostTlsRequest): Promise<string> {
  const { publicKeyPem, cluster, hostUuid, roles, validAfter, validBefore } = request;
  const claims: TlsClaims = { kind: 'host', cluster, host_uuid: hostUuid, roles: [...roles] };
  const names = { dnsNames: request.dnsNames, ipAddresses: request.ipAddresses };
  return issueLeaf(authority, { publicKeyPem, claims, names, validAfter, validBefore });
}

/** Good for TLS as client only. */
export async function issueUserTls(authority: TlsAuthority, request: UserTlsRequest): Promise<string> {
  const { publicKeyPem, cluster, user, roles, traits, logins, mfaDevice, validAfter, validBefore } = request;
  const claims: TlsClaims = {
    kind: 'user',
    cluster,
    user,
    roles: [...roles],
    traits: Object.fromEntries(Object.entries(traits).map(([name, values]) => [name, [...values]])),
    logins: [...logins],
    ...(mfaDevice === undefined ? {} : { mfa_device: mfaDevice }),
  };
  return issueLeaf(authority, {
    publicKeyPem,
    claims,
    names: { dnsNames: [], ipAddresses: [] },
    validAfter,
    validBefore,
  });
}

/** What a host is dialled by, as a certificate wants it. Names that no certificate can hold are left out. */
export function splitNames(names: readonly string[]): { dnsNames: string[]; ipAddresses: string[] } {
  // A zone (`fe80::1%eth0`) means something on one host only; a colon or blank is in no DNS name.
  const isDns = (name: string) => /^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$/.test(name);
  return {
    dnsNames: names.filter((name) => isIP(name) === 0 && isDns(name)),
    ipAddresses: names.filter((name) => isIP(name) !== 0 && !name.includes('%')),
  };
}

const authorityLifeYears = 10;
/** Clocks of others may be this much behind ours. */
const skewMs = 5 * 60 * 1000;

export interface TlsAuthorityRequest {
  readonly cluster: string;
  readonly type: 'host' | 'user';
  readonly now: Date;
}

/** A fresh authority: its file's text (see readTlsAuthority). */
export async function makeTlsAuthority({ cluster, type, now }: TlsAuthorityRequest): Promise<string> {
  const key = generateTlsKey();
  const validBefore = new Date(now);
  validBefore.setUTCFullYear(validBefore.getUTCFullYear() + authorityLifeYears);
  const serial = newSerial();
  const publicKey = spkiDer(spkiPem(key));
  // The serial in the name keeps the old and the new authority of a rotation apart for whoever looks by name.
  const name = writeName([
    [attributes.commonName, `Sallyport ${type} CA`],
    [attributes.organization, cluster],
    [attributes.serialNumber, serial.toString('hex')],
  ]);
  const certificate = await writeCertificate(new KeyTlsAuthority(key, ''), {
    serial,
    issuer: name,
    subject: name,
    validAfter: new Date(now.getTime() - skewMs),
    validBefore,
    publicKey,
    extensions: [
      // No authority below: our leaves are signed by it directly.
      basicConstraints(0),
      keyUsage(keyUsages.certificateSigning),
      subjectKeyId(keyIdOf(publicKey)),
    ],
  });
  return `${pemOf(key)}${certificate}`;
}

interface LeafRequest {
  readonly publicKeyPem: string;
  readonly claims: TlsClaims;
  readonly names: { readonly dnsNames: readonly string[]; readonly ipAddresses: readonly string[] };
  readonly validAfter: Date;
  readonly validBefore: Date;
}

async function issueLeaf(authority: TlsAuthority, request: LeafRequest): Promise<string> {
  const { claims, names, validAfter, validBefore } = request;
  if (validBefore <= validAfter) {
    throw new AppError('bad_input', 'ca.bad_validity', 'A certificate must end after it begins.');
  }
  const issuer = new X509Certificate(authority.certificatePem);
  const { clientAuth, serverAuth } = keyPurposes;
  const holder = claims.kind === 'host' ? claims.host_uuid : claims.user;
  return writeCertificate(authority, {
    serial: newSerial(),
    issuer: subjectOf(issuer.raw),
    subject: writeName([
      [attributes.commonName, holder.slice(0, maxNameLength)],
      [attributes.organization, claims.cluster.slice(0, maxNameLength)],
    ]),
    validAfter,
    validBefore,
    publicKey: spkiDer(request.publicKeyPem),
    extensions: [
      basicConstraints(),
      keyUsage(keyUsages.digitalSignature),
      // A person's certificate must never stand in for a server.
      extendedKeyUsage(claims.kind === 'host' ? [serverAuth, clientAuth] : [clientAuth]),
      authorityKeyId(keyIdOf(issuer.publicKey.export({ type: 'spki', format: 'der' }))),
      subjectAltName({ uri: identityUri(claims), ...names }),
      extension(identityOid, Buffer.from(JSON.stringify(claims))),
    ],
  });
}

/** X.520 attribute types. */
const attributes = { commonName: '2.5.4.3', serialNumber: '2.5.4.5', organization: '2.5.4.10' } as const;
/** RFC 5280 appendix A.1, ub-common-name and ub-organization-name; nothing reads a leaf's subject back. */
const maxNameLength = 64;

/** The one kind of key we certify. A weak or exotic one would be the weakest link of every connection. */
function spkiDer(publicKeyPem: string): Buffer {
  let key: KeyObject;
  try {
    key = createPublicKey(publicKeyPem);
  } catch (error) {
    throw new AppError('bad_input', 'ca.bad_encoding', 'The TLS public key cannot be read.', {
      cause: error,
    });
  }
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new AppError('bad_input', 'ca.bad_encoding', 'The TLS public key is not an ECDSA P-256 key.');
  }
  return key.export({ type: 'spki', format: 'der' });
}

/** 126 random bits, the first octet from 64 to 127: positive, and no leading zero to argue over. */
function newSerial(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes;
}
