// Security keys and passkeys as second factor (WebAuthn level 3). The browser's and the library's shapes end here.
import type { AuthenticationResponseJSON, RegistrationResponseJSON } from '@simplewebauthn/server';
import type { Challenges } from './challenge.ts';
import type { Device, WebauthnDevice } from './device.ts';

type Json = Record<string, unknown>;

/** Loaded with the first key: it is 260 modules, half of all that the auth service loads, and 200 ms of processor. */
const webauthn = () => import('@simplewebauthn/server');

export interface RelyingParty {
  /** The domain credentials are bound to. */
  readonly id: string;
  /** The cluster, as the browser shows it. */
  readonly name: string;
}

export type Proof<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string };

// EdDSA, ES256, RS256 (COSE). Named, because the library would ask Node for more, which warns that it is new.
const supportedAlgorithmIDs = [-8, -7, -257];
/** How long a person may look for their key. */
const ttlMs = 5 * 60_000;
const logIn = (user: string) => `webauthn log-in\0${user}`;

/**
 * What the browser's `navigator.credentials.get` takes. A user who has no key, or does not exist, is answered with
 * a made-up one that is always the same: the question tells nothing about the account.
 */
export async function logInOptions(
  party: RelyingParty,
  user: string,
  devices: readonly Device[],
  challenges: Challenges,
  purpose = logIn(user),
): Promise<Json> {
  const keys = devices.filter((device) => device.type === 'webauthn');
  const known = keys.map((key) => ({ id: key.credentialId, ...transports(key.transports) }));
  const options = await (await webauthn()).generateAuthenticationOptions({
    rpID: party.id,
    challenge: bytes(challenges.make({ purpose, ttlMs })),
    allowCredentials: known.length > 0 ? known : [{ id: challenges.pseudonym('webauthn credential', user) }],
    timeout: ttlMs,
    userVerification: 'discouraged',
  });
  return { ...options };
}

/** Of a passkey that logs in by itself: it knows who it is for, and asks its owner for PIN or finger. */
export async function passkeyOptions(party: RelyingParty, challenges: Challenges): Promise<Json> {
  const options = await (await webauthn()).generateAuthenticationOptions({
    rpID: party.id,
    challenge: bytes(challenges.make({ purpose: passkeyPurpose, ttlMs })),
    timeout: ttlMs,
    userVerification: 'required',
  });
  return { ...options };
}

export const passkeyPurpose = 'webauthn passkey';

/** What the authenticator keeps as the user's id. */
export function userHandle(user: string, challenges: Challenges): string {
  return challenges.pseudonym('webauthn user', user);
}

export interface KeyCheck {
  /** Of the challenge. Default: a log-in of the user. */
  readonly purpose?: string;
  /** It is all that is proven: it must have asked its owner for PIN or finger. */
  readonly alone?: boolean;
}

export interface LogInAnswer {
  /** With its counter moved on. */
  readonly device: WebauthnDevice;
  /** To be marked as used together with the log-in. */
  readonly challenge: Buffer;
}

export async function checkLogIn(
  party: RelyingParty,
  user: string,
  devices: readonly Device[],
  response: Json,
  challenges: Challenges,
  { purpose = logIn(user), alone = false }: KeyCheck = {},
): Promise<Proof<LogInAnswer>> {
  const device = devices.find((each) => each.type === 'webauthn' && each.credentialId === response['id']);
  if (device?.type !== 'webauthn') return { ok: false, reason: 'the security key is not one of the user' };
  if (alone && device.passwordless !== true)
    return { ok: false, reason: 'the security key was not set up to log in by itself' };
  const client = readClientData(response, party);
  if (!client.ok) return client;
  const { origin, challenge } = client.value;
  const state = challenges.check(challenge, purpose);
  if (state !== 'good') return { ok: false, reason: `the challenge of the security key is ${state}` };
  try {
    const { verified, authenticationInfo } = await (await webauthn()).verifyAuthenticationResponse({
      response: response as unknown as AuthenticationResponseJSON,
      expectedChallenge: challenge.toString('base64url'),
      expectedOrigin: origin,
      expectedRPID: party.id,
      requireUserVerification: alone,
      credential: {
        id: device.credentialId,
        publicKey: bytes(Buffer.from(device.publicKey, 'base64url')),
        counter: device.counter,
        ...transports(device.transports),
      },
    });
    if (!verified) return { ok: false, reason: 'the signature of the security key is wrong' };
    return { ok: true, value: { device: { ...device, counter: authenticationInfo.newCounter }, challenge } };
  } catch (error) {
    return { ok: false, reason: `the security key was refused: ${messageOf(error)}` };
  }
}

/** What `navigator.credentials.create` takes. */
export async function registrationOptions(
  party: RelyingParty,
  user: string,
  challenge: Buffer,
  challenges: Challenges,
  passwordless = false,
): Promise<Json> {
  const options = await (await webauthn()).generateRegistrationOptions({
    rpName: party.name,
    rpID: party.id,
    userName: user,
    userID: bytes(Buffer.from(userHandle(user, challenges), 'base64url')),
    challenge: bytes(challenge),
    timeout: ttlMs,
    attestationType: 'none',
    supportedAlgorithmIDs,
    authenticatorSelection: passwordless
      ? { residentKey: 'required', userVerification: 'required' }
      : { residentKey: 'discouraged', userVerification: 'discouraged' },
  });
  return { ...options };
}

export async function checkRegistration(
  party: RelyingParty,
  response: Json,
  challenge: Buffer,
  device: Pick<WebauthnDevice, 'id' | 'name' | 'passwordless' | 'added'>,
): Promise<Proof<WebauthnDevice>> {
  const client = readClientData(response, party);
  if (!client.ok) return client;
  try {
    const { verified, registrationInfo } = await (await webauthn()).verifyRegistrationResponse({
      response: response as unknown as RegistrationResponseJSON,
      expectedChallenge: challenge.toString('base64url'),
      expectedOrigin: client.value.origin,
      expectedRPID: party.id,
      requireUserVerification: device.passwordless === true,
      supportedAlgorithmIDs,
    });
    if (!verified) return { ok: false, reason: 'the security key did not prove itself' };
    const { id, publicKey, counter, transports: ways } = registrationInfo.credential;
    const key = Buffer.from(publicKey).toString('base64url');
    return {
      ok: true,
      value: { type: 'webauthn', ...device, credentialId: id, publicKey: key, counter, transports: ways },
    };
  } catch (error) {
    return { ok: false, reason: `the security key was refused: ${messageOf(error)}` };
  }
}

/** The origin is the browser's word for where it is: our domain or one below it, by https, on any port. */
function readClientData(response: Json, party: RelyingParty): Proof<{ origin: string; challenge: Buffer }> {
  try {
    const { clientDataJSON } = response['response'] as { clientDataJSON: string };
    const data = JSON.parse(Buffer.from(clientDataJSON, 'base64url').toString()) as Record<string, unknown>;
    const origin = new URL(String(data['origin']));
    const ours = origin.hostname === party.id || origin.hostname.endsWith(`.${party.id}`);
    if (!ours || (origin.protocol !== 'https:' && origin.hostname !== 'localhost'))
      return { ok: false, reason: `the security key was used at ${origin.origin}` };
    const challenge = Buffer.from(String(data['challenge']), 'base64url');
    return { ok: true, value: { origin: String(data['origin']), challenge } };
  } catch {
    return { ok: false, reason: 'the answer of the security key cannot be read' };
  }
}

/** The library wants bytes over an ArrayBuffer of their own. */
function bytes(buffer: Buffer): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer);
}

function transports(ways: readonly string[] | undefined): { transports?: string[] } {
  return ways === undefined ? {} : { transports: [...ways] };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
