// Locks: who or what may do nothing for now. Pure: auth, proxies and nodes ask the same function, nodes also while
// auth is away.

export const lockTargets = ['user', 'role', 'login', 'node', 'mfa_device'] as const;

export interface Lock {
  readonly name: string;
  readonly target: { readonly kind: (typeof lockTargets)[number]; readonly value: string };
  /** Shown to whoever is locked. */
  readonly message?: string | undefined;
  /** `undefined`: until it is deleted. */
  readonly expires?: Date | undefined;
}

/** Whatever is known about who asks; what is absent no lock can be on. */
export interface LockSubject {
  readonly user?: string | undefined;
  readonly roles?: readonly string[] | undefined;
  /** The host account. */
  readonly login?: string | undefined;
  /** A node is locked by its uuid or its name. */
  readonly hostUuid?: string | undefined;
  readonly hostname?: string | undefined;
  /** Uuid of the second factor's device. */
  readonly mfaDevice?: string | undefined;
}

/** The lock that stands in the way; of several the first by name. */
export function lockOn(subject: LockSubject, locks: readonly Lock[], now: Date): Lock | undefined {
  return locks
    .filter((lock) => inForce(lock, now) && hits(lock, subject))
    .reduce<Lock | undefined>((first, lock) => (first && first.name <= lock.name ? first : lock), undefined);
}

/** One line, for whoever is refused and for the log. */
export function lockReason({ target, message }: Lock): string {
  return `${target.kind} "${target.value}" is locked${message === undefined ? '' : `: ${message}`}`;
}

export function inForce({ expires }: Lock, now: Date): boolean {
  return expires === undefined || expires > now;
}

function hits({ target: { kind, value } }: Lock, subject: LockSubject): boolean {
  switch (kind) {
    case 'user':
      return subject.user === value;
    case 'role':
      return subject.roles?.includes(value) === true;
    case 'login':
      return subject.login === value;
    case 'node':
      return subject.hostUuid === value || subject.hostname === value;
    case 'mfa_device':
      return subject.mfaDevice === value;
  }
}
