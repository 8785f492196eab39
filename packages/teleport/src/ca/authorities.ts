// The cluster's certificate authorities on the auth host: SSH and X.509, for hosts and for users, and their rotation
// (what its phases mean: rotation.ts; how they lie on disk: authority-files.ts).
import { join } from 'node:path';
import type { Trust } from '@sallyport/contracts/api/auth-routes.ts';
import type { CertAuthorityDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import {
  type AuthorityKeys,
  type AuthorityState,
  freshGeneration,
  openKeys,
  readState,
  removeKeys,
  writeState,
} from './authority-files.ts';
import { pinOf } from './pin.ts';
import { makePrivateDirectory } from './private-file.ts';
import { publicKeyLine } from './public-key.ts';
import {
  type AuthorityType,
  advance,
  type Rotation,
  type RotationPhase,
  retiredNames,
  trustedNames,
} from './rotation.ts';

export type { AuthorityType, RotationPhase } from './rotation.ts';

export interface AuthoritiesOptions {
  readonly dataDir: string;
  readonly clusterName: string;
  /** Make missing keys (the auth service); otherwise their absence is an error. */
  readonly create: boolean;
  readonly now: () => Date;
}

/** The keys that sign new certificates now. Ask for each certificate anew: a rotation changes them. */
export type ActiveAuthority = AuthorityKeys;

type KeysByName = ReadonlyMap<string, AuthorityKeys>;

export class Authorities {
  readonly clusterName: string;
  readonly #directory: string;
  readonly #options: AuthoritiesOptions;
  readonly #listeners = new Set<() => void>();
  #state: AuthorityState;
  #keys: KeysByName;
  #trust: Trust | undefined;
  /** Rotations one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(options: AuthoritiesOptions, state: AuthorityState, keys: KeysByName) {
    this.clusterName = options.clusterName;
    this.#directory = join(options.dataDir, 'ca');
    this.#options = options;
    this.#state = state;
    this.#keys = keys;
  }

  static async open(options: AuthoritiesOptions): Promise<Authorities> {
    const directory = join(options.dataDir, 'ca');
    if (options.create) await makePrivateDirectory(directory);
    const existing = await readState(directory);
    const state = existing ?? firstState(options.clusterName);
    refuseOtherCluster(state, options.clusterName);
    const keys = new Map([
      ...(await openAll('host', state.host, directory, options)),
      ...(await openAll('user', state.user, directory, options)),
    ]);
    // Written after the keys it names: whoever finds it finds them.
    if (existing === undefined && options.create) await writeState(directory, state);
    return new Authorities(options, state, keys);
  }

  active(type: AuthorityType): ActiveAuthority {
    const [first] = this.#trusted(type);
    if (first === undefined) throw new AppError('internal', 'ca.no_key', `There is no ${type} authority.`);
    return first;
  }

  /** Every authority that is trusted now, the active first. The same object until a rotation goes on. */
  trust(): Trust {
    this.#trust ??= this.#readTrust();
    return this.#trust;
  }

  #readTrust(): Trust {
    const ssh = (type: AuthorityType) => this.#trusted(type).map((keys) => this.#line(keys, type));
    const tls = (type: AuthorityType) => this.#trusted(type).map((keys) => keys.tls.certificatePem);
    return {
      cluster_name: this.clusterName,
      ssh_host_cas: ssh('host'),
      ssh_user_cas: ssh('user'),
      tls_host_cas: tls('host'),
      tls_user_cas: tls('user'),
    };
  }

  /** `sha256:<hex>` of each trusted X.509 host authority, the active first. */
  pins(): string[] {
    return this.#trusted('host').map(({ tls }) => pinOf(tls.certificatePem));
  }

  /** The public halves as resources, `host` and `user`. */
  documents(): CertAuthorityDocument[] {
    return (['host', 'user'] as const).map((type) => {
      const { phase, started } = this.#state[type];
      return {
        kind: 'cert_authority',
        version: 'v2',
        metadata: { name: type },
        spec: {
          type,
          cluster_name: this.clusterName,
          ssh: this.#trusted(type).map((keys) => this.#line(keys, type)),
          tls: this.#trusted(type).map(({ tls }) => tls.certificatePem),
          rotation: started === undefined ? { phase } : { phase, started },
        },
      };
    });
  }

  /** Takes one authority or both to `phase`; resolves to the phase of each once it is on disk. */
  rotate(type: AuthorityType | 'all', phase: RotationPhase): Promise<Record<AuthorityType, RotationPhase>> {
    const done = this.#turn.then(() => this.#rotate(type, phase));
    this.#turn = done.catch(() => undefined);
    return done;
  }

  /** Called after each change of phase. Returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #rotate(which: AuthorityType | 'all', phase: RotationPhase) {
    const types: AuthorityType[] = which === 'all' ? ['host', 'user'] : [which];
    const before = this.#state;
    const after = await this.#next(types, phase);
    const keys = new Map<string, AuthorityKeys>();
    for (const type of ['host', 'user'] as const) {
      // Keys first, then the state that names them: a crash in between leaves keys that nobody trusts.
      for (const name of trustedNames(type, after[type])) {
        keys.set(name, this.#keys.get(name) ?? (await this.#make(name, type)));
      }
    }
    await writeState(this.#directory, after);
    this.#state = after;
    this.#keys = keys;
    this.#trust = undefined;
    for (const listener of this.#listeners) listener();
    for (const type of types) await this.#forget(before[type], after[type]);
    return { host: after.host.phase, user: after.user.phase };
  }

  /** Both are asked before either is changed. */
  async #next(types: readonly AuthorityType[], phase: RotationPhase): Promise<AuthorityState> {
    let next = this.#state;
    for (const type of types) {
      const fresh = await freshGeneration(this.#directory, type);
      next = { ...next, [type]: advance(next[type], phase, fresh, this.#options.now()) };
    }
    return next;
  }

  async #make(name: string, type: AuthorityType): Promise<AuthorityKeys> {
    const { clusterName: cluster, now } = this.#options;
    return openKeys(name, { directory: this.#directory, type, cluster, create: true, now: now() });
  }

  async #forget(before: Rotation, after: Rotation): Promise<void> {
    for (const name of retiredNames(before, after)) await removeKeys(this.#directory, name);
  }

  #trusted(type: AuthorityType): AuthorityKeys[] {
    return trustedNames(type, this.#state[type]).flatMap((name) => this.#keys.get(name) ?? []);
  }

  #line({ ssh }: AuthorityKeys, type: AuthorityType): string {
    return publicKeyLine(ssh.publicKey, `sallyport ${type} CA of ${this.clusterName}`);
  }
}

function firstState(clusterName: string): AuthorityState {
  const standby = (current: string): Rotation => ({ phase: 'standby', current });
  return { cluster_name: clusterName, host: standby('host_ca'), user: standby('user_ca') };
}

/** The name stands in every certificate: under another one, all of them would be refused without a clear reason. */
function refuseOtherCluster(state: AuthorityState, clusterName: string): void {
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

async function openAll(
  type: AuthorityType,
  rotation: Rotation,
  directory: string,
  { clusterName: cluster, create, now }: AuthoritiesOptions,
): Promise<[string, AuthorityKeys][]> {
  const names = trustedNames(type, rotation);
  // Only the first generation is made here: a later one that is missing was lost, and must be restored.
  const mayMake = (name: string) => create && !name.includes('-');
  return Promise.all(
    names.map(async (name): Promise<[string, AuthorityKeys]> => {
      const keys = await openKeys(name, { directory, type, cluster, create: mayMake(name), now: now() });
      return [name, keys];
    }),
  );
}
