// Plain SSH public keys: blob ↔ node:crypto. The three types we accept, and no others.
import { createPublicKey, type KeyObject } from 'node:crypto';
import type { KeyType } from './signer.ts';
import { badWire, mpint, str, WireReader } from './wire.ts';

// RSA below 2048 bits is refused (as sshd's RequiredRSASize may); above 8192 a verification costs too much CPU.
const minRsaBits = 2048;
const maxRsaBits = 8192;

export interface PublicKey {
  readonly keyType: KeyType;
  readonly key: KeyObject;
}

/** The fields of a key after its type name; certificates carry the very same fields after the nonce. */
export function readKeyFields(reader: WireReader, keyType: KeyType): PublicKey {
  switch (keyType) {
    case 'ssh-ed25519':
      return { keyType, key: ed25519Key(reader.bytes('ed25519 point')) };
    case 'ecdsa-sha2-nistp256': {
      if (reader.text('curve') !== 'nistp256') throw badWire('public key: curve is not nistp256');
      return { keyType, key: p256Key(reader.bytes('ecdsa point')) };
    }
    case 'ssh-rsa': {
      const exponent = reader.mpint('RSA exponent');
      return { keyType, key: rsaKey(reader.mpint('RSA modulus'), exponent) };
    }
  }
}

/** Throws AppError `ca.bad_encoding` on anything but a well-formed key of an accepted type. */
export function parsePublicKey(blob: Buffer): PublicKey {
  const reader = new WireReader(blob, 'public key');
  const keyType = reader.text('type');
  if (!isKeyType(keyType)) throw badWire(`public key: type "${printable(keyType)}" is not accepted`);
  const key = readKeyFields(reader, keyType);
  reader.end();
  return key;
}

export function isKeyType(name: string): name is KeyType {
  return name === 'ssh-ed25519' || name === 'ecdsa-sha2-nistp256' || name === 'ssh-rsa';
}

/** node:crypto key (public, or the public half of a private one) → SSH blob. */
export function publicKeyBlob(key: KeyObject): Buffer {
  const jwk = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' });
  const field = (value: unknown) => Buffer.from(String(value), 'base64url');
  if (jwk.kty === 'OKP' && jwk.crv === 'Ed25519')
    return Buffer.concat([str('ssh-ed25519'), str(field(jwk.x))]);
  if (jwk.kty === 'EC' && jwk.crv === 'P-256') {
    const point = Buffer.concat([Buffer.of(4), field(jwk.x), field(jwk.y)]);
    return Buffer.concat([str('ecdsa-sha2-nistp256'), str('nistp256'), str(point)]);
  }
  if (jwk.kty === 'RSA') return Buffer.concat([str('ssh-rsa'), mpint(field(jwk.e)), mpint(field(jwk.n))]);
  throw badWire(`public key: ${jwk.kty} ${jwk.crv ?? ''} is not an accepted type`);
}

/** `ssh-ed25519 AAAA… comment`, or a certificate line → its blob. Reads only the first line. */
export function parsePublicKeyLine(line: string): Buffer {
  const [type, encoded] = line.trim().split(/\s+/, 2);
  if (type === undefined || encoded === undefined) throw badWire('public key line: expected "type base64"');
  const blob = Buffer.from(encoded, 'base64');
  // The name before the base64 must be the one inside, or the file says one thing and means another.
  if (new WireReader(blob, 'public key line').text('type') !== type) {
    throw badWire('public key line: the type does not match the key');
  }
  return blob;
}

export function publicKeyLine(blob: Buffer, comment = ''): string {
  const type = new WireReader(blob, 'public key').text('type');
  return `${type} ${blob.toString('base64')}${comment === '' ? '' : ` ${comment}`}`;
}

/** Bytes of a peer in an error message: no control characters, bounded. */
export function printable(text: string): string {
  return text.slice(0, 64).replace(/[^\x20-\x7e]/g, '?');
}

function ed25519Key(point: Buffer): KeyObject {
  if (point.length !== 32) throw badWire('public key: an ed25519 point has 32 bytes');
  return importJwk({ kty: 'OKP', crv: 'Ed25519', x: point.toString('base64url') });
}

function p256Key(point: Buffer): KeyObject {
  // Uncompressed only (SEC 1 §2.3.3); OpenSSL checks on import that it lies on the curve.
  if (point.length !== 65 || point[0] !== 4)
    throw badWire('public key: a P-256 point has 65 bytes, uncompressed');
  const x = point.subarray(1, 33).toString('base64url');
  return importJwk({ kty: 'EC', crv: 'P-256', x, y: point.subarray(33).toString('base64url') });
}

function rsaKey(modulus: Buffer, exponent: Buffer): KeyObject {
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  if (bits < minRsaBits || bits > maxRsaBits)
    throw badWire(`public key: RSA of ${bits} bits is not accepted`);
  // A huge exponent makes each verification arbitrarily slow; real keys use 65537.
  if (exponent.length > 8) throw badWire('public key: RSA exponent is longer than 64 bits');
  const odd = ((modulus.at(-1) ?? 0) & (exponent.at(-1) ?? 0) & 1) === 1;
  if (!odd || (exponent.length === 1 && exponent[0] === 1)) throw badWire('public key: not an RSA key');
  return importJwk({ kty: 'RSA', n: modulus.toString('base64url'), e: exponent.toString('base64url') });
}

function importJwk(key: Record<string, string>): KeyObject {
  try {
    return createPublicKey({ key, format: 'jwk' });
  } catch {
    throw badWire('public key: not a valid key');
  }
}
