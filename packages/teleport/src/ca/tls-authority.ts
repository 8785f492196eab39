// An X.509 certificate authority of the cluster: ECDSA P-256 with SHA-256, self-signed. Signing stays behind a
// function, as it does for SSH, so that the key may live in a file today and in PKCS#11 or a KMS tomorrow.

export interface TlsAuthority {
  /** The authority's own certificate: what others trust, and what servers send behind their leaf. */
  readonly certificatePem: string;
  /** ECDSA-Sig-Value (DER) over the SHA-256 of `data`. */
  sign(data: Buffer): Promise<Buffer>;
}
