// The cluster's two certificate authorities as files: `<data_dir>/ca/{user_ca,host_ca}`, made on first start.
// Two keys, not one: a host's certificate must never pass for a user's, whatever a parser thinks of its type.
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { generateEd25519, readPrivateKey, writePrivateKey } from './openssh-private-key.ts';
import { createPrivateFile, makePrivateDirectory, readPrivateFile } from './private-file.ts';
import { publicKeyLine } from './public-key.ts';
import { KeySigner } from './signature.ts';
import type { Signer } from './signer.ts';

export interface CertificateAuthorities {
  /** Signs users' certificates. */
  readonly user: Signer;
  /** Signs hosts' certificates. */
  readonly host: Signer;
}

export interface OpenCaOptions {
  /** Make missing keys (the auth service); otherwise (a reading tctl) their absence is an error. */
  readonly create: boolean;
}

/** Loads both CAs. An operator may put keys of their own there: ed25519, ecdsa nistp256 or rsa. */
export async function openCaStore(dataDir: string, options: OpenCaOptions): Promise<CertificateAuthorities> {
  const directory = join(dataDir, 'ca');
  if (options.create) await makePrivateDirectory(directory);
  return {
    user: await openCa(join(directory, 'user_ca'), options),
    host: await openCa(join(directory, 'host_ca'), options),
  };
}

async function openCa(path: string, options: OpenCaOptions): Promise<Signer> {
  return new KeySigner(await openPrivateKey(path, options));
}

/** Reads the key at `path`; makes it (with its `.pub`) when it may and there is none. */
export async function openPrivateKey(path: string, options: OpenCaOptions) {
  const existing = await readPrivateFile(path);
  if (existing !== undefined) return parseOrExplain(path, existing);
  if (!options.create) {
    throw new AppError('not_found', 'ca.no_key', `There is no key at ${path}.`, {
      hint: 'The auth service makes it when it first starts: run `teleport start`, or point -c/--config at its data_dir.',
    });
  }
  const key = generateEd25519();
  const created = await createPrivateFile(path, writePrivateKey(key, ''));
  // Another process was first: its key is the key.
  if (!created) return openPrivateKey(path, options);
  await createPrivateFile(`${path}.pub`, `${publicKeyLine(new KeySigner(key).publicKey)}\n`);
  return key;
}

function parseOrExplain(path: string, text: string) {
  try {
    return readPrivateKey(text);
  } catch (error) {
    const { kind, message, hint } = AppError.from(error);
    throw new AppError(kind, 'ca.bad_key_file', `${path}: ${message}`, {
      cause: error,
      hint:
        hint ??
        'Restore it from a backup: making a new one would cut off every host and user that trusts it.',
    });
  }
}
