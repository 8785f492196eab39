// The SSH keys of the cluster's two certificate authorities, for who needs nothing else of them (see authorities.ts).
// Two keys, not one: a host's certificate must never pass for a user's, whatever a parser thinks of its type.
import { join } from 'node:path';
import { readState } from './authority-files.ts';
import { makePrivateDirectory } from './private-file.ts';
import { type OpenKeyOptions, openPrivateKey } from './private-key-file.ts';
import { type AuthorityType, trustedNames } from './rotation.ts';
import { KeySigner } from './signature.ts';
import type { Signer } from './signer.ts';

export interface CertificateAuthorities {
  /** Signs users' certificates. */
  readonly user: Signer;
  /** Signs hosts' certificates. */
  readonly host: Signer;
}

/** Loads both CAs. An operator may put keys of their own there: ed25519, ecdsa nistp256 or rsa. */
export async function openCaStore(dataDir: string, options: OpenKeyOptions): Promise<CertificateAuthorities> {
  const directory = join(dataDir, 'ca');
  if (options.create) await makePrivateDirectory(directory);
  const state = await readState(directory);
  const open = async (type: AuthorityType) => {
    const [active = `${type}_ca`] = state === undefined ? [] : trustedNames(type, state[type]);
    return new KeySigner(await openPrivateKey(join(directory, active), options));
  };
  return { user: await open('user'), host: await open('host') };
}
