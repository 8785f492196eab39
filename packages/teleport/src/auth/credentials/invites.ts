// One-time links by which a user sets password and second factor. The store knows a link's hash only, so whoever
// reads the store cannot use it; the link itself is told once, to whoever made it.
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Parts } from '../parts.ts';
import { answerWillBe } from '../repeats.ts';
import type { Write } from '../store/store.ts';
import { Attempts } from './attempts.ts';
import { credentialPrefix, type Device, parseCredential, putCredential } from './device.ts';
import { relyingParty } from './log-in.ts';
import { hashPassword } from './password.ts';
import { offersOtp, offersWebauthn } from './second-factor.ts';
import { checkTotp, newTotpSecret, totpUrl } from './totp.ts';
import { checkRegistration, registrationOptions } from './webauthn.ts';

export type InvitePurpose = 'invite' | 'reset';

export interface InviteSetup {
  readonly user: string;
  readonly purpose: InvitePurpose;
  readonly expires: string;
  readonly second_factor: string;
  totp?: { secret: string; url: string };
  webauthn?: Record<string, unknown>;
}

export interface Redemption {
  readonly token: string;
  readonly password?: string | undefined;
  readonly otp?: string | undefined;
  readonly webauthn?: Record<string, unknown> | undefined;
  readonly device_name?: string | undefined;
  readonly remote_addr: string;
}

interface Invite {
  readonly user: string;
  readonly purpose: InvitePurpose;
  readonly expires: string;
  /** Offered once, so that a page that is loaded twice shows the same code. */
  readonly totpSecret: string;
  /** Base64url. */
  readonly challenge: string;
}

interface Found extends Invite {
  readonly key: string;
  readonly revision: string;
}

const hour = 3600_000;
const defaultTtlMs: Readonly<Record<InvitePurpose, number>> = { invite: hour, reset: 8 * hour };
const maxTtlMs = 7 * 24 * hour;
const prefix = 'invite/';
const ofUser = 'invite-of/';

export class Invites {
  readonly #parts: Parts;
  readonly #attempts: Attempts;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#attempts = new Attempts(parts.store, parts.now);
  }

  async create(
    user: string,
    purpose: InvitePurpose,
    ttlMs: number | undefined,
  ): Promise<{ token: string; expires: Date }> {
    const { store, directory, now } = this.#parts;
    const { user: account } = await directory.account(user);
    if (account.provider !== undefined) {
      throw new AppError(
        'conflict',
        'auth.sso_user',
        `"${user}" logs in by ${account.provider}, not by a password.`,
        {
          hint: 'Their password and second factor are matters of that provider.',
        },
      );
    }
    const token = randomBytes(32).toString('base64url');
    const expires = new Date(now().getTime() + Math.min(ttlMs ?? defaultTtlMs[purpose], maxTtlMs));
    const invite: Invite = {
      user,
      purpose,
      expires: expires.toISOString(),
      totpSecret: newTotpSecret(),
      challenge: randomBytes(32).toString('base64url'),
    };
    const old = await store.get(ofUser + user);
    const key = prefix + digest(token);
    await store.commit([
      { type: 'put', key, value: JSON.stringify(invite), expires },
      { type: 'put', key: ofUser + user, value: key, expires },
      ...(old === undefined ? [] : [{ type: 'delete' as const, key: old.value }]),
    ]);
    return { token, expires };
  }

  async read(token: string, remoteAddr: string): Promise<InviteSetup> {
    const { settings, challenges } = this.#parts;
    const invite = await this.#find(token, remoteAddr);
    const { user, purpose, expires, totpSecret, challenge } = invite;
    const mode = settings.secondFactor;
    const setup: InviteSetup = { user, purpose, expires, second_factor: mode };
    if (offersOtp(mode))
      setup.totp = { secret: totpSecret, url: totpUrl(totpSecret, user, settings.clusterName) };
    const party = relyingParty(this.#parts);
    if (party !== undefined && offersWebauthn(mode, party))
      setup.webauthn = await registrationOptions(
        party,
        user,
        Buffer.from(challenge, 'base64url'),
        challenges,
      );
    return setup;
  }

  /** Everything the user had to log in with before is replaced. */
  async redeem(redemption: Redemption): Promise<string> {
    const { store, directory, journal } = this.#parts;
    const invite = await this.#find(redemption.token, redemption.remote_addr);
    const { user, key, revision } = invite;
    await directory.account(user);
    if (redemption.password === undefined)
      throw new AppError('bad_input', 'auth.no_password', 'A password is needed.');
    const device = await this.#device(invite, redemption);
    const password = await hashPassword(redemption.password);
    const devices = device === undefined ? [] : [device];
    const before = await store.get(credentialPrefix + user);
    const writes: Write[] = [
      // Of two who use the link at once, the second finds it gone.
      { type: 'delete', key, expect: { revision } },
      { type: 'delete', key: ofUser + user },
      ...(await this.#attempts.forget(user)),
      // The user may be deleted at this very moment: no credential without its user.
      { type: 'check', key: `user/${user}`, expect: 'something' },
      putCredential(
        user,
        { password, devices },
        before === undefined ? 'nothing' : { revision: before.revision },
      ),
    ];
    const replaced = parseCredential(before).devices;
    answerWillBe({ user });
    await journal.commit(writes, changes(user, device, replaced)).catch((error: unknown) => {
      throw AppError.from(error).kind === 'conflict' ? gone() : error;
    });
    return user;
  }

  /** Writes that end every link of a user who is deleted. */
  async endAll(user: string): Promise<readonly Write[]> {
    const pointer = await this.#parts.store.get(ofUser + user);
    if (pointer === undefined) return [];
    return [pointer.value, ofUser + user].map((key) => ({ type: 'delete', key }));
  }

  async #find(token: string, remoteAddr: string): Promise<Found> {
    await this.#attempts.admit(undefined, remoteAddr);
    const key = prefix + digest(token);
    const item = await this.#parts.store.get(key);
    if (item !== undefined) return { ...(JSON.parse(item.value) as Invite), key, revision: item.revision };
    await this.#attempts.failed(undefined, remoteAddr);
    throw gone();
  }

  async #device(
    invite: Invite,
    { otp, webauthn, device_name, remote_addr }: Redemption,
  ): Promise<Device | undefined> {
    const { settings, now } = this.#parts;
    const mode = settings.secondFactor;
    const party = relyingParty(this.#parts);
    const id = randomUUID();
    if (webauthn !== undefined && party !== undefined && offersWebauthn(mode, party)) {
      const named = { id, name: device_name ?? 'security key', added: now().toISOString() };
      const proof = await checkRegistration(
        party,
        webauthn,
        Buffer.from(invite.challenge, 'base64url'),
        named,
      );
      if (proof.ok) return proof.value;
      await this.#attempts.failed(undefined, remote_addr);
      throw new AppError(
        'denied',
        'auth.bad_second_factor',
        `The security key was not set up: ${proof.reason}.`,
      );
    }
    if (otp !== undefined && offersOtp(mode)) {
      const step = await checkTotp({ secret: invite.totpSecret, lastStep: 0 }, otp, now());
      if (step !== undefined) {
        const name = device_name ?? 'authenticator app';
        const added = now().toISOString();
        return { type: 'totp', id, name, secret: invite.totpSecret, lastStep: step, added };
      }
      await this.#attempts.failed(undefined, remote_addr);
      throw new AppError('denied', 'auth.bad_second_factor', 'The one-time code is wrong.', {
        hint: 'Check that the clock of the device is right, and use a fresh code.',
      });
    }
    if (mode === 'off' || mode === 'optional') return undefined;
    throw new AppError('bad_input', 'auth.no_second_factor', 'A second factor must be set up.');
  }
}

function changes(user: string, added: Device | undefined, replaced: readonly Device[]): EventDraft[] {
  const actor = { user, user_kind: 1 as const };
  const about = ({ name, id, type }: Device) => ({
    ...actor,
    mfa_device_name: name,
    mfa_device_uuid: id,
    mfa_device_type: type,
  });
  return [
    { event: 'user.password_change', code: 'T1005I', ...actor },
    ...replaced.map((device): EventDraft => ({ event: 'mfa.delete', code: 'T1007I', ...about(device) })),
    ...(added === undefined ? [] : [{ event: 'mfa.add' as const, code: 'T1006I' as const, ...about(added) }]),
  ];
}

function digest(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

function gone(): AppError {
  return new AppError(
    'denied',
    'auth.bad_link',
    'This link is not valid: it was used, has ended, or never was.',
    {
      hint: 'Ask an administrator for a new one.',
    },
  );
}
