// Bytes → Certificate. Strict: the shortest and canonical encoding or an error; nothing is believed yet.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Certificate, CertificateType } from './certificate.ts';
import { isKeyType, parsePublicKey, printable, publicKeyBlob, readKeyFields } from './public-key.ts';
import type { KeyType } from './signer.ts';
import { badWire, WireReader } from './wire.ts';

// sshd takes at most 256 principals in a certificate (SSHKEY_CERT_MAX_PRINCIPALS); so do we.
const maxPrincipals = 256;
const maxCertificateBytes = 64 * 1024;
const suffix = '-cert-v01@openssh.com';

/** Is this the name of a certificate key type (not of a plain key)? */
export function isCertificateType(algorithm: string): boolean {
  return algorithm.endsWith(suffix);
}

export function certificateTypeName(keyType: KeyType): string {
  return `${keyType}${suffix}`;
}

/** Throws AppError kind `bad_input` on anything that is not a well-formed certificate of an accepted type. */
export function parseCertificate(blob: Buffer): Certificate {
  if (blob.length > maxCertificateBytes) {
    throw new AppError(
      'bad_input',
      'ca.bad_encoding',
      `certificate: longer than ${maxCertificateBytes} bytes`,
    );
  }
  const reader = new WireReader(blob, 'certificate');
  const keyType = readKeyType(reader);
  reader.bytes('nonce');
  const publicKey = publicKeyBlob(readKeyFields(reader, keyType).key);
  const serial = reader.u64('serial');
  const type = readType(reader);
  const keyId = reader.text('key id');
  const principals = readPrincipals(reader.bytes('principals'));
  const validAfter = reader.u64('valid after');
  const validBefore = reader.u64('valid before');
  const criticalOptions = readOptions(reader.bytes('critical options'), 'critical option');
  const extensions = readOptions(reader.bytes('extensions'), 'extension');
  reader.bytes('reserved');
  const signatureKey = reader.bytes('signature key');
  // A CA must be a plain key: chained certificates do not exist (PROTOCOL.certkeys).
  parsePublicKey(signatureKey);
  const signedData = blob.subarray(0, reader.offset);
  const signature = reader.bytes('signature');
  reader.end();
  return {
    type,
    publicKey,
    keyType,
    serial,
    keyId,
    principals,
    validAfter,
    validBefore,
    criticalOptions,
    extensions,
    signatureKey,
    signature,
    signedData,
  };
}

function readKeyType(reader: WireReader): KeyType {
  const name = reader.text('type');
  const plain = name.slice(0, -suffix.length);
  if (!isCertificateType(name) || !isKeyType(plain)) {
    throw badWire(`certificate: type "${printable(name)}" is not accepted`);
  }
  return plain;
}

function readType(reader: WireReader): CertificateType {
  const type = reader.u32('certificate type');
  if (type === 1) return 'user';
  if (type === 2) return 'host';
  throw badWire(`certificate: type ${type} is neither user (1) nor host (2)`);
}

function readPrincipals(packed: Buffer): string[] {
  const reader = new WireReader(packed, 'certificate principals');
  const names: string[] = [];
  while (!reader.done) {
    if (names.length === maxPrincipals) throw badWire(`certificate: more than ${maxPrincipals} principals`);
    names.push(reader.text('name'));
  }
  return names;
}

/**
 * (name, data) pairs. PROTOCOL.certkeys: lexically ordered, each name once. Enforcing it here leaves one reading
 * of a certificate: with a name given twice, two verifiers could honour different values.
 */
function readOptions(packed: Buffer, what: string): Map<string, Buffer> {
  const reader = new WireReader(packed, what);
  const options = new Map<string, Buffer>();
  let previous: Buffer | undefined;
  while (!reader.done) {
    const name = reader.text('name');
    const bytes = Buffer.from(name, 'utf8');
    if (previous !== undefined && Buffer.compare(previous, bytes) >= 0) {
      throw badWire(`certificate: ${what} "${printable(name)}" is out of order or repeated`);
    }
    previous = bytes;
    options.set(name, reader.bytes('data'));
  }
  return options;
}

/** The text in an option's data, which is a string inside the string; a flag has empty data. */
export function optionText(data: Buffer, name: string): string {
  if (data.length === 0) return '';
  const reader = new WireReader(data, `option ${printable(name)}`);
  const value = reader.text('value');
  reader.end();
  return value;
}
