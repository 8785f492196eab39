// A person's own second factors: which there are, adding one, removing one. Whoever has one proves it first, so that a
// stolen certificate alone adds none.
import { randomBytes, randomUUID } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Account } from '../directory.ts';
import type { Parts } from '../parts.ts';
import { answerWillBe } from '../repeats.ts';
import type { Write } from '../store/store.ts';
import {
  type Device,
  passkeyPrefix,
  readCredential,
  type StoredCredential,
  type WebauthnDevice,
} from './device.ts';
import { credentialWrite, type FactorProofs, type ProvenFactor, usedBefore } from './factor-proofs.ts';
import { relyingParty } from './log-in.ts';
import { offersOtp, offersWebauthn } from './second-factor.ts';
import { checkTotp, newTotpSecret, totpUrl } from './totp.ts';
import { userHandle } from './webauthn.ts';

/** Nobody has more keys than pockets. */
const maxDevices = 10;
const pendingMs = 10 * 60_000;
// Below `secret/`: a sealed store seals it.
const pendingPrefix = 'secret/mfa-totp/';

interface PendingTotp {
  readonly id: string;
  readonly name: string;
  readonly secret: string;
}

/** An authenticator app that waits for its first code. */
export interface NewApp {
  readonly id: string;
  readonly secret: string;
  readonly url: string;
  readonly expires: string;
}

/** What a change of devices stands on: the credential as it was read, and what was proven for it. */
export interface DeviceProof {
  readonly credential: StoredCredential;
  readonly writes: readonly Write[];
  readonly told: readonly EventDraft[];
}

export class OwnDevices {
  readonly #parts: Parts;
  readonly #proofs: FactorProofs;

  constructor(parts: Parts, proofs: FactorProofs) {
    this.#parts = parts;
    this.#proofs = proofs;
  }

  async list(
    user: string,
  ): Promise<{ devices: ReturnType<typeof shownDevice>[]; offers: ('totp' | 'webauthn')[] }> {
    const { store, settings } = this.#parts;
    const { devices } = await readCredential(store, user);
    const mode = settings.secondFactor;
    return {
      devices: devices.map(shownDevice),
      offers: [
        ...(offersOtp(mode) ? ['totp' as const] : []),
        ...(offersWebauthn(mode, relyingParty(this.#parts)) ? ['webauthn' as const] : []),
      ],
    };
  }

  async beginTotp(
    account: Account,
    name: string,
    { credential, writes, told }: DeviceProof,
    also: (begun: NewApp) => readonly Write[] = () => [],
  ): Promise<NewApp> {
    const { settings, now, journal } = this.#parts;
    const { name: user } = account.user;
    if (!offersOtp(settings.secondFactor)) throw notOffered('authenticator apps');
    refuseName(this.mine(account, credential), name);
    const pending: PendingTotp = { id: randomBytes(16).toString('base64url'), name, secret: newTotpSecret() };
    const expires = new Date(now().getTime() + pendingMs);
    const { id, secret } = pending;
    const url = totpUrl(secret, user, settings.clusterName);
    const begun = { id, secret, url, expires: expires.toISOString() };
    const put: Write = { type: 'put', key: pendingPrefix + user, value: JSON.stringify(pending), expires };
    const used = told.length === 0 ? [] : [credentialWrite(user, credential)];
    const more = also(begun);
    // A task answers something else, and has said so.
    if (more.length === 0) answerWillBe(begun);
    await journal.commit([...writes, ...used, put, ...more], told).catch((error: unknown) => {
      throw usedBefore(error);
    });
    return begun;
  }

  async finishTotp(account: Account, id: string, otp: string) {
    const { store, now } = this.#parts;
    const { name: user } = account.user;
    const item = await store.get(pendingPrefix + user);
    const pending = item === undefined ? undefined : (JSON.parse(item.value) as PendingTotp);
    if (item === undefined || pending?.id !== id)
      throw new AppError('not_found', 'auth.no_device', 'There is no authenticator app to be added.', {
        hint: 'Begin again with `tsh mfa add`.',
      });
    const step = await checkTotp({ secret: pending.secret, lastStep: 0 }, otp, now());
    if (step === undefined) {
      throw new AppError('denied', 'auth.bad_second_factor', 'The one-time code is wrong.', {
        hint: 'Check that the clock of the device is right, and use a fresh code.',
      });
    }
    const device: Device = {
      type: 'totp',
      id: randomUUID(),
      name: pending.name,
      secret: pending.secret,
      lastStep: step,
      added: now().toISOString(),
    };
    const credential = await readCredential(store, user);
    const gone: Write = { type: 'delete', key: item.key, expect: { revision: item.revision } };
    return this.add(account, device, { credential, writes: [gone], told: [] });
  }

  /** Who has a second factor proves one by a code; who has none needs none. */
  async proveToAdd(
    account: Account,
    request: { readonly name: string; readonly otp?: string | undefined },
    remoteAddr: string,
  ): Promise<DeviceProof> {
    const { name: user } = account.user;
    const credential = await readCredential(this.#parts.store, user);
    if (this.mine(account, credential).length === 0) return { credential, writes: [], told: [] };
    if (request.otp === undefined) {
      throw new AppError('denied', 'auth.proof_needed', 'Prove one of your second factors first.', {
        hint: 'Give a code of your authenticator app; security keys are added to by `tsh mfa add --type=webauthn`.',
      });
    }
    const proof = { otp: request.otp };
    const order = { account, proof, flow: 'add_device', subject: request.name, remoteAddr } as const;
    return proofOf(await this.#proofs.prove(order));
  }

  /** `also`: what else belongs into the commit. */
  async add(account: Account, device: Device, proof: DeviceProof, also: readonly Write[] = []) {
    const { journal, challenges } = this.#parts;
    const { name: user, owner } = account.user;
    const before = this.mine(account, proof.credential);
    refuseName(before, device.name);
    const credential = { ...proof.credential, owner };
    const index: Write[] =
      device.type === 'webauthn' && device.passwordless === true
        ? [{ type: 'put', key: passkeyPrefix + userHandle(user, challenges), value: user }]
        : [];
    // The user may be deleted at this very moment: no credential without its user.
    const there: Write = { type: 'check', key: `user/${user}`, expect: 'something' };
    const writes = [
      ...proof.writes,
      ...also,
      ...index,
      there,
      credentialWrite(user, credential, [...before, device]),
    ];
    const told: EventDraft = { event: 'mfa.add', code: 'T1006I', ...about(user, device) };
    await journal.commit(writes, [...proof.told, told]).catch((error: unknown) => {
      throw usedBefore(error);
    });
    return shownDevice(device);
  }

  async remove(
    account: Account,
    name: string,
    { credential, writes, told }: DeviceProof,
    also: readonly Write[] = [],
  ) {
    const { journal } = this.#parts;
    const { name: user } = account.user;
    const device = this.removable(account, credential, name);
    const rest = credential.devices.filter(({ id }) => id !== device.id);
    const event: EventDraft = { event: 'mfa.delete', code: 'T1007I', ...about(user, device) };
    await journal
      .commit([...writes, ...also, credentialWrite(user, credential, rest)], [...told, event])
      .catch((error: unknown) => {
        throw usedBefore(error);
      });
    return shownDevice(device);
  }

  /** Rejects for a device that is not there, and for the last one of whoever cannot log in without. */
  removable(account: Account, credential: StoredCredential, name: string): Device {
    const { secondFactor: mode } = this.#parts.settings;
    const devices = this.mine(account, credential);
    const device = devices.find((each) => each.name === name || each.id === name);
    if (device === undefined) {
      throw new AppError('not_found', 'auth.no_device', `You have no second factor "${name}".`, {
        hint: '`tsh mfa ls` lists them.',
      });
    }
    const needed = account.user.provider === undefined && mode !== 'off' && mode !== 'optional';
    if (!needed || devices.length > 1) return device;
    throw new AppError(
      'conflict',
      'auth.last_device',
      'It is your last second factor: without one you cannot log in.',
      {
        hint: 'Add another first, with `tsh mfa add`.',
      },
    );
  }

  /** Those of an earlier person of the name, by an identity provider, are not this one's. */
  mine({ user }: Account, { devices, owner }: StoredCredential): readonly Device[] {
    return owner === user.owner ? devices : [];
  }
}

export function proofOf({ credential, writes, told }: ProvenFactor): DeviceProof {
  return { credential, writes, told: [told] };
}

export function shownDevice(device: Device) {
  const { id, name, type, added } = device;
  const passwordless = (device as WebauthnDevice).passwordless === true;
  return {
    id,
    name,
    type,
    ...(passwordless ? { passwordless } : {}),
    ...(added === undefined ? {} : { added }),
  };
}

function refuseName(devices: readonly Device[], name: string): void {
  if (devices.some((device) => device.name === name))
    throw new AppError('conflict', 'auth.device_exists', `You have a second factor "${name}" already.`);
  if (devices.length >= maxDevices)
    throw new AppError(
      'limit',
      'auth.too_many_devices',
      `More than ${maxDevices} second factors are not kept.`,
    );
}

export function notOffered(what: string): AppError {
  return new AppError('unsupported', 'auth.not_offered', `This cluster takes no ${what}.`, {
    hint: 'auth_service.authentication.second_factor says which second factors it takes.',
  });
}

function about(user: string, { name, id, type }: Device) {
  return { user, user_kind: 1 as const, mfa_device_name: name, mfa_device_uuid: id, mfa_device_type: type };
}
