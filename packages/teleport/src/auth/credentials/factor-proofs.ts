// People who are logged in prove a second factor anew. Failures count, wait and lock as those of log-ins; both outcomes
// are in the audit log. What was used up belongs into the commit of what it was proven for.

import { lockOn, lockReason } from '@sallyport/contracts/api/lock.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Account } from '../directory.ts';
import type { Parts } from '../parts.ts';
import type { Write } from '../store/store.ts';
import { Attempts } from './attempts.ts';
import {
  type Credential,
  type Device,
  putCredential,
  readCredential,
  type StoredCredential,
} from './device.ts';
import { relyingParty } from './log-in.ts';
import { checkSecondFactor, type FactorProof } from './second-factor.ts';
import { Turns } from './turns.ts';

export interface ProofOrder {
  readonly account: Account;
  readonly proof: FactorProof;
  /** Of the security key's challenge. */
  readonly purpose?: string;
  /** For the log: what it is for, and what of. */
  readonly flow: 'session' | 'add_device' | 'remove_device';
  readonly subject: string;
  readonly remoteAddr: string;
  readonly userAgent?: string | undefined;
}

export interface ProvenFactor {
  readonly device: Device;
  /** With what was used up marked so. */
  readonly credential: StoredCredential;
  /** Beside the credential's. */
  readonly writes: readonly Write[];
  readonly told: EventDraft;
}

export class FactorProofs {
  readonly #parts: Parts;
  readonly #attempts: Attempts;
  readonly #turns = new Turns(8);

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#attempts = new Attempts(parts.store, parts.now);
  }

  /** One at a time for each user: so no flood of guesses gets past the count of failures. */
  prove(order: ProofOrder): Promise<ProvenFactor> {
    return this.#turns.take(order.account.user.name, () => this.#prove(order));
  }

  async #prove(order: ProofOrder): Promise<ProvenFactor> {
    const { store, settings, challenges, now, directory } = this.#parts;
    const { user } = order.account;
    const from = countedAs(order);
    await this.#attempts.admit(user.name, from);
    const stored = await readCredential(store, user.name);
    // Those of an earlier person of the name, by an identity provider, prove nothing.
    const credential = stored.owner === user.owner ? stored : { ...stored, devices: [] };
    const factor = await checkSecondFactor({
      mode: settings.secondFactor,
      party: relyingParty(this.#parts),
      user: user.name,
      devices: credential.devices,
      proof: order.proof,
      challenges,
      purpose: order.purpose,
      now: now(),
    });
    const { device, devices, writes } = factor.ok
      ? factor.value
      : { device: undefined, devices: [], writes: [] };
    if (device === undefined) {
      await this.#attempts.failed(user.name, from);
      throw await this.#refused(order, factor.ok ? 'the user has no second factor' : factor.reason);
    }
    const subject = { user: user.name, roles: user.roles, mfaDevice: device.id };
    const lock = lockOn(subject, await directory.locks(), now());
    if (lock !== undefined) throw await this.#refused(order, lockReason(lock));
    await this.#attempts.succeeded(user.name, from);
    const told: EventDraft = {
      ...blocksOf(order),
      code: 'T1016I',
      success: true,
      mfa_device: { mfa_device_name: device.name, mfa_device_uuid: device.id },
    };
    return { device, credential: { ...credential, devices }, writes, told };
  }

  async #refused(order: ProofOrder, reason: string): Promise<AppError> {
    const told: EventDraft = { ...blocksOf(order), code: 'T1016W', success: false, error: reason };
    await this.#parts.journal.commit([], [told]).catch((cause: unknown) => {
      this.#parts.log.warn({ error: AppError.from(cause).message }, 'a failed proof is not in the audit log');
    });
    return new AppError('denied', 'auth.wrong_factor', `The second factor does not hold: ${reason}.`);
  }
}

/** Of two who use one proof, the second finds a conflict. */
export function credentialWrite(
  user: string,
  credential: StoredCredential,
  devices = credential.devices,
): Write {
  const { password, owner, revision } = credential;
  const next: Credential = { password, owner, devices };
  return putCredential(user, next, revision === undefined ? 'nothing' : { revision });
}

/** A conflict in the commit of a proof → what it means. */
export function usedBefore(error: unknown): unknown {
  if (AppError.from(error).kind !== 'conflict') return error;
  return new AppError('denied', 'auth.wrong_factor', 'The second factor was used before. Take a fresh one.');
}

/**
 * Calls of tsh come through a proxy, which passes TLS on: to us all of them are from the proxy. Counted by that address
 * one person could make everybody wait. Pages name the browser's own.
 */
function countedAs({ account, proof, remoteAddr }: ProofOrder): string {
  return proof.webauthn === undefined ? `user ${account.user.name}` : remoteAddr;
}

function blocksOf({ account, flow, subject, remoteAddr, userAgent }: ProofOrder) {
  return {
    event: 'mfa_auth_challenge.validate' as const,
    user: account.user.name,
    user_kind: 1 as const,
    flow,
    subject,
    ...(remoteAddr === '' ? {} : { 'addr.remote': remoteAddr }),
    ...(userAgent === undefined ? {} : { user_agent: userAgent }),
  };
}
