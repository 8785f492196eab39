// Log-in: password and second factor for certificates. Whoever fails learns that something was wrong, not what;
// the audit log learns both.
import type { LogInProof, UserCertificates } from '@sallyport/contracts/api/auth-routes.ts';
import { lockOn, lockReason } from '@sallyport/contracts/api/lock.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Account } from '../directory.ts';
import type { Parts } from '../parts.ts';
import { answerWillBe } from '../repeats.ts';
import type { Write } from '../store/store.ts';
import { makeUserCertificates } from '../user-certificates.ts';
import { Attempts } from './attempts.ts';
import type { BrowserLogIn, BrowserLogIns } from './browser-log-ins.ts';
import { type Device, passkeyPrefix, putCredential, readCredential } from './device.ts';
import { checkPassword } from './password.ts';
import { checkSecondFactor, offersOtp, offersWebauthn } from './second-factor.ts';
import { Turns } from './turns.ts';
import { checkLogIn, logInOptions, passkeyOptions, passkeyPurpose, type RelyingParty } from './webauthn.ts';

export interface LogInRequest {
  readonly proof: LogInProof;
  readonly sshPublicKey: Buffer;
  readonly tlsPublicKey: string;
  readonly ttlMs: number | undefined;
  readonly remoteAddr: string;
  readonly userAgent: string | undefined;
  /** The certificates go to the client that began this; whoever proves sees none. */
  readonly completes?: BrowserLogIn | undefined;
}

type KnownProof = LogInProof & { readonly user: string };
type KnownRequest = LogInRequest & {
  readonly proof: KnownProof;
  /** By a passkey alone. */
  readonly alone: boolean;
};

/** No name of a user: no resource may have it. */
const unknownPasskey = '(unknown passkey)';

interface Proven {
  readonly account: Account;
  readonly device: Device | undefined;
  readonly writes: readonly Write[];
}

export class LogIn {
  readonly #parts: Parts;
  readonly #attempts: Attempts;
  readonly #browserLogIns: BrowserLogIns;
  readonly #turns = new Turns(8);

  constructor(parts: Parts, browserLogIns: BrowserLogIns) {
    this.#parts = parts;
    this.#browserLogIns = browserLogIns;
    this.#attempts = new Attempts(parts.store, parts.now);
  }

  /** The same for every name, whether somebody has it or not. */
  async challenge(user: string): Promise<{ webauthn?: Record<string, unknown>; otp: boolean }> {
    const { settings, store, challenges } = this.#parts;
    const mode = settings.secondFactor;
    const party = relyingParty(this.#parts);
    const otp = offersOtp(mode);
    if (party === undefined || !offersWebauthn(mode, party)) return { otp };
    const { devices } = await readCredential(store, user);
    return { otp, webauthn: await logInOptions(party, user, devices, challenges) };
  }

  /** One at a time for each user: so no flood of guesses gets past the count of failures. */
  async logIn(request: LogInRequest): Promise<UserCertificates> {
    const user = request.proof.user ?? (await this.#passkeyUser(request.proof));
    const known = { ...request, proof: { ...request.proof, user }, alone: request.proof.user === undefined };
    return this.#turns.take(user, () => this.#logIn(known));
  }

  /** Of a passkey that logs in by itself: it says who it is; whether that holds is seen later. */
  async passkeyChallenge(): Promise<Record<string, unknown>> {
    const party = this.#passkeyParty();
    if (party !== undefined) return passkeyOptions(party, this.#parts.challenges);
    throw new AppError('unsupported', 'auth.no_passkeys', 'Passkeys alone do not log in to this cluster.', {
      hint: 'auth_service.authentication: passwordless, second_factor and webauthn.rp_id say so.',
    });
  }

  #passkeyParty(): RelyingParty | undefined {
    return takesPasskeys(this.#parts.settings) ? relyingParty(this.#parts) : undefined;
  }

  /** A name nobody has where the key's is not known, so that it fails as any other. */
  async #passkeyUser({ webauthn }: LogInProof): Promise<string> {
    const response = webauthn?.['response'] as { userHandle?: unknown } | undefined;
    const handle = String(response?.userHandle ?? '').slice(0, 128);
    const item = handle === '' ? undefined : await this.#parts.store.get(passkeyPrefix + handle);
    return item?.value ?? unknownPasskey;
  }

  async #logIn(request: KnownRequest): Promise<UserCertificates> {
    const { user } = request.proof;
    if (this.#parts.settings.localAuth === false)
      throw await this.#refused(request, 'log-in with a password is off', noLocal());
    await this.#attempts.admit(user, request.remoteAddr).catch(async (error: unknown) => {
      throw await this.#refused(request, AppError.from(error).message, AppError.from(error));
    });
    const proven = await (request.alone ? this.#provePasskey(request.proof) : this.#prove(request.proof));
    if (typeof proven === 'string') {
      const locked = await this.#attempts.failed(user, request.remoteAddr);
      const reason = locked ? `${proven}; locked after too many failures` : proven;
      throw await this.#refused(request, reason, wrong());
    }
    const { account, device } = proven;
    const lock = lockOn(
      { user, roles: account.user.roles, mfaDevice: device?.id, issued: this.#parts.now() },
      await this.#parts.directory.locks(),
      this.#parts.now(),
    );
    if (lock !== undefined) {
      const reason = lockReason(lock);
      throw await this.#refused(request, reason, new AppError('denied', 'auth.locked', `${reason}.`));
    }
    return this.#admit(request, proven);
  }

  /** The key is all there is: it has asked its owner for PIN or finger, and was set up to be enough. */
  async #provePasskey({ user, webauthn = {} }: KnownProof): Promise<Proven | string> {
    const { store, directory, challenges } = this.#parts;
    const party = this.#passkeyParty();
    if (party === undefined) return 'passkeys alone do not log in to this cluster';
    if (user === unknownPasskey) return 'the passkey is not known';
    const account = await directory.account(user).catch((error: unknown) => AppError.from(error).message);
    if (typeof account === 'string') return account;
    if (account.user.provider !== undefined) return `the user logs in by ${account.user.provider}`;
    const credential = await readCredential(store, user);
    const check = { purpose: passkeyPurpose, alone: true };
    const proof = await checkLogIn(party, user, credential.devices, webauthn, challenges, check);
    if (!proof.ok) return proof.reason;
    const { device, challenge } = proof.value;
    const devices = credential.devices.map((each) => (each.id === device.id ? device : each));
    const expect = { revision: credential.revision ?? '' };
    const writes = [challenges.use(challenge), putCredential(user, { ...credential, devices }, expect)];
    return { account, device, writes };
  }

  /** Proof → what it proves, or why it does not. Does the same work for users who do not exist. */
  async #prove(proof: KnownProof): Promise<Proven | string> {
    const { store, directory, settings, challenges, now } = this.#parts;
    const account = await directory
      .account(proof.user)
      .catch((error: unknown) => AppError.from(error).message);
    const credential = await readCredential(store, proof.user);
    const known = typeof account === 'string' ? undefined : credential.password;
    const password = await checkPassword(known, proof.password ?? '');
    const factor = await checkSecondFactor({
      mode: settings.secondFactor,
      party: relyingParty(this.#parts),
      user: proof.user,
      devices: credential.devices,
      proof,
      challenges,
      now: now(),
    });
    if (typeof account === 'string') return account;
    if (credential.password === undefined) return 'the user has not set a password yet';
    if (!password) return 'the password is wrong';
    if (!factor.ok) return factor.reason;
    const { devices, device } = factor.value;
    const expect = { revision: credential.revision ?? '' };
    // What was used up is written together with the log-in: of two that use the same code, one finds a conflict.
    const writes =
      device === undefined
        ? []
        : [...factor.value.writes, putCredential(proof.user, { ...credential, devices }, expect)];
    return { account, device, writes };
  }

  async #admit(request: KnownRequest, { account, device, writes }: Proven): Promise<UserCertificates> {
    const { user } = request.proof;
    const actor = { user, user_kind: 1 as const };
    const order = { account, actor, mfaDevice: device?.id, ...request };
    const { certificates, event } = await makeUserCertificates(this.#parts, order).catch(
      async (error: unknown) => {
        throw await this.#refused(request, AppError.from(error).message, AppError.from(error));
      },
    );
    const told: EventDraft = {
      event: 'user.login',
      code: 'T1000I',
      ...actor,
      ...circumstances(request),
      success: true,
      user_roles: [...account.user.roles],
      ...(device === undefined
        ? {}
        : { mfa_device: { mfa_device_name: device.name, mfa_device_uuid: device.id } }),
    };
    const { tls_certificate } = certificates;
    if (tls_certificate === undefined)
      throw new AppError('internal', 'auth.no_tls', 'A certificate is missing.');
    const issued = { ...certificates, tls_certificate };
    const { completes } = request;
    answerWillBe(completes === undefined ? issued : { user });
    const delivery = completes === undefined ? [] : this.#browserLogIns.completion(completes, issued);
    try {
      await this.#parts.journal.commitTold([...writes, ...delivery], [told, event]);
    } catch (error) {
      if (AppError.from(error).kind !== 'conflict') throw error;
      // Completed by somebody else meanwhile? Then it is not known any more, and says so.
      if (completes !== undefined) await this.#browserLogIns.read(completes.id);
      await this.#attempts.failed(user, request.remoteAddr);
      throw await this.#refused(request, 'the second factor was used before', wrong());
    }
    await this.#attempts.succeeded(user, request.remoteAddr);
    return issued;
  }

  /** Tells the log; resolves to what to throw. A log that is away changes nothing about the refusal. */
  async #refused(request: KnownRequest, reason: string, error: AppError): Promise<AppError> {
    const draft: EventDraft = {
      event: 'user.login',
      code: 'T1000W',
      user: request.proof.user,
      user_kind: 1,
      ...circumstances(request),
      success: false,
      error: reason,
    };
    await this.#parts.journal.commit([], [draft]).catch((cause: unknown) => {
      this.#parts.log.warn(
        { error: AppError.from(cause).message },
        'a failed log-in is not in the audit log',
      );
    });
    return error;
  }
}

function circumstances({ remoteAddr, userAgent, alone }: KnownRequest) {
  return {
    method: alone ? 'passwordless' : 'local',
    ...(remoteAddr === '' ? {} : { 'addr.remote': remoteAddr }),
    ...(userAgent === undefined ? {} : { user_agent: userAgent }),
  };
}

/** By themselves, without name and password. */
export function takesPasskeys(settings: Parts['settings']): boolean {
  const { secondFactor, passwordless, localAuth } = settings;
  if (passwordless === false || localAuth === false) return false;
  return offersWebauthn(secondFactor, relyingParty({ settings }));
}

export function relyingParty({ settings }: Pick<Parts, 'settings'>): RelyingParty | undefined {
  return settings.webauthnRpId === undefined
    ? undefined
    : { id: settings.webauthnRpId, name: settings.clusterName };
}

function wrong(): AppError {
  return new AppError('denied', 'auth.wrong_credentials', 'User name, password or second factor is wrong.');
}

function noLocal(): AppError {
  return new AppError('denied', 'auth.no_local', 'Log-in with a password is off in this cluster.', {
    hint: 'Log in by your identity provider: `tsh login --auth=NAME`.',
  });
}
