// Where the authorities of a cluster are kept: their keys, and which of them is which. Files on an auth host of its own
// (authority-files.ts); the shared store where several auth servers are one cluster (auth/stored-authorities.ts).
// Every implementation runs authority-vault.contract.ts.
import { AppError } from '@sallyport/contracts/errors.ts';
import { z } from 'zod';
import { type Rotation, rotationPhases, trustedNames } from './rotation.ts';
import type { Signer } from './signer.ts';
import type { TlsAuthority } from './tls-authority.ts';

export interface AuthorityKeys {
  readonly ssh: Signer;
  readonly tls: TlsAuthority;
}

/** Which generation of each type is which, and the phase: both types change in one step, so that `all` is one. */
export interface AuthorityState {
  readonly cluster_name: string;
  readonly host: Rotation;
  readonly user: Rotation;
}

/** What a vault held at one moment: every generation the state trusts has its keys here. */
export interface HeldAuthorities {
  readonly state: AuthorityState;
  readonly keys: ReadonlyMap<string, AuthorityKeys>;
  /** Of the state; changes with every write of it. */
  readonly revision: string;
}

export interface VaultOrder {
  readonly clusterName: string;
  /** Make what is missing (the auth service); otherwise its absence is an error. */
  readonly create: boolean;
  readonly now: () => Date;
}

export interface AuthorityVault {
  /**
   * Of several that make them at once, one does, and all answer with the same. Rejects with `ca.no_key` when there is
   * nothing and nothing may be made, with `ca.other_cluster` when it is another cluster's, and never replaces what
   * it cannot read.
   */
  open(order: VaultOrder): Promise<HeldAuthorities>;
  /**
   * The state becomes `next`; generations it names for the first time get keys, those it names no more lose theirs.
   * Rejects with `conflict`, `ca.raced`, when the state is not the one that was held.
   */
  advance(held: HeldAuthorities, next: AuthorityState, order: VaultOrder): Promise<HeldAuthorities>;
  /** A name no keys have had. */
  freshGeneration(type: 'host' | 'user'): Promise<string>;
  /** Called when somebody else may have changed the state. Returns how to stop. */
  watch(listener: () => void): () => void;
}

// A file name, and a key of the store, and nothing else: it is joined to a path.
export const generationName = z.string().regex(/^(host|user)_ca(-\d{1,6})?$/);
const rotation = z.strictObject({
  phase: z.enum(rotationPhases),
  current: generationName,
  next: generationName.optional(),
  started: z.iso.datetime().optional(),
});
const document = z.strictObject({
  version: z.literal(1),
  cluster_name: z.string(),
  host: rotation,
  user: rotation,
});

/** Throws `ca.bad_key_file` rather than take a damaged state for none. `where`: for the message. */
export function parseState(text: string, where: string): AuthorityState {
  const parsed = document.safeParse(parseJson(text));
  if (parsed.success) {
    const { version: _, ...state } = parsed.data;
    return state;
  }
  throw new AppError('bad_input', 'ca.bad_key_file', `${where} cannot be read.`, {
    cause: parsed.error,
    hint: 'Restore it from a backup: it says which of the keys beside it the cluster trusts.',
  });
}

export function stateText(state: AuthorityState): string {
  return `${JSON.stringify({ version: 1, ...state }, null, 2)}\n`;
}

export function firstState(clusterName: string): AuthorityState {
  const standby = (current: string): Rotation => ({ phase: 'standby', current });
  return { cluster_name: clusterName, host: standby('host_ca'), user: standby('user_ca') };
}

/** Every generation the state trusts, with its type. */
export function generationsOf(state: AuthorityState): { name: string; type: 'host' | 'user' }[] {
  return (['host', 'user'] as const).flatMap((type) =>
    trustedNames(type, state[type]).map((name) => ({ name, type })),
  );
}

/** The name stands in every certificate: under another one, all of them would be refused without a clear reason. */
export function refuseOtherCluster(state: AuthorityState, clusterName: string): void {
  if (state.cluster_name === clusterName) return;
  throw new AppError(
    'conflict',
    'ca.other_cluster',
    `The authorities here are those of cluster "${state.cluster_name}", not of "${clusterName}".`,
    {
      hint: 'A cluster keeps its name for life: set cluster_name back, or start anew with an empty data_dir.',
    },
  );
}

/** The next number after those that are taken. */
export function generationAfter(type: 'host' | 'user', taken: readonly string[]): string {
  const numbers = taken
    .filter((name) => name.startsWith(`${type}_ca`))
    .map((name) => Number(name.split('-')[1] ?? 1));
  return `${type}_ca-${Math.max(1, ...numbers) + 1}`;
}

export function raced(cause?: unknown): AppError {
  return new AppError('conflict', 'ca.raced', 'Somebody else is rotating the authorities.', {
    cause,
    hint: '`tctl status` shows the phases as they are now.',
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
