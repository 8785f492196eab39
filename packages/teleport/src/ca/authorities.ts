// The cluster's certificate authorities on the auth host: SSH and X.509, for hosts and for users, and their rotation.
import type { Trust } from '@sallyport/contracts/api/auth-routes.ts';
import type { CertAuthorityDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Signer } from './signer.ts';
import type { TlsAuthority } from './tls-authority.ts';

/** `host` signs what servers show, `user` what people show. Never one for the other. */
export type AuthorityType = 'host' | 'user';
export type RotationPhase = CertAuthorityDocument['spec']['rotation']['phase'];

export interface AuthoritiesOptions {
  readonly dataDir: string;
  readonly clusterName: string;
  /** Make missing keys (the auth service); otherwise their absence is an error. */
  readonly create: boolean;
  readonly now: () => Date;
}

/** The keys that sign new certificates now. Ask for each certificate anew: a rotation changes them. */
export interface ActiveAuthority {
  readonly ssh: Signer;
  readonly tls: TlsAuthority;
}

export class Authorities {
  readonly clusterName: string;

  private constructor(options: AuthoritiesOptions) {
    this.clusterName = options.clusterName;
  }

  static async open(_options: AuthoritiesOptions): Promise<Authorities> {
    throw notYet();
  }

  active(_type: AuthorityType): ActiveAuthority {
    throw notYet();
  }

  /** Every authority that is trusted now, the active first. */
  trust(): Trust {
    throw notYet();
  }

  /** `sha256:<hex>` of each trusted X.509 host authority, the active first. */
  pins(): string[] {
    throw notYet();
  }

  /** The public halves as resources, `host` and `user`. */
  documents(): CertAuthorityDocument[] {
    throw notYet();
  }

  /** Takes one authority or both to `phase`; resolves to the phase of each once it is on disk. */
  async rotate(
    _type: AuthorityType | 'all',
    _phase: RotationPhase,
  ): Promise<Record<AuthorityType, RotationPhase>> {
    throw notYet();
  }

  /** Called after each change of phase. Returns how to stop. */
  onChange(_listener: () => void): () => void {
    throw notYet();
  }
}

function notYet(): AppError {
  return new AppError('unsupported', 'ca.not_yet', 'Not built yet.');
}
