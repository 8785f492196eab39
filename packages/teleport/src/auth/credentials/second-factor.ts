// Which second factor a log-in needs, and whether the one that was given holds.
import type { SecondFactor } from '../auth-settings.ts';
import type { Write } from '../store/store.ts';
import type { Challenges } from './challenge.ts';
import type { Device } from './device.ts';
import { checkTotp, newTotpSecret } from './totp.ts';
import { checkLogIn, type Proof, type RelyingParty } from './webauthn.ts';

export interface FactorProof {
  readonly otp?: string | undefined;
  readonly webauthn?: Record<string, unknown> | undefined;
}

export interface FactorQuestion {
  readonly mode: SecondFactor;
  readonly party: RelyingParty | undefined;
  readonly user: string;
  readonly devices: readonly Device[];
  readonly proof: FactorProof;
  readonly challenges: Challenges;
  /** Of the security key's challenge. Default: a log-in. */
  readonly purpose?: string | undefined;
  readonly now: Date;
}

export interface FactorAnswer {
  /** Absent: none was needed. */
  readonly device?: Device;
  /** The user's devices with what was used up marked so. */
  readonly devices: readonly Device[];
  /** Make the proof unusable for a second time; belongs into the commit of the log-in. */
  readonly writes: readonly Write[];
}

const decoySecret = newTotpSecret();

export function offersOtp(mode: SecondFactor): boolean {
  return mode === 'otp' || mode === 'on' || mode === 'optional';
}

export function offersWebauthn(mode: SecondFactor, party: RelyingParty | undefined): boolean {
  return party !== undefined && (mode === 'webauthn' || mode === 'on' || mode === 'optional');
}

/** An answer without a device is given only where none is asked for. */
export async function checkSecondFactor(question: FactorQuestion): Promise<Proof<FactorAnswer>> {
  const { mode, devices, proof, party } = question;
  if (mode === 'off') return { ok: true, value: { devices, writes: [] } };
  if (proof.webauthn !== undefined && offersWebauthn(mode, party)) return checkKey(question, proof.webauthn);
  if (proof.otp !== undefined && offersOtp(mode)) return checkCode(question, proof.otp);
  // A device of any kind counts: a cluster that stops offering its kind must not open the account.
  if (mode === 'optional' && devices.length === 0) return { ok: true, value: { devices, writes: [] } };
  return { ok: false, reason: 'no second factor was given' };
}

async function checkCode({ devices, now }: FactorQuestion, otp: string): Promise<Proof<FactorAnswer>> {
  const apps = devices.filter((device) => device.type === 'totp');
  if (apps.length === 0) {
    // The same work as for somebody who has one.
    await checkTotp({ secret: decoySecret, lastStep: 0 }, otp, now);
    return { ok: false, reason: 'the user has no authenticator app' };
  }
  for (const device of apps) {
    const step = await checkTotp(device, otp, now);
    if (step !== undefined) return { ok: true, value: used(devices, { ...device, lastStep: step }, []) };
  }
  return { ok: false, reason: 'the one-time code is wrong or was used before' };
}

async function checkKey(
  { party, user, devices, challenges, purpose }: FactorQuestion,
  response: Record<string, unknown>,
): Promise<Proof<FactorAnswer>> {
  if (party === undefined) return { ok: false, reason: 'security keys are not set up in this cluster' };
  const proof = await checkLogIn(
    party,
    user,
    devices,
    response,
    challenges,
    purpose === undefined ? {} : { purpose },
  );
  if (!proof.ok) return proof;
  return { ok: true, value: used(devices, proof.value.device, [challenges.use(proof.value.challenge)]) };
}

function used(devices: readonly Device[], device: Device, writes: readonly Write[]): FactorAnswer {
  return { device, devices: devices.map((each) => (each.id === device.id ? device : each)), writes };
}
