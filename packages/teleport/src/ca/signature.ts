// SSH signatures (RFC 4253 §6.6, RFC 5656 §3.1.2, RFC 8332, RFC 8709): make and check them.
import { sign as cryptoSign, verify as cryptoVerify, type KeyObject } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import { parsePublicKey, publicKeyBlob } from './public-key.ts';
import type { KeyType, SignatureAlgorithm, Signer } from './signer.ts';
import { mpint, str, WireReader } from './wire.ts';

/** Which signature algorithms a key type may use. `ssh-rsa` (SHA-1) is not among them. */
const algorithmsOf: Readonly<Record<KeyType, readonly SignatureAlgorithm[]>> = {
  'ssh-ed25519': ['ssh-ed25519'],
  'ecdsa-sha2-nistp256': ['ecdsa-sha2-nistp256'],
  'ssh-rsa': ['rsa-sha2-512', 'rsa-sha2-256'],
};

const hashOf: Readonly<Record<SignatureAlgorithm, string | null>> = {
  'ssh-ed25519': null,
  'ecdsa-sha2-nistp256': 'sha256',
  'rsa-sha2-256': 'sha256',
  'rsa-sha2-512': 'sha512',
};

/** A Signer over a key in this process's memory. */
export class KeySigner implements Signer {
  readonly keyType: KeyType;
  readonly publicKey: Buffer;
  readonly #key: KeyObject;

  constructor(privateKey: KeyObject) {
    this.#key = privateKey;
    this.publicKey = publicKeyBlob(privateKey);
    this.keyType = parsePublicKey(this.publicKey).keyType;
  }

  async sign(data: Buffer, algorithm: SignatureAlgorithm = defaultAlgorithm(this.keyType)): Promise<Buffer> {
    if (!algorithmsOf[this.keyType].includes(algorithm)) {
      throw new AppError(
        'bad_input',
        'ca.wrong_algorithm',
        `A ${this.keyType} key cannot sign with ${algorithm}.`,
      );
    }
    if (algorithm !== 'ecdsa-sha2-nistp256') {
      return Buffer.concat([str(algorithm), str(cryptoSign(hashOf[algorithm], data, this.#key))]);
    }
    const raw = cryptoSign('sha256', data, { key: this.#key, dsaEncoding: 'ieee-p1363' });
    const inner = Buffer.concat([mpint(raw.subarray(0, 32)), mpint(raw.subarray(32))]);
    return Buffer.concat([str(algorithm), str(inner)]);
  }
}

export function defaultAlgorithm(keyType: KeyType): SignatureAlgorithm {
  return keyType === 'ssh-rsa' ? 'rsa-sha2-512' : keyType;
}

/** Is `signature` (a complete SSH blob) made over `data` by the holder of `publicKey`? Never throws. */
export function verifySignature(publicKey: Buffer, signature: Buffer, data: Buffer): boolean {
  try {
    const { keyType, key } = parsePublicKey(publicKey);
    const reader = new WireReader(signature, 'signature');
    const named = reader.text('algorithm');
    const algorithm = algorithmsOf[keyType].find((candidate) => candidate === named);
    if (algorithm === undefined) return false;
    const body = reader.bytes('signature');
    reader.end();
    return verifyBody(key, algorithm, body, data);
  } catch {
    return false;
  }
}

function verifyBody(key: KeyObject, algorithm: SignatureAlgorithm, body: Buffer, data: Buffer): boolean {
  if (algorithm !== 'ecdsa-sha2-nistp256') return cryptoVerify(hashOf[algorithm], data, key, body);
  const reader = new WireReader(body, 'ecdsa signature');
  const [r, s] = [reader.mpint('r'), reader.mpint('s')];
  reader.end();
  if (r.length > 32 || s.length > 32) return false;
  const raw = Buffer.alloc(64);
  r.copy(raw, 32 - r.length);
  s.copy(raw, 64 - s.length);
  return cryptoVerify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, raw);
}
