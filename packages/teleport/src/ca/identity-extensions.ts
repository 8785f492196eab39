// Identity ↔ certificate extensions. Both directions in one file, so that they cannot drift apart.
import { type Certificate, forever } from './certificate.ts';
import {
  type Identity,
  identityExtensions,
  type LossPolicy,
  lossPolicies,
  permitExtensions,
  type RecordedKind,
  type RecordSession,
  recordedKinds,
} from './identity.ts';
import { optionText } from './parse-certificate.ts';

/** What a user certificate says beyond key, logins and life. */
export interface IdentityClaims {
  readonly roles: readonly string[];
  readonly kinds: readonly RecordedKind[];
  readonly lossPolicy: LossPolicy;
  readonly recordSession: RecordSession;
  readonly traits: Readonly<Record<string, readonly string[]>>;
  readonly portForwarding: boolean;
}

export function identityToExtensions(claims: IdentityClaims): Record<string, string> {
  return {
    [permitExtensions.pty]: '',
    ...(claims.portForwarding ? { [permitExtensions.portForwarding]: '' } : {}),
    [identityExtensions.roles]: JSON.stringify(claims.roles),
    [identityExtensions.kinds]: JSON.stringify(claims.kinds),
    [identityExtensions.lossPolicy]: claims.lossPolicy,
    [identityExtensions.recordSession]: claims.recordSession,
    [identityExtensions.traits]: JSON.stringify(claims.traits),
  };
}

/**
 * A certificate whose signature holds → Identity, or why not. An extension of ours that is absent takes the
 * safe default (an operator may sign with plain ssh-keygen); one that is present and unreadable refuses.
 */
export function readIdentity(certificate: Certificate): Identity | string {
  if (certificate.keyId === '') return 'the certificate has no key id, so it names no user';
  const read = <T>(name: string, absent: T, parse: (text: string) => T | undefined): T | undefined => {
    const data = certificate.extensions.get(name);
    if (data === undefined) return absent;
    try {
      return parse(optionText(data, name));
    } catch {
      return undefined;
    }
  };
  const roles = read(identityExtensions.roles, [], names);
  const kinds = read(identityExtensions.kinds, ['command', 'network'] as const, kindList);
  const lossPolicy = read(identityExtensions.lossPolicy, 'best_effort', oneOf(lossPolicies));
  const recordSession = read(
    identityExtensions.recordSession,
    'strict',
    oneOf(['best_effort', 'strict'] as const),
  );
  const traits = read(identityExtensions.traits, {}, traitMap);
  const mfaDevice = read(identityExtensions.mfaDevice, '', (text) => text);
  if (!roles || !kinds || !lossPolicy || !recordSession || !traits || mfaDevice === undefined) {
    return 'an identity extension of the certificate is malformed';
  }
  return {
    user: certificate.keyId,
    roles,
    logins: certificate.principals,
    kinds,
    lossPolicy,
    recordSession,
    traits,
    mfaDevice: mfaDevice === '' ? undefined : mfaDevice,
    certSerial: certificate.serial,
    keyId: certificate.keyId,
    validAfter: toDate(certificate.validAfter) ?? new Date(0),
    validBefore: certificate.validBefore === forever ? undefined : toDate(certificate.validBefore),
    extensions: certificate.extensions,
  };
}

function names(text: string): readonly string[] | undefined {
  return stringList(JSON.parse(text));
}

function kindList(text: string): readonly RecordedKind[] | undefined {
  const given = stringList(JSON.parse(text));
  if (given?.some((kind) => !recordedKinds.some((known) => known === kind))) return undefined;
  return given && recordedKinds.filter((kind) => given.includes(kind));
}

function traitMap(text: string): Readonly<Record<string, readonly string[]>> | undefined {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return undefined;
  const entries = Object.entries(parsed).map(([name, value]) => [name, stringList(value)] as const);
  if (entries.some(([, list]) => list === undefined)) return undefined;
  return Object.fromEntries(entries.map(([name, list]) => [name, list ?? []]));
}

function stringList(value: unknown): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.every((item): item is string => typeof item === 'string') ? value : undefined;
}

function oneOf<T extends string>(words: readonly T[]): (text: string) => T | undefined {
  return (text) => words.find((word) => word === text);
}

/** `undefined` beyond what Date can hold. */
function toDate(seconds: bigint): Date | undefined {
  return seconds <= 8_640_000_000_000n ? new Date(Number(seconds) * 1000) : undefined;
}
