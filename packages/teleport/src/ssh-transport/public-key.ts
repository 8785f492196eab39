// Keys as SSH writes them (RFC 4253 6.6, RFC 5656, RFC 8332, RFC 8709): the plain key inside a certificate, proof of
// possession, signatures. Certificates are not judged here, only opened far enough to find the key.
import {
  constants,
  createPublicKey,
  type KeyObject,
  sign as signBytes,
  verify as verifyBytes,
} from 'node:crypto';
import { algorithmsForBlobType, plainType, type SignatureAlgorithm } from './algorithms.ts';
import { encode, fixedWidth, toMpint, WireReader } from './wire.ts';

/** Coordinate width in bytes and JWK name of each curve. */
const CURVES: Readonly<Record<string, { readonly jwk: string; readonly bytes: number }>> = {
  nistp256: { jwk: 'P-256', bytes: 32 },
  nistp384: { jwk: 'P-384', bytes: 48 },
  nistp521: { jwk: 'P-521', bytes: 66 },
};

/** Verifying costs grow with the modulus and more so with the exponent; sshd stops at 16,384 bits. */
const RSA_MIN_BITS = 2048;
const RSA_MAX_BITS = 8192;
const RSA_MAX_EXPONENT_BYTES = 4;
/** An ed25519 certificate with 100 principals has some 5 KiB. */
const MAX_BLOB_BYTES = 32 * 1024;

/** How many strings hold the public key, in a plain blob and in a certificate (after its nonce). */
const FIELD_COUNT: Readonly<Record<string, number>> = { 'ssh-ed25519': 1, 'ssh-rsa': 2 };

/**
 * The plain public key blob inside a certificate, or the blob itself; undefined when it is not a well-formed key of
 * a kind we know. Whatever follows the key in a certificate is not looked at.
 */
export function plainKey(blob: Buffer): Buffer | undefined {
  if (blob.length > MAX_BLOB_BYTES) return undefined;
  const reader = new WireReader(blob);
  const blobType = reader.text();
  if (algorithmsForBlobType(blobType).length === 0) return undefined;
  const keyType = plainType(blobType);
  const isCertificate = keyType !== blobType;
  if (isCertificate) reader.string(); // nonce
  const fields = Array.from({ length: FIELD_COUNT[keyType] ?? 2 }, () => reader.string());
  if (!reader.ok || (!isCertificate && !reader.done)) return undefined;
  return encode(keyType, ...fields);
}

function curveOf(keyType: string) {
  return CURVES[keyType.replace('ecdsa-sha2-', '')];
}

function jwkOf(keyType: string, reader: WireReader): Record<string, string> | undefined {
  if (keyType === 'ssh-ed25519') {
    const x = reader.string();
    return x.length === 32 ? { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url') } : undefined;
  }
  if (keyType === 'ssh-rsa') {
    const e = reader.string();
    const n = toMpint(reader.string());
    const bits = n.length * 8 - Math.clz32(n[0] ?? 0) + 24;
    if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS || e.length > RSA_MAX_EXPONENT_BYTES) return undefined;
    return { kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') };
  }
  const curve = curveOf(keyType);
  const name = reader.text();
  const point = reader.string();
  if (!curve || keyType !== `ecdsa-sha2-${name}`) return undefined;
  if (point.length !== 1 + 2 * curve.bytes || point[0] !== 4) return undefined; // uncompressed (RFC 5656 3.1)
  const x = point.subarray(1, 1 + curve.bytes).toString('base64url');
  const y = point.subarray(1 + curve.bytes).toString('base64url');
  return { kty: 'EC', crv: curve.jwk, x, y };
}

/** The key in a plain blob; undefined when it is malformed, off its curve, or an RSA key of an unfit size. */
export function keyObject(plainBlob: Buffer): KeyObject | undefined {
  const reader = new WireReader(plainBlob);
  const jwk = jwkOf(reader.text(), reader);
  if (!jwk || !reader.done) return undefined;
  try {
    return createPublicKey({ key: jwk, format: 'jwk' });
  } catch {
    return undefined;
  }
}

/** The plain blob of a key pair's public half. */
export function publicBlob(key: KeyObject): Buffer {
  const jwk = key.export({ format: 'jwk' });
  const bytes = (name: 'x' | 'y' | 'n' | 'e') => Buffer.from(jwk[name] ?? '', 'base64url');
  if (jwk.kty === 'OKP') return encode('ssh-ed25519', bytes('x'));
  if (jwk.kty === 'RSA') return encode('ssh-rsa', toMpint(bytes('e')), toMpint(bytes('n')));
  const [name] = Object.entries(CURVES).find(([, curve]) => curve.jwk === jwk.crv) ?? [];
  if (!name) throw new Error(`not a kind of key SSH can use: ${jwk.kty} ${jwk.crv}`);
  return encode(`ecdsa-sha2-${name}`, name, Buffer.concat([Buffer.from([4]), bytes('x'), bytes('y')]));
}

function rawSignature(algorithm: SignatureAlgorithm, key: KeyObject, bytes: Buffer): Buffer | undefined {
  if (algorithm.keyType === 'ssh-rsa') {
    // Some signers drop leading zeros (RFC 8332 section 3 asks for the full width).
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    return fixedWidth(Buffer.concat([Buffer.alloc(1), bytes]), Math.ceil(bits / 8));
  }
  const curve = curveOf(algorithm.keyType);
  if (!curve) return bytes;
  const reader = new WireReader(bytes);
  const r = fixedWidth(reader.string(), curve.bytes);
  const s = fixedWidth(reader.string(), curve.bytes);
  return reader.done && r && s ? Buffer.concat([r, s]) : undefined;
}

/** Was `data` signed with the private key of `plainBlob`? `signature` is the whole SSH signature (type, bytes). */
export function verifySignature(
  algorithm: SignatureAlgorithm,
  plainBlob: Buffer,
  signature: Buffer,
  data: Buffer,
): boolean {
  const key = keyObject(plainBlob);
  const reader = new WireReader(signature);
  const type = reader.text();
  const bytes = reader.string();
  if (!key || !reader.done || type !== algorithm.signatureType) return false;
  if (new WireReader(plainBlob).text() !== algorithm.keyType) return false;
  const raw = rawSignature(algorithm, key, bytes);
  if (!raw) return false;
  try {
    return verifyBytes(algorithm.hash, data, { key, ...SIGNATURE_FORM }, raw);
  } catch {
    return false;
  }
}

/** Each setting is read only for its own kind of key. */
const SIGNATURE_FORM = { dsaEncoding: 'ieee-p1363', padding: constants.RSA_PKCS1_PADDING } as const;

/** The bytes inside an SSH signature: ECDSA as two mpints, the others as they are. */
export function signRaw(algorithm: SignatureAlgorithm, privateKey: KeyObject, data: Buffer): Buffer {
  const form = algorithm.keyType === 'ssh-ed25519' ? {} : SIGNATURE_FORM;
  const raw = signBytes(algorithm.hash, data, { key: privateKey, ...form });
  const curve = curveOf(algorithm.keyType);
  if (!curve) return raw;
  return encode(toMpint(raw.subarray(0, curve.bytes)), toMpint(raw.subarray(curve.bytes)));
}

export function signature(algorithm: SignatureAlgorithm, privateKey: KeyObject, data: Buffer): Buffer {
  return encode(algorithm.signatureType, signRaw(algorithm, privateKey, data));
}
