// OpenSSH's private key file (openssh-portable PROTOCOL.key, "openssh-key-v1"), unencrypted: what `ssh -i` reads.
// node:crypto knows neither to read nor to write it. Our own keys on disk are in this format too, so that
// ssh-keygen can look at every one of them.
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parsePublicKey, publicKeyBlob } from './public-key.ts';
import { badWire, mpint, str, u32, WireReader } from './wire.ts';

const magic = Buffer.from('openssh-key-v1\0', 'latin1');
const begin = '-----BEGIN OPENSSH PRIVATE KEY-----';
const end = '-----END OPENSSH PRIVATE KEY-----';
// The smallest cipher block PROTOCOL.key knows; also what "none" pads to.
const blockBytes = 8;

export function generateEd25519(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey;
}

export function writePrivateKey(key: KeyObject, comment: string): string {
  const publicKey = publicKeyBlob(key);
  // Two equal random numbers: with a passphrase they show that it was the right one.
  const check = randomBytes(4);
  const body = Buffer.concat([check, check, privateFields(key, publicKey), str(comment)]);
  const padding = Buffer.from(
    Array.from({ length: (blockBytes - (body.length % blockBytes)) % blockBytes }, (_, i) => i + 1),
  );
  const file = Buffer.concat([
    magic,
    str('none'),
    str('none'),
    str(''),
    u32(1),
    str(publicKey),
    str(Buffer.concat([body, padding])),
  ]);
  const lines = file.toString('base64').match(/.{1,70}/g) ?? [];
  return [begin, ...lines, end, ''].join('\n');
}

/** Reads what writePrivateKey and `ssh-keygen -N ''` write. Throws AppError kind `bad_input`. */
export function readPrivateKey(text: string): KeyObject {
  const match = new RegExp(`${begin}([A-Za-z0-9+/=\\s]+)${end}`).exec(text);
  if (match === null) throw badWire('private key: not an OpenSSH private key file');
  const file = Buffer.from(match[1] ?? '', 'base64');
  if (!file.subarray(0, magic.length).equals(magic)) throw badWire('private key: not an openssh-key-v1 file');
  const reader = new WireReader(file.subarray(magic.length), 'private key');
  if (reader.text('cipher') !== 'none') {
    throw new AppError('unsupported', 'ca.encrypted_key', 'The private key is encrypted with a passphrase.', {
      hint: "Remove it with: ssh-keygen -p -N '' -f FILE",
    });
  }
  reader.bytes('kdf');
  reader.bytes('kdf options');
  if (reader.u32('key count') !== 1) throw badWire('private key: expected one key in the file');
  const publicKey = reader.bytes('public key');
  const key = readPrivateFields(new WireReader(reader.bytes('private part'), 'private key'));
  if (!publicKeyBlob(key).equals(publicKey))
    throw badWire('private key: its public half does not belong to it');
  return key;
}

/** Type and fields in the agent's order (draft-miller-ssh-agent §4.2). */
function privateFields(key: KeyObject, publicKey: Buffer): Buffer {
  const jwk = key.export({ format: 'jwk' });
  const field = (value: unknown) => Buffer.from(String(value), 'base64url');
  switch (parsePublicKey(publicKey).keyType) {
    case 'ssh-ed25519': {
      const point = field(jwk.x);
      return Buffer.concat([publicKey, str(Buffer.concat([field(jwk.d), point]))]);
    }
    case 'ecdsa-sha2-nistp256':
      return Buffer.concat([publicKey, mpint(field(jwk.d))]);
    case 'ssh-rsa': {
      const numbers = [jwk.n, jwk.e, jwk.d, jwk.qi, jwk.p, jwk.q];
      return Buffer.concat([str('ssh-rsa'), ...numbers.map((number) => mpint(field(number)))]);
    }
  }
}

function readPrivateFields(reader: WireReader): KeyObject {
  if (reader.u32('check 1') !== reader.u32('check 2')) throw badWire('private key: the check numbers differ');
  const url = (bytes: Buffer) => bytes.toString('base64url');
  switch (reader.text('type')) {
    case 'ssh-ed25519': {
      const x = reader.bytes('point');
      const d = reader.bytes('seed and point').subarray(0, 32);
      return importJwk({ kty: 'OKP', crv: 'Ed25519', x: url(x), d: url(d) });
    }
    case 'ecdsa-sha2-nistp256': {
      reader.bytes('curve');
      const point = reader.bytes('point');
      const d = Buffer.concat([Buffer.alloc(32), reader.mpint('d')]).subarray(-32);
      return importJwk({
        kty: 'EC',
        crv: 'P-256',
        x: url(point.subarray(1, 33)),
        y: url(point.subarray(33)),
        d: url(d),
      });
    }
    case 'ssh-rsa':
      return importJwk(rsaJwk(reader));
    default:
      throw badWire('private key: only ed25519, ecdsa nistp256 and rsa keys are supported');
  }
}

/** The file leaves out d mod (p−1) and d mod (q−1), which JWK wants (RFC 7518 §6.3.2). */
function rsaJwk(reader: WireReader): Record<string, string> {
  const [n, e, d, qi, p, q] = ['n', 'e', 'd', 'iqmp', 'p', 'q'].map((name) => reader.mpint(name));
  const big = (bytes: Buffer | undefined) => BigInt(`0x${bytes?.toString('hex') || '0'}`);
  if (big(p) < 3n || big(q) < 3n) throw badWire('private key: not an RSA key');
  const exponent = (prime: Buffer | undefined) => {
    const hex = (big(d) % (big(prime) - 1n)).toString(16);
    return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
  };
  const fields = { n, e, d, p, q, qi, dp: exponent(p), dq: exponent(q) };
  const encoded = Object.entries(fields).map(([name, bytes]) => [
    name,
    (bytes ?? Buffer.alloc(0)).toString('base64url'),
  ]);
  return { kty: 'RSA', ...Object.fromEntries(encoded) };
}

function importJwk(key: Record<string, string>): KeyObject {
  try {
    return createPrivateKey({ key, format: 'jwk' });
  } catch {
    throw badWire('private key: not a valid key');
  }
}
