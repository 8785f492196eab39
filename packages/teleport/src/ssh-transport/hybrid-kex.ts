// mlkem768x25519-sha256 (draft-ietf-sshm-mlkem-hybrid-kex): ML-KEM-768 (FIPS 203) beside X25519, so that what is
// recorded today stays closed when either of the two falls.
//
//   client → server   C_INIT  = ML-KEM encapsulation key (1184) ‖ X25519 public key (32)
//   server → client   S_REPLY = ML-KEM ciphertext (1088)        ‖ X25519 public key (32)
//   K = SHA256(K_PQ ‖ K_CL), 32 bytes, hashed as a string
import {
  createHash,
  createPublicKey,
  decapsulate,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';

export const MLKEM_PUBLIC_BYTES = 1184;
export const MLKEM_CIPHERTEXT_BYTES = 1088;
export const X25519_BYTES = 32;

/** SubjectPublicKeyInfo up to the key bits: X25519 (RFC 8410) and ML-KEM-768 (2.16.840.1.101.3.4.4.2). */
const X25519_SPKI = Buffer.from('302a300506032b656e032100', 'hex');
const MLKEM_SPKI = Buffer.from('308204b2300b0609608648016503040402038204a100', 'hex');

function publicKeyFrom(prefix: Buffer, raw: Buffer): KeyObject {
  return createPublicKey({ key: Buffer.concat([prefix, raw]), format: 'der', type: 'spki' });
}

function rawPublicKey(key: KeyObject, length: number): Buffer {
  return key.export({ format: 'der', type: 'spki' }).subarray(-length);
}

/** One key exchange, as the patched ssh2 drives it: on the server `secret` comes first, then `offer`. */
export interface KexMethod {
  readonly hashName: string;
  /** What we send. */
  offer(isServer: boolean): Buffer;
  /** What came, turned into K. Throws when the peer's part is malformed. */
  secret(isServer: boolean, peer: Buffer): Buffer;
}

export class MlKem768X25519 implements KexMethod {
  readonly hashName = 'sha256';
  readonly #x25519 = generateKeyPairSync('x25519');
  #mlkem: ReturnType<typeof generateKeyPairSync> | undefined;
  #ciphertext: Buffer | undefined;

  offer(isServer: boolean): Buffer {
    const own = rawPublicKey(this.#x25519.publicKey, X25519_BYTES);
    if (isServer) {
      if (!this.#ciphertext) throw new Error('no client offer yet');
      return Buffer.concat([this.#ciphertext, own]);
    }
    // Asked for twice, to send it and to hash it: must be the same.
    this.#mlkem ??= generateKeyPairSync('ml-kem-768');
    return Buffer.concat([rawPublicKey(this.#mlkem.publicKey, MLKEM_PUBLIC_BYTES), own]);
  }

  secret(isServer: boolean, peer: Buffer): Buffer {
    const pqBytes = isServer ? MLKEM_PUBLIC_BYTES : MLKEM_CIPHERTEXT_BYTES;
    if (peer.length !== pqBytes + X25519_BYTES) throw new Error(`wrong length: ${peer.length}`);
    const postQuantum = this.#postQuantum(isServer, peer.subarray(0, pqBytes));
    // OpenSSL refuses low-order points (an all-zero secret), as RFC 8731 section 3 asks.
    const classical = diffieHellman({
      privateKey: this.#x25519.privateKey,
      publicKey: publicKeyFrom(X25519_SPKI, peer.subarray(pqBytes)),
    });
    return createHash('sha256').update(postQuantum).update(classical).digest();
  }

  #postQuantum(isServer: boolean, peer: Buffer): Buffer {
    if (isServer) {
      // Importing checks the key's coefficients (FIPS 203 section 7.2).
      const { sharedKey, ciphertext } = encapsulate(publicKeyFrom(MLKEM_SPKI, peer));
      this.#ciphertext = ciphertext;
      return sharedKey;
    }
    if (!this.#mlkem) throw new Error('nothing was offered');
    return decapsulate(this.#mlkem.privateKey, peer);
  }
}
