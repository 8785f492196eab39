// A private key as a file: ours alone, in OpenSSH's format, so that ssh-keygen can look at it.
import { AppError } from '@sallyport/contracts/errors.ts';
import { generateEd25519, readPrivateKey, writePrivateKey } from './openssh-private-key.ts';
import { createPrivateFile, readPrivateFile } from './private-file.ts';
import { publicKeyLine } from './public-key.ts';
import { KeySigner } from './signature.ts';

export interface OpenKeyOptions {
  /** Make a missing key; otherwise its absence is an error. */
  readonly create: boolean;
}

/** Reads the key at `path`; makes it (with its `.pub`) when it may and there is none. */
export async function openPrivateKey(path: string, options: OpenKeyOptions) {
  const existing = await readPrivateFile(path);
  if (existing !== undefined) return parseOrExplain(path, () => readPrivateKey(existing));
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

/** Names the file in what went wrong with its content. */
export function parseOrExplain<T>(path: string, parse: () => T): T {
  try {
    return parse();
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
