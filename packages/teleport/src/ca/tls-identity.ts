// Who an X.509 certificate of ours names: the form it is written in, and reading it. Read, not verified: believe
// it only after verifyPeer, or after a TLS handshake against our authorities.
//
// One extension of our own holds everything as JSON; a SAN URI repeats the name for tools that print certificates
// and must agree. Nothing is read from the subject: its fields mean something else to others.
import { X509Certificate } from 'node:crypto';
import { type HostRole, hostRoles } from '@sallyport/contracts/api/route.ts';
import { z } from 'zod';
import { type DerValue, derChildren, derTags, oidContent, readDer } from './der.ts';

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
  /** Uuid of the second factor it was made with. */
  readonly mfaDevice: string | undefined;
  readonly validAfter: Date;
  readonly validBefore: Date;
}

export type TlsIdentity = HostTlsIdentity | UserTlsIdentity;

// 2.25 is the arc of UUIDs (ITU-T X.667), free for all; this one was drawn at random for the identity's JSON.
export const identityOid = '2.25.155602691542207784660976809634432982773';
const identityOidDer = oidContent(identityOid);
const subjectAltNameDer = oidContent('2.5.29.17');
/** GeneralName [6] uniformResourceIdentifier, IMPLICIT IA5String (RFC 5280 section 4.2.1.6). */
const uriTag = 0x86;
/** TBSCertificate's extensions, [3] EXPLICIT. */
const extensionsTag = 0xa3;

const strings = z.array(z.string());
const claims = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('host'),
    cluster: z.string().min(1),
    host_uuid: z.string().min(1),
    roles: z.array(z.enum(hostRoles)),
  }),
  z.strictObject({
    kind: z.literal('user'),
    cluster: z.string().min(1),
    user: z.string().min(1),
    roles: strings,
    traits: z.record(z.string(), strings),
    logins: strings,
    mfa_device: z.string().optional(),
  }),
]);
/** What the extension holds. */
export type TlsClaims = z.output<typeof claims>;

export function identityUri(claimed: TlsClaims): string {
  const name = claimed.kind === 'host' ? claimed.host_uuid : claimed.user;
  return `sallyport://${encodeURIComponent(claimed.cluster)}/${claimed.kind}/${encodeURIComponent(name)}`;
}

/** `undefined`: not a certificate, or not one that names somebody in our terms. Never throws. */
export function readTlsIdentity(certificate: Buffer | string | X509Certificate): TlsIdentity | undefined {
  try {
    const parsed = certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate);
    return identityOf(parsed);
  } catch {
    return undefined;
  }
}

function identityOf(certificate: X509Certificate): TlsIdentity | undefined {
  const extensions = extensionsOf(certificate.raw);
  const own = extensions.filter(({ oid }) => oid.equals(identityOidDer));
  const names = extensions.filter(({ oid }) => oid.equals(subjectAltNameDer));
  // Twice the same extension: whoever else reads it may take the other one.
  if (own.length !== 1 || names.length !== 1) return undefined;
  const claimed = claims.safeParse(JSON.parse(own[0]?.value.toString('utf8') ?? ''));
  if (!claimed.success || !onlyUri(names[0]?.value, identityUri(claimed.data))) return undefined;
  return toIdentity(claimed.data, certificate);
}

function toIdentity(claimed: TlsClaims, certificate: X509Certificate): TlsIdentity {
  const validBefore = new Date(certificate.validTo);
  if (claimed.kind === 'user') {
    const { mfa_device: mfaDevice, ...user } = claimed;
    return { ...user, mfaDevice, validAfter: new Date(certificate.validFrom), validBefore };
  }
  const { host_uuid: hostUuid, ...rest } = claimed;
  return { ...rest, hostUuid, validBefore };
}

function onlyUri(names: Buffer | undefined, expected: string): boolean {
  if (names === undefined) return false;
  const uris = derChildren(readDer(names)).filter(({ tag }) => tag === uriTag);
  return uris.length === 1 && uris[0]?.content.toString('latin1') === expected;
}

interface Extension {
  readonly oid: Buffer;
  readonly value: Buffer;
}

/** Certificate → TBSCertificate → [3] → Extensions → { extnID, critical?, extnValue } (RFC 5280 section 4.1). */
function extensionsOf(certificate: Buffer): Extension[] {
  const tbs = derChildren(readDer(certificate))[0];
  const holder = tbs && derChildren(tbs).find(({ tag }) => tag === extensionsTag);
  const list = holder && derChildren(holder)[0];
  return list === undefined ? [] : derChildren(list).map(extensionOf);
}

function extensionOf(value: DerValue): Extension {
  const parts = derChildren(value);
  const [oid, content] = [parts[0], parts.at(-1)];
  const found = oid?.tag === derTags.oid && content?.tag === derTags.octetString;
  return found
    ? { oid: oid.content, value: content.content }
    : { oid: Buffer.alloc(0), value: Buffer.alloc(0) };
}
