// The keys a host has: made once, never leave it. Certificates for them come from the cluster.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { writePrivateKey } from './openssh-private-key.ts';
import { createPrivateFile, makePrivateDirectory, readPrivateFile } from './private-file.ts';
import { openPrivateKey } from './private-key-file.ts';
import { KeySigner } from './signature.ts';
import type { Signer } from './signer.ts';

export interface HostKeys {
  readonly ssh: {
    readonly signer: Signer;
    /** OpenSSH private key text, as the SSH transport takes it. */
    readonly privateKey: string;
    /** SSH blob. */
    readonly publicKey: Buffer;
  };
  readonly tls: {
    /** PKCS#8. */
    readonly keyPem: string;
    /** SubjectPublicKeyInfo. */
    readonly publicKeyPem: string;
  };
}

/** `<data_dir>/host_key` (ed25519, OpenSSH) and `<data_dir>/host_key.tls` (P-256, PKCS#8), both 0600. */
export async function openHostKeys(dataDir: string): Promise<HostKeys> {
  await makePrivateDirectory(dataDir);
  const ssh = await openPrivateKey(join(dataDir, 'host_key'), { create: true });
  const tls = await openTlsKey(join(dataDir, 'host_key.tls'));
  return hostKeys(ssh, tls);
}

function hostKeys(ssh: KeyObject, tls: KeyObject): HostKeys {
  const signer = new KeySigner(ssh);
  return {
    ssh: { signer, privateKey: writePrivateKey(ssh, ''), publicKey: signer.publicKey },
    tls: { keyPem: pemOf(tls), publicKeyPem: spkiPem(tls) },
  };
}

async function openTlsKey(path: string): Promise<KeyObject> {
  const existing = await readPrivateFile(path);
  if (existing !== undefined) return createPrivateKey(existing);
  await createPrivateFile(path, pemOf(generateTlsKey()));
  return openTlsKey(path);
}

/** ECDSA P-256: every TLS 1.3 peer knows it (RFC 8446 section 9.1), Ed25519 some browsers do not. */
export function generateTlsKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

export function pemOf(key: KeyObject): string {
  return String(key.export({ type: 'pkcs8', format: 'pem' }));
}

export function spkiPem(key: KeyObject): string {
  return String(createPublicKey(key).export({ type: 'spki', format: 'pem' }));
}
