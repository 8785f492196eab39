// The cluster's certificate authorities on an auth host: SSH and X.509, for hosts and for users, and their rotation
// (what its phases mean: rotation.ts; where they are kept: authority-vault.ts).
import type { Trust } from '@sallyport/contracts/api/auth-routes.ts';
import type { CertAuthorityDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { AuthorityFiles } from './authority-files.ts';
import type {
  AuthorityKeys,
  AuthorityState,
  AuthorityVault,
  HeldAuthorities,
  VaultOrder,
} from './authority-vault.ts';
import { pinOf } from './pin.ts';
import { publicKeyLine } from './public-key.ts';
import { type AuthorityType, advance, type RotationPhase, trustedNames } from './rotation.ts';

export type { AuthorityType, RotationPhase } from './rotation.ts';

/** `dataDir`: kept as files there. */
export type AuthoritiesOptions = VaultOrder &
  ({ readonly dataDir: string } | { readonly vault: AuthorityVault });

/** The keys that sign new certificates now. Ask for each certificate anew: a rotation changes them. */
export type ActiveAuthority = AuthorityKeys;

/** Rotations that came in between, by other auth servers, before ours is given up. */
const maxRaces = 5;

export class Authorities {
  readonly clusterName: string;
  readonly #vault: AuthorityVault;
  readonly #order: VaultOrder;
  readonly #listeners = new Set<() => void>();
  readonly #unwatch: () => void;
  #held: HeldAuthorities;
  #trust: Trust | undefined;
  /** Rotations, and looks at what others did, one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(vault: AuthorityVault, order: VaultOrder, held: HeldAuthorities) {
    this.clusterName = order.clusterName;
    this.#vault = vault;
    this.#order = order;
    this.#held = held;
    // What cannot be read now is kept as it was; the vault calls again.
    this.#unwatch = vault.watch(() => void this.#inTurn(() => this.#look()).catch(() => undefined));
  }

  static async open(options: AuthoritiesOptions): Promise<Authorities> {
    const { clusterName, create, now } = options;
    const order = { clusterName, create, now };
    const vault = 'vault' in options ? options.vault : new AuthorityFiles(options.dataDir);
    const authorities = new Authorities(vault, order, await vault.open(order));
    // Somebody may have changed them between reading and watching.
    if ('vault' in options) await authorities.#inTurn(() => authorities.#look());
    return authorities;
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
      const { phase, started } = this.#held.state[type];
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

  /** Takes one authority or both to `phase`; resolves to the phase of each once it is kept. */
  rotate(type: AuthorityType | 'all', phase: RotationPhase): Promise<Record<AuthorityType, RotationPhase>> {
    return this.#inTurn(() => this.#rotate(type, phase));
  }

  /** Called after each change of phase. Returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Stops looking at what others do. Signing goes on. */
  close(): void {
    this.#unwatch();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #rotate(which: AuthorityType | 'all', phase: RotationPhase) {
    const types: AuthorityType[] = which === 'all' ? ['host', 'user'] : [which];
    for (let race = 0; ; race++) {
      try {
        const next = await this.#next(types, phase);
        this.#hold(await this.#vault.advance(this.#held, next, this.#order));
        return { host: next.host.phase, user: next.user.phase };
      } catch (error) {
        // Whatever went wrong, the step may have been taken: what is kept now counts.
        await this.#look().catch(() => undefined);
        if (AppError.from(error).code !== 'ca.raced' || race >= maxRaces) throw error;
      }
    }
  }

  /** Both are asked before either is changed. */
  async #next(types: readonly AuthorityType[], phase: RotationPhase): Promise<AuthorityState> {
    let next = this.#held.state;
    for (const type of types) {
      const fresh = await this.#vault.freshGeneration(type);
      next = { ...next, [type]: advance(next[type], phase, fresh, this.#order.now()) };
    }
    return next;
  }

  async #look(): Promise<void> {
    const held = await this.#vault.open({ ...this.#order, create: false });
    if (held.revision !== this.#held.revision) this.#hold(held);
  }

  #hold(held: HeldAuthorities): void {
    this.#held = held;
    this.#trust = undefined;
    for (const listener of this.#listeners) listener();
  }

  #trusted(type: AuthorityType): AuthorityKeys[] {
    return trustedNames(type, this.#held.state[type]).flatMap((name) => this.#held.keys.get(name) ?? []);
  }

  #line({ ssh }: AuthorityKeys, type: AuthorityType): string {
    return publicKeyLine(ssh.publicKey, `sallyport ${type} CA of ${this.clusterName}`);
  }
}
