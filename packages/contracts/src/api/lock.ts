// Locks: who or what may do nothing for now. Pure, and the only place that says whom a lock hits: auth, proxies and nodes
// ask the same functions, hosts also while auth is away.
import type { LockDocument } from './resources.ts';

export const lockTargets = ['user', 'role', 'login', 'node', 'mfa_device'] as const;

export interface Lock {
  readonly name: string;
  readonly target: { readonly kind: (typeof lockTargets)[number]; readonly value: string };
  /** Shown to whoever is locked. */
  readonly message?: string | undefined;
  /** `undefined`: until it is deleted. */
  readonly expires?: Date | undefined;
  /** Only certificates that were made before it are hit. `undefined`: whenever they were made. */
  readonly issuedBefore?: Date | undefined;
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
  /** When the certificate was made; for who gets one now: now. `undefined`: not known, so before any time a lock names. */
  readonly issued?: Date | undefined;
}

/**
 * Certificates of users begin to be valid so long before they are made, for nodes whose clocks are behind: the time they
 * were made is read from that.
 */
export const userCertificateSkewMs = 60_000;

export function issuedAt(validAfter: Date): Date {
  return new Date(validAfter.getTime() + userCertificateSkewMs);
}

export function toLock({ metadata, spec }: LockDocument): Lock {
  const target: Readonly<Record<string, string>> = spec.target;
  const kind = lockTargets.find((each) => target[each] !== undefined) ?? 'user';
  return {
    name: metadata.name,
    target: { kind, value: target[kind] ?? '' },
    message: spec.message,
    expires: metadata.expires === undefined ? undefined : new Date(metadata.expires),
    issuedBefore: spec.issued_before === undefined ? undefined : new Date(spec.issued_before),
  };
}

/** The lock that stands in the way; of several the first by name. */
export function lockOn(subject: LockSubject, locks: readonly Lock[], now: Date): Lock | undefined {
  return locks
    .filter((lock) => inForce(lock, now) && hits(lock, subject))
    .reduce<Lock | undefined>((first, lock) => (first && first.name <= lock.name ? first : lock), undefined);
}

/** Why the subject may do nothing for now; undefined when nothing stands in the way. */
export function lockedOut(
  subject: LockSubject,
  documents: readonly LockDocument[],
  now: Date,
): string | undefined {
  const lock = lockOn(subject, documents.map(toLock), now);
  return lock && lockReason(lock);
}

/** One line, for whoever is refused and for the log. */
export function lockReason({ target, message }: Lock): string {
  return `${target.kind} "${target.value}" is locked${message === undefined ? '' : `: ${message}`}`;
}

function inForce({ expires }: Lock, now: Date): boolean {
  return expires === undefined || expires > now;
}

function hits({ target: { kind, value }, issuedBefore }: Lock, subject: LockSubject): boolean {
  if (issuedBefore !== undefined && subject.issued !== undefined && subject.issued >= issuedBefore)
    return false;
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
