// The authorities on disk: `<data_dir>/ca`, every file 0600.
//   host_ca, user_ca            SSH keys of the first generation (`.pub` beside them)
//   host_ca.tls, user_ca.tls    X.509 key and certificate of the same
//   host_ca-2, host_ca-2.tls …  those a rotation made
//   authorities.json            which generation is which, and the phase: the one file that is ever replaced, so that
//                               a rotation happens in one atomic step, both types and both formats at once
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { z } from 'zod';
import { createPrivateFile, readPrivateFile, replacePrivateFile, syncDirectory } from './private-file.ts';
import { openPrivateKey, parseOrExplain } from './private-key-file.ts';
import { type Rotation, rotationPhases } from './rotation.ts';
import { KeySigner } from './signature.ts';
import type { Signer } from './signer.ts';
import { readTlsAuthority, type TlsAuthority } from './tls-authority.ts';
import { makeTlsAuthority } from './tls-issue.ts';

export interface AuthorityKeys {
  readonly ssh: Signer;
  readonly tls: TlsAuthority;
}

// A file name of ours and nothing else: it is joined to a path.
const generation = z.string().regex(/^(host|user)_ca(-\d{1,6})?$/);
const rotation = z.strictObject({
  phase: z.enum(rotationPhases),
  current: generation,
  next: generation.optional(),
  started: z.iso.datetime().optional(),
});
const state = z.strictObject({
  version: z.literal(1),
  cluster_name: z.string(),
  host: rotation,
  user: rotation,
});
export interface AuthorityState {
  readonly cluster_name: string;
  readonly host: Rotation;
  readonly user: Rotation;
}

const statePath = (directory: string) => join(directory, 'authorities.json');

/** `undefined`: there is none yet. Rejects rather than take a damaged one for none. */
export async function readState(directory: string): Promise<AuthorityState | undefined> {
  const path = statePath(directory);
  const text = await readPrivateFile(path);
  if (text === undefined) {
    await refuseLostState(directory, path);
    return undefined;
  }
  const parsed = state.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new AppError('bad_input', 'ca.bad_key_file', `${path} cannot be read.`, {
    cause: parsed.error,
    hint: 'Restore it from a backup: it says which of the keys beside it the cluster trusts.',
  });
}

export async function writeState(directory: string, next: AuthorityState): Promise<void> {
  await replacePrivateFile(statePath(directory), `${JSON.stringify({ version: 1, ...next }, null, 2)}\n`);
}

/** Without the file nobody knows which key is the active one, and a guess would cut the cluster off. */
async function refuseLostState(directory: string, path: string): Promise<void> {
  const later = (await generations(directory)).find((name) => name.includes('-'));
  if (later === undefined) return;
  throw new AppError(
    'bad_input',
    'ca.bad_key_file',
    `${path} is missing, but a rotation has made ${later}.`,
    {
      hint: 'Restore it from a backup: it says which of the keys beside it the cluster trusts.',
    },
  );
}

/** A name no key has had; also not one that a crash left behind. */
export async function freshGeneration(directory: string, type: 'host' | 'user'): Promise<string> {
  const numbers = (await generations(directory))
    .filter((name) => name.startsWith(`${type}_ca`))
    .map((name) => Number(name.split('-')[1] ?? 1));
  return `${type}_ca-${Math.max(1, ...numbers) + 1}`;
}

async function generations(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch(() => []);
  const stems = names.map((name) => name.replace(/\.(pub|tls)$/, ''));
  return [...new Set(stems)].filter((name) => generation.safeParse(name).success);
}

export interface OpenKeysOptions {
  readonly directory: string;
  readonly type: 'host' | 'user';
  readonly cluster: string;
  readonly create: boolean;
  readonly now: Date;
}

export async function openKeys(name: string, options: OpenKeysOptions): Promise<AuthorityKeys> {
  const path = join(options.directory, name);
  const ssh = new KeySigner(await openPrivateKey(path, options));
  return { ssh, tls: await openTls(`${path}.tls`, options) };
}

async function openTls(path: string, options: OpenKeysOptions): Promise<TlsAuthority> {
  const existing = await readPrivateFile(path);
  if (existing !== undefined) return parseOrExplain(path, () => readTlsAuthority(existing));
  if (!options.create) {
    throw new AppError('not_found', 'ca.no_key', `There is no key at ${path}.`, {
      hint: 'The auth service makes it when it first starts.',
    });
  }
  await createPrivateFile(path, await makeTlsAuthority(options));
  // Ours, or that of whoever was first.
  return openTls(path, options);
}

/** The private keys of a retired generation: nobody trusts them any more, and nobody should find them. */
export async function removeKeys(directory: string, name: string): Promise<void> {
  for (const suffix of ['', '.pub', '.tls']) await rm(join(directory, `${name}${suffix}`), { force: true });
  await syncDirectory(directory);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
