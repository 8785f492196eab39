// X.509 v3 certificates (RFC 5280) as bytes: signed with ECDSA P-256 and SHA-256, the one algorithm of ours.
// Why not @peculiar/x509, whose parser is this writer's witness in the tests: it drops an object identifier's arc of
// 128 bits without a word, signs with keys in memory only, and costs every auth service 0.2 s at start.
import { createHash } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { derChildren, derTags, oidContent, readDer, writeDer } from './der.ts';
import type { TlsAuthority } from './tls-authority.ts';

export interface X509Contents {
  /** Big-endian; positive, at most 20 octets (RFC 5280 section 4.1.2.2), first octet from 1 to 127. */
  readonly serial: Buffer;
  /** DER of a Name. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly validAfter: Date;
  readonly validBefore: Date;
  /** DER. */
  readonly publicKey: Buffer;
  readonly extensions: readonly Buffer[];
}

const { sequence, set, integer, bitString, octetString, oid, utf8String, boolean } = derTags;
/** ecdsa-with-SHA256, no parameters (RFC 5758 section 3.2). */
const algorithm = writeDer(sequence, oidOf('1.2.840.10045.4.3.2'));
/** Context tags of TBSCertificate: [0] version (v3 is 2), [3] extensions. */
const version3 = writeDer(0xa0, writeDer(integer, Buffer.of(2)));
const extensionsTag = 0xa3;

/** Resolves to PEM. */
export async function writeCertificate(authority: TlsAuthority, contents: X509Contents): Promise<string> {
  const toBeSigned = writeDer(
    sequence,
    version3,
    writeDer(integer, contents.serial),
    algorithm,
    contents.issuer,
    writeDer(sequence, timeOf(contents.validAfter), timeOf(contents.validBefore)),
    contents.subject,
    contents.publicKey,
    writeDer(extensionsTag, writeDer(sequence, ...contents.extensions)),
  );
  const signature = await authority.sign(toBeSigned);
  return pemOf(writeDer(sequence, toBeSigned, algorithm, bits(signature)));
}

/** Attribute types and their texts, in order; each its own RDN. */
export function writeName(attributes: readonly (readonly [oid: string, text: string])[]): Buffer {
  const rdns = attributes.map(([type, text]) =>
    writeDer(set, writeDer(sequence, oidOf(type), writeDer(utf8String, Buffer.from(text, 'utf8')))),
  );
  return writeDer(sequence, ...rdns);
}

/** The subject of a certificate, as it stands there: what its leaves must repeat as their issuer, octet by octet. */
export function subjectOf(certificate: Buffer): Buffer {
  const tbs = derChildren(readDer(certificate))[0];
  // version, serial, algorithm, issuer, validity, subject
  const subject = tbs && derChildren(tbs)[5];
  if (subject === undefined) throw new Error('a certificate without a subject');
  return subject.raw;
}

/** RFC 5280 section 4.2.1.2, method 1: SHA-1 as a name, not as protection. */
export function keyIdOf(publicKey: Buffer): Buffer {
  const key = derChildren(readDer(publicKey))[1];
  // Past the BIT STRING's count of unused bits.
  return createHash('sha1')
    .update(key?.content.subarray(1) ?? '')
    .digest();
}

export function extension(type: string, value: Buffer, { critical = false } = {}): Buffer {
  const flag = critical ? [writeDer(boolean, Buffer.of(0xff))] : [];
  return writeDer(sequence, oidOf(type), ...flag, writeDer(octetString, value));
}

/** With `pathLength` it is an authority; without it, a leaf. */
export function basicConstraints(pathLength?: number): Buffer {
  const fields =
    pathLength === undefined
      ? []
      : [writeDer(boolean, Buffer.of(0xff)), writeDer(integer, Buffer.of(pathLength))];
  return extension('2.5.29.19', writeDer(sequence, ...fields), { critical: true });
}

/** Bit 0 is the first octet's highest (X.690 section 8.6.2); unused bits at the end are counted. */
export const keyUsages = {
  digitalSignature: Buffer.of(7, 0x80),
  /** keyCertSign and cRLSign, bits 5 and 6. */
  certificateSigning: Buffer.of(1, 0x06),
} as const;

export function keyUsage(usage: Buffer): Buffer {
  return extension('2.5.29.15', writeDer(bitString, usage), { critical: true });
}

export const keyPurposes = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const;

export function extendedKeyUsage(purposes: readonly string[]): Buffer {
  return extension('2.5.29.37', writeDer(sequence, ...purposes.map(oidOf)));
}

export function subjectKeyId(keyId: Buffer): Buffer {
  return extension('2.5.29.14', writeDer(octetString, keyId));
}

export function authorityKeyId(keyId: Buffer): Buffer {
  // keyIdentifier, [0] IMPLICIT OCTET STRING
  return extension('2.5.29.35', writeDer(sequence, writeDer(0x80, keyId)));
}

export interface AlternativeNames {
  readonly uri: string;
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
}

/** GeneralName's context tags (RFC 5280 section 4.2.1.6): [2] DNS name, [6] URI, [7] IP address. */
export function subjectAltName({ uri, dnsNames, ipAddresses }: AlternativeNames): Buffer {
  const names = [
    writeDer(0x86, Buffer.from(uri, 'latin1')),
    ...dnsNames.map((name) => writeDer(0x82, Buffer.from(name, 'latin1'))),
    ...ipAddresses.map((address) => writeDer(0x87, addressOctets(address))),
  ];
  return extension('2.5.29.17', writeDer(sequence, ...names));
}

function addressOctets(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  // The URL parser writes any IPv6 address in hexadecimal groups, the dotted form among them.
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const groups = (text: string) => text.split(':').filter((group) => group !== '');
  const [first, last] = [groups(head), groups(tail ?? '')];
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => '0');
  return Buffer.from([...first, ...zeros, ...last].map((group) => group.padStart(4, '0')).join(''), 'hex');
}

/** UTCTime through 2049, GeneralizedTime from 2050 on (RFC 5280 section 4.1.2.5); whole seconds, Zulu. */
function timeOf(date: Date): Buffer {
  const text = date.toISOString().replace(/\.\d+|[-:T]/g, '');
  const [tag, written] =
    date.getUTCFullYear() < 2050 ? [derTags.utcTime, text.slice(2)] : [derTags.generalizedTime, text];
  return writeDer(tag, Buffer.from(written, 'latin1'));
}

function oidOf(type: string): Buffer {
  return writeDer(oid, oidContent(type));
}

function bits(octets: Buffer): Buffer {
  return writeDer(bitString, Buffer.of(0), octets);
}

function pemOf(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}
