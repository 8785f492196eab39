// Making certificates. The caller has decided that it may be made; here only the bytes are right or wrong.
import { randomBytes } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { CertificateType } from './certificate.ts';
import { certificateTypeName, parseCertificate } from './parse-certificate.ts';
import { parsePublicKey } from './public-key.ts';
import type { Signer } from './signer.ts';
import { str, u32, u64, WireReader } from './wire.ts';

export interface CertificateRequest {
  readonly type: CertificateType;
  /** The subject's plain public key, as an SSH blob. */
  readonly publicKey: Buffer;
  readonly keyId: string;
  readonly principals: readonly string[];
  readonly validAfter: Date;
  readonly validBefore: Date;
  /** Default: 63 random bits (positive for readers that know signed numbers only). */
  readonly serial?: bigint;
  /** Name → text; '' makes a flag. */
  readonly criticalOptions?: Readonly<Record<string, string>>;
  readonly extensions?: Readonly<Record<string, string>>;
}

/** Resolves to the certificate's SSH blob. Refuses what our own parser would not take back. */
export async function issueCertificate(ca: Signer, request: CertificateRequest): Promise<Buffer> {
  if (request.principals.length === 0) {
    // To OpenSSH an empty list means every principal: the opposite of what a caller with no logins wants.
    throw new AppError('bad_input', 'ca.no_principals', 'A certificate needs at least one principal.');
  }
  if (request.validBefore <= request.validAfter) {
    throw new AppError('bad_input', 'ca.bad_validity', 'A certificate must end after it begins.');
  }
  const unsigned = encodeUnsigned(ca, request);
  const certificate = Buffer.concat([unsigned, str(await ca.sign(unsigned))]);
  parseCertificate(certificate);
  return certificate;
}

/** Everything before the signature, in the order of PROTOCOL.certkeys. */
function encodeUnsigned(ca: Signer, request: CertificateRequest): Buffer {
  const { keyType } = parsePublicKey(request.publicKey);
  const plain = new WireReader(request.publicKey, 'public key');
  plain.text('type');
  return Buffer.concat([
    str(certificateTypeName(keyType)),
    // The nonce keeps a peer who chooses the fields from choosing the hash the CA signs.
    str(randomBytes(32)),
    request.publicKey.subarray(plain.offset),
    u64(request.serial ?? randomBytes(8).readBigUInt64BE() >> 1n),
    u32(request.type === 'user' ? 1 : 2),
    str(request.keyId),
    str(Buffer.concat(request.principals.map(str))),
    u64(unixSeconds(request.validAfter)),
    u64(unixSeconds(request.validBefore)),
    str(encodeOptions(request.criticalOptions ?? {})),
    str(encodeOptions(request.extensions ?? {})),
    str(''),
    str(ca.publicKey),
  ]);
}

/** Sorted by bytes, as PROTOCOL.certkeys demands: sshd and our parser read them in that order only. */
function encodeOptions(options: Readonly<Record<string, string>>): Buffer {
  const entries = Object.entries(options).map(([name, value]) => ({
    name: Buffer.from(name, 'utf8'),
    value,
  }));
  entries.sort((a, b) => Buffer.compare(a.name, b.name));
  return Buffer.concat(
    entries.flatMap(({ name, value }) => [str(name), str(value === '' ? '' : str(value))]),
  );
}

function unixSeconds(date: Date): bigint {
  return BigInt(Math.floor(date.getTime() / 1000));
}
