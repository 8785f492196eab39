// Who this host is: uuid, host key and host certificate, kept in the data directory.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Certificate } from './certificate.ts';
import { issueCertificate } from './issue.ts';
import { writePrivateKey } from './openssh-private-key.ts';
import { parseCertificate } from './parse-certificate.ts';
import {
  createPrivateFile,
  makePrivateDirectory,
  readPrivateFile,
  replacePrivateFile,
} from './private-file.ts';
import { openPrivateKey } from './private-key-file.ts';
import { parsePublicKeyLine, publicKeyLine } from './public-key.ts';
import { KeySigner, verifySignature } from './signature.ts';
import type { Signer } from './signer.ts';

// Renewed at half of its life: a host that was down for a season comes back with a certificate that still holds.
const lifeMs = 180 * 24 * 60 * 60 * 1000;
/** Clocks of clients may be this much behind ours. */
const skewMs = 5 * 60 * 1000;

export interface HostIdentityOptions {
  readonly dataDir: string;
  /** The host CA. */
  readonly ca: Signer;
  readonly clusterName: string;
  readonly nodename: string;
  /** advertise_ip, public_addr and whatever else clients dial, without ports. */
  readonly names?: readonly string[];
  readonly now: () => Date;
}

export class HostIdentity {
  readonly hostUuid: string;
  /** OpenSSH private key text, as the SSH transport takes it. */
  readonly privateKey: string;
  /** SSH blob of the host key. */
  readonly publicKey: Buffer;
  #certificate: Buffer;
  readonly #renew: () => Promise<Buffer | undefined>;

  private constructor(hostUuid: string, key: KeySigner, privateKey: string, options: HostIdentityOptions) {
    this.hostUuid = hostUuid;
    this.privateKey = privateKey;
    this.publicKey = key.publicKey;
    this.#certificate = Buffer.alloc(0);
    this.#renew = () => certificateFor(hostUuid, key, options);
  }

  /** Loads what is there and makes what is not. */
  static async open(options: HostIdentityOptions): Promise<HostIdentity> {
    await makePrivateDirectory(options.dataDir);
    const hostUuid = await openHostUuid(options.dataDir);
    const key = await openPrivateKey(join(options.dataDir, 'host_key'), { create: true });
    const identity = new HostIdentity(hostUuid, new KeySigner(key), writePrivateKey(key, hostUuid), options);
    await identity.renew();
    return identity;
  }

  /** SSH blob of the host certificate. Ask again after a renewal. */
  get certificate(): Buffer {
    return this.#certificate;
  }

  /** Makes a new certificate when the old one is past half of its life or names other things. True: it changed. */
  async renew(): Promise<boolean> {
    const certificate = await this.#renew();
    if (certificate === undefined || certificate.equals(this.#certificate)) return false;
    this.#certificate = certificate;
    return true;
  }
}

/** `<data_dir>/host_uuid`, made once. */
export async function openHostUuid(dataDir: string): Promise<string> {
  const path = join(dataDir, 'host_uuid');
  const existing = await readPrivateFile(path);
  if (existing !== undefined) return existing.trim();
  await createPrivateFile(path, `${randomUUID()}\n`);
  return openHostUuid(dataDir);
}

async function certificateFor(
  hostUuid: string,
  key: KeySigner,
  options: HostIdentityOptions,
): Promise<Buffer> {
  const path = join(options.dataDir, 'host_key-cert.pub');
  const principals = hostPrincipals(hostUuid, options);
  const existing = readCertificateLine(await readPrivateFile(path));
  if (existing !== undefined && stillGood(existing.certificate, principals, key, options))
    return existing.blob;
  const now = options.now().getTime();
  const blob = await issueCertificate(options.ca, {
    type: 'host',
    publicKey: key.publicKey,
    keyId: `${hostUuid}.${options.clusterName}`,
    principals,
    validAfter: new Date(now - skewMs),
    validBefore: new Date(now + lifeMs),
  });
  await replacePrivateFile(path, `${publicKeyLine(blob, options.nodename)}\n`);
  return blob;
}

/** Every name a client may dial this host by; ssh compares what the person typed with this list. */
export function hostPrincipals(
  hostUuid: string,
  options: Pick<HostIdentityOptions, 'clusterName' | 'nodename' | 'names'>,
): string[] {
  const { clusterName, nodename, names = [] } = options;
  const local = [hostname(), 'localhost', '127.0.0.1', '::1'];
  const clusterNames = [`${nodename}.${clusterName}`, `${hostUuid}.${clusterName}`];
  return [...new Set([nodename, hostUuid, ...clusterNames, ...local, ...names])].filter(
    (name) => name !== '',
  );
}

function readCertificateLine(
  text: string | undefined,
): { blob: Buffer; certificate: Certificate } | undefined {
  if (text === undefined) return undefined;
  try {
    const blob = parsePublicKeyLine(text);
    return { blob, certificate: parseCertificate(blob) };
  } catch {
    // A damaged certificate costs nothing: it is made anew from the CA.
    return undefined;
  }
}

function stillGood(
  certificate: Certificate,
  principals: readonly string[],
  key: KeySigner,
  options: HostIdentityOptions,
): boolean {
  const halfLife = BigInt(Math.floor((options.now().getTime() + lifeMs / 2) / 1000));
  const now = BigInt(Math.floor(options.now().getTime() / 1000));
  return (
    certificate.type === 'host' &&
    certificate.publicKey.equals(key.publicKey) &&
    certificate.signatureKey.equals(options.ca.publicKey) &&
    verifySignature(certificate.signatureKey, certificate.signature, certificate.signedData) &&
    certificate.validAfter <= now &&
    certificate.validBefore > halfLife &&
    certificate.principals.length === principals.length &&
    principals.every((name) => certificate.principals.includes(name))
  );
}
