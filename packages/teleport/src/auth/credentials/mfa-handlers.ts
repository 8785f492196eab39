// What stands behind the routes of second factors.
import type { mfaRoutes } from '@sallyport/contracts/api/mfa-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { CallContext, Handlers } from '../api/handler.ts';
import type { Parts } from '../parts.ts';
import type { Presence } from '../presence.ts';
import { readCredential } from './device.ts';
import { FactorProofs } from './factor-proofs.ts';
import type { LogIn } from './log-in.ts';
import { relyingParty } from './log-in.ts';
import { MfaTasks } from './mfa-tasks.ts';
import { OwnDevices, proofOf } from './own-devices.ts';
import { offersOtp, offersWebauthn } from './second-factor.ts';
import { SessionCertificates, type UserCaller } from './session-certificates.ts';

export interface MfaParts {
  readonly parts: Parts;
  readonly presence: Presence;
  readonly logIn: LogIn;
  /** Rejects unless the caller is still somebody. */
  readonly admitted: (context: CallContext) => Promise<void>;
}

export function mfaHandlers({ parts, presence, logIn, admitted }: MfaParts): Handlers<typeof mfaRoutes> {
  const proofs = new FactorProofs(parts);
  const devices = new OwnDevices(parts, proofs);
  const sessions = new SessionCertificates(parts, presence, proofs);
  const tasks = new MfaTasks(parts, { proofs, devices, sessions });
  const self = async (context: CallContext): Promise<UserCaller> => {
    await admitted(context);
    if (context.caller.kind === 'user') return context.caller;
    throw new AppError('denied', 'auth.not_a_user', 'Only a person who is logged in may do this.');
  };
  const accountOf = async (context: CallContext) => parts.directory.account((await self(context)).user);
  return {
    async sessionCertificate({ body }, context) {
      const caller = await self(context);
      const order = await sessions.order(caller, body);
      if (order === undefined) return { state: 'not_needed' };
      if (body.otp !== undefined)
        return { state: 'issued', ...(await sessions.prove(order, body.otp, context.remoteAddress)) };
      const mine = devices.mine(order.account, await readCredential(parts.store, caller.user));
      const has = (type: 'totp' | 'webauthn') => mine.some((device) => device.type === type);
      const mode = parts.settings.secondFactor;
      return {
        state: 'needed',
        otp: offersOtp(mode) && has('totp'),
        webauthn: offersWebauthn(mode, relyingParty(parts)) && has('webauthn'),
      };
    },
    async listMfaDevices(_, context) {
      return devices.list((await self(context)).user);
    },
    async beginTotpDevice({ body }, context) {
      const account = await accountOf(context);
      const proof = await devices.proveToAdd(account, body, context.remoteAddress);
      return devices.beginTotp(account, body.name, proof);
    },
    async finishTotpDevice({ params, body }, context) {
      return { device: await devices.finishTotp(await accountOf(context), params.id, body.otp) };
    },
    async removeMfaDevice({ body }, context) {
      const account = await accountOf(context);
      const { name, otp } = body;
      devices.removable(account, await readCredential(parts.store, account.user.name), name);
      const remoteAddr = context.remoteAddress;
      const order = { account, proof: { otp }, flow: 'remove_device', subject: name, remoteAddr } as const;
      return { device: await devices.remove(account, name, proofOf(await proofs.prove(order))) };
    },
    async beginMfaTask({ body }, context) {
      return tasks.begin(await self(context), body, context.remoteAddress);
    },
    async mfaTaskResult({ params }, context) {
      return tasks.result(await self(context), params.id);
    },
    async readMfaTask({ params }, context) {
      await admitted(context);
      return tasks.read(params.id);
    },
    async completeMfaTask({ params, body }, context) {
      await admitted(context);
      return tasks.complete(params.id, body);
    },
    async passkeyChallenge(_, context) {
      await admitted(context);
      return { webauthn: await logIn.passkeyChallenge() };
    },
  };
}
