// An X.509 certificate authority of the cluster: ECDSA P-256 with SHA-256, self-signed. Signing stays behind a
// function, as it does for SSH, so that the key may live in a file today and in PKCS#11 or a KMS tomorrow.
import { createPrivateKey, sign as cryptoSign, type KeyObject, X509Certificate } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';

export interface TlsAuthority {
  /** The authority's own certificate: what others trust, and what servers send behind their leaf. */
  readonly certificatePem: string;
  /** ECDSA-Sig-Value (DER) over the SHA-256 of `data`. */
  sign(data: Buffer): Promise<Buffer>;
}

/** An authority over a key in this process's memory. */
export class KeyTlsAuthority implements TlsAuthority {
  readonly certificatePem: string;
  readonly #key: KeyObject;

  constructor(key: KeyObject, certificatePem: string) {
    this.#key = key;
    this.certificatePem = certificatePem;
  }

  async sign(data: Buffer): Promise<Buffer> {
    return cryptoSign('sha256', data, this.#key);
  }
}

/** A file of ours: the private key (PKCS#8) and the certificate, PEM both. Throws AppError when they are not. */
export function readTlsAuthority(text: string): KeyTlsAuthority {
  const key = block(text, 'PRIVATE KEY');
  const certificate = block(text, 'CERTIFICATE');
  try {
    const parsed = new X509Certificate(certificate);
    const privateKey = createPrivateKey(key);
    if (parsed.ca && parsed.checkPrivateKey(privateKey)) return new KeyTlsAuthority(privateKey, certificate);
  } catch (error) {
    throw new AppError('bad_input', 'ca.bad_encoding', 'the key or the certificate cannot be read', {
      cause: error,
    });
  }
  throw new AppError(
    'bad_input',
    'ca.bad_encoding',
    'the certificate is not one of an authority with this key',
  );
}

function block(text: string, label: string): string {
  return new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----\n?`).exec(text)?.[0] ?? '';
}
