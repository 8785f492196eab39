// A server's host keys as ssh2 signs with them: one signer an algorithm name, certificates first.
import { AppError } from '@sallyport/contracts/errors.ts';
import { SIGNATURE_ALGORITHMS, type SignatureAlgorithm } from './algorithms.ts';
import { plainKey, publicBlob, signRaw } from './public-key.ts';
import type { HostKey } from './ssh-server.ts';
import { type HostKeySigner, privateKeyFrom } from './ssh2-protocol.ts';
import { WireReader } from './wire.ts';

interface LoadedKey {
  readonly blob: Buffer;
  readonly blobType: string;
  sign(algorithm: SignatureAlgorithm, data: Buffer): Buffer;
}

function load(hostKey: HostKey): LoadedKey[] {
  let key: ReturnType<typeof privateKeyFrom>;
  let plain: Buffer;
  try {
    key = privateKeyFrom(hostKey.privateKey);
    plain = publicBlob(key);
  } catch (cause) {
    throw new AppError('bad_input', 'ssh.host_key', 'A host key cannot be read.', { cause });
  }
  const sign = (algorithm: SignatureAlgorithm, data: Buffer) => signRaw(algorithm, key, data);
  const loaded = [{ blob: plain, blobType: new WireReader(plain).text(), sign }];
  const { certificate } = hostKey;
  if (!certificate) return loaded;
  if (!plainKey(certificate)?.equals(plain)) {
    throw new AppError('bad_input', 'ssh.host_certificate', 'A host certificate is not for its host key.');
  }
  return [{ blob: certificate, blobType: new WireReader(certificate).text(), sign }, ...loaded];
}

/** By algorithm name, in the order to offer. The first key of a type wins. */
export function hostKeySigners(hostKeys: readonly HostKey[]): Record<string, HostKeySigner> {
  const loaded = hostKeys.flatMap(load);
  const signers: Record<string, HostKeySigner> = {};
  for (const algorithm of SIGNATURE_ALGORITHMS) {
    const key = loaded.find(({ blobType }) => blobType === algorithm.blobType);
    if (!key) continue;
    signers[algorithm.name] = {
      // ssh2 converts signatures of the types it knows from ASN.1; ours already have their SSH form.
      type: `sallyport ${algorithm.keyType}`,
      getPublicSSH: () => key.blob,
      sign: (data) => key.sign(algorithm, data),
    };
  }
  if (Object.keys(signers).length === 0)
    throw new AppError('bad_input', 'ssh.host_key', 'No host key is given.');
  return signers;
}
