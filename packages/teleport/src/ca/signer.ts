// Signing behind one small interface, so that a CA key may live in a file today and in PKCS#11 or a KMS tomorrow.

/** Algorithms we sign with. RSA signs with SHA-512 only: sshd refuses SHA-1 (`ssh-rsa`) certificates. */
export type SignatureAlgorithm = 'ssh-ed25519' | 'ecdsa-sha2-nistp256' | 'rsa-sha2-256' | 'rsa-sha2-512';

/** Plain key types (RFC 4253 §6.6, RFC 5656, RFC 8709): what a key blob starts with. */
export type KeyType = 'ssh-ed25519' | 'ecdsa-sha2-nistp256' | 'ssh-rsa';

/** A private key that can be used but not seen. */
export interface Signer {
  readonly keyType: KeyType;
  /** The SSH wire form of the public key (what `*.pub` files hold in base64). */
  readonly publicKey: Buffer;
  /** Resolves to a complete SSH signature blob: string algorithm, string signature. */
  sign(data: Buffer, algorithm?: SignatureAlgorithm): Promise<Buffer>;
}
