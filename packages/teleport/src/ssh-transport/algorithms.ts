// What we offer and what we accept. No SHA-1, no ssh-rsa, no CBC, no compression (which leaks lengths of secrets and
// costs memory a connection), no finite-field group exchange (it blocks the event loop for seconds).

/** In the order of our preference; the client's order decides (RFC 4253 section 7.1). */
export const KEX: readonly string[] = [
  'mlkem768x25519-sha256',
  'curve25519-sha256',
  'curve25519-sha256@libssh.org',
  'ecdh-sha2-nistp256',
];

/**
 * AES-GCM first: one call into OpenSSL a packet, where the others need three or four. OpenSSH's own clients would
 * rather have chacha20 and decide, so what we print for ssh_config should say `Ciphers ^aes128-gcm@openssh.com`.
 */
export const CIPHERS: readonly string[] = [
  'aes128-gcm@openssh.com',
  'aes256-gcm@openssh.com',
  'chacha20-poly1305@openssh.com',
  'aes128-ctr',
  'aes256-ctr',
];

/** For the CTR ciphers only. Encrypt-then-MAC alone: the other order authenticates what it already decrypted. */
export const MACS: readonly string[] = ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com'];

export interface SignatureAlgorithm {
  /** As negotiated or named in a log-in. */
  readonly name: string;
  /** Type string inside the key or certificate blob. */
  readonly blobType: string;
  /** Type string of the plain key, and name of its fields. */
  readonly keyType: string;
  /** Type string inside the signature: always the plain one (OpenSSH PROTOCOL.certkeys). */
  readonly signatureType: string;
  /** Undefined for ed25519, which hashes by itself. */
  readonly hash: string | undefined;
  readonly certificate: boolean;
}

const SUFFIX = '-cert-v01@openssh.com';

const PLAIN: readonly (readonly [name: string, keyType: string, hash: string | undefined])[] = [
  ['ssh-ed25519', 'ssh-ed25519', undefined],
  ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp256', 'sha256'],
  ['ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp384', 'sha384'],
  ['ecdsa-sha2-nistp521', 'ecdsa-sha2-nistp521', 'sha512'],
  ['rsa-sha2-512', 'ssh-rsa', 'sha512'],
  ['rsa-sha2-256', 'ssh-rsa', 'sha256'],
];

/** Certificates first: a client that trusts the authority should never be asked about the plain key. */
export const SIGNATURE_ALGORITHMS: readonly SignatureAlgorithm[] = [true, false].flatMap((certificate) =>
  PLAIN.map(([plain, keyType, hash]) => ({
    name: certificate ? plain + SUFFIX : plain,
    blobType: certificate ? keyType + SUFFIX : keyType,
    keyType,
    signatureType: plain,
    hash,
    certificate,
  })),
);

export const signatureAlgorithm = (name: string): SignatureAlgorithm | undefined =>
  SIGNATURE_ALGORITHMS.find((algorithm) => algorithm.name === name);

export const algorithmsForBlobType = (blobType: string): SignatureAlgorithm[] =>
  SIGNATURE_ALGORITHMS.filter((algorithm) => algorithm.blobType === blobType);

/** `ssh-ed25519-cert-v01@openssh.com` → `ssh-ed25519`. */
export const plainType = (blobType: string): string =>
  blobType.endsWith(SUFFIX) ? blobType.slice(0, -SUFFIX.length) : blobType;
