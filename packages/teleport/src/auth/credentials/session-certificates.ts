// Certificates for one session: on one node, as one login, for a second factor that was proven for it.
import { userCertificateSkewMs } from '@sallyport/contracts/api/lock.ts';
import { joinLogin } from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { identityExtensions } from '../../ca/identity.ts';
import { identityToExtensions } from '../../ca/identity-extensions.ts';
import { issueCertificate } from '../../ca/issue.ts';
import { decideAccess, decideJoiner, sessionOptions } from '../access.ts';
import type { Caller } from '../api/handler.ts';
import type { Account } from '../directory.ts';
import { listDocuments } from '../documents.ts';
import type { Parts } from '../parts.ts';
import { type Presence, pickNode } from '../presence.ts';
import { answerWillBe } from '../repeats.ts';
import { sessionMfaExtension, sessionMfaText } from '../session-mfa.ts';
import type { Write } from '../store/store.ts';
import { certificateEvent, defaultTtlMs, permits } from '../user-certificates.ts';
import { credentialWrite, type FactorProofs, type ProvenFactor, usedBefore } from './factor-proofs.ts';

export type UserCaller = Extract<Caller, { readonly kind: 'user' }>;

export interface WantedSession {
  readonly node: string;
  readonly login: string;
  /** SSH wire blob, base64. */
  readonly ssh_public_key: string;
}

/** A session that needs nothing but the second factor. */
export interface SessionOrder {
  readonly account: Account;
  readonly nodeUuid: string;
  readonly hostname: string;
  readonly login: string;
  readonly sshPublicKey: string;
  /** End of the person's own certificate. RFC 3339 UTC. */
  readonly until: string;
}

export interface SessionCertificate {
  readonly ssh_certificate: string;
  readonly valid_before: string;
}

/** For the log-in only; the session goes on. */
const ttlMs = 60_000;

const nothing = () => [];

export class SessionCertificates {
  readonly #parts: Parts;
  readonly #presence: Presence;
  readonly #proofs: FactorProofs;

  constructor(parts: Parts, presence: Presence, proofs: FactorProofs) {
    this.#parts = parts;
    this.#presence = presence;
    this.#proofs = proofs;
  }

  /** undefined: the session needs no second factor. Rejects with `denied` where one would not help. */
  async order(caller: UserCaller, wanted: WantedSession): Promise<SessionOrder | undefined> {
    const { directory, settings, store, now } = this.#parts;
    const account = await directory.account(caller.user);
    const joins = wanted.login === joinLogin;
    // Who only joins sessions need not be allowed to log in there.
    const nodes = await (joins ? listDocuments(store, 'node') : this.#presence.nodesFor(caller.user));
    const { metadata, spec } = pickNode(nodes, wanted.node);
    const question = {
      user: account.user.name,
      roles: account.roles,
      traits: account.user.traits,
      node: { labels: spec.labels, hostUuid: metadata.name, hostname: spec.hostname },
      requireSessionMfa: settings.requireSessionMfa,
      locks: await directory.locks(),
      now: now(),
    };
    const { login } = wanted;
    const decision = joins ? decideJoiner(question) : decideAccess({ ...question, login });
    if (decision.ok) return undefined;
    if (decision.needsMfa !== true)
      throw new AppError('denied', 'auth.session_denied', `${spec.hostname} refuses it: ${decision.reason}.`);
    const until = caller.validBefore ?? new Date(now().getTime() + defaultTtlMs);
    return {
      account,
      nodeUuid: metadata.name,
      hostname: spec.hostname,
      login: wanted.login,
      sshPublicKey: wanted.ssh_public_key,
      until: until.toISOString(),
    };
  }

  async prove(order: SessionOrder, otp: string, remoteAddr: string): Promise<SessionCertificate> {
    const subject = subjectOf(order);
    const proven = await this.#proofs.prove({
      account: order.account,
      proof: { otp },
      flow: 'session',
      subject,
      remoteAddr,
    });
    return this.issue(order, proven, nothing);
  }

  /** `also`: what else belongs into the commit, made of the certificate. */
  async issue(
    order: SessionOrder,
    { device, credential, writes, told }: ProvenFactor,
    also: (certificate: SessionCertificate) => readonly Write[],
  ): Promise<SessionCertificate> {
    const { authorities, now, journal } = this.#parts;
    const { user, roles } = order.account;
    const { login } = order;
    const at = now().getTime();
    const validity = { validAfter: new Date(at - userCertificateSkewMs), validBefore: new Date(at + ttlMs) };
    const options = sessionOptions(roles);
    const mfa = { node: order.nodeUuid, login, device: device.id, until: order.until };
    const blob = await issueCertificate(authorities.active('user').ssh, {
      type: 'user',
      publicKey: Buffer.from(order.sshPublicKey, 'base64'),
      keyId: user.name,
      principals: [login],
      ...validity,
      extensions: {
        ...identityToExtensions({ ...user, ...options }),
        ...permits(options),
        [identityExtensions.mfaDevice]: device.id,
        [sessionMfaExtension]: sessionMfaText(mfa),
      },
    });
    const certificate = {
      ssh_certificate: blob.toString('base64'),
      valid_before: validity.validBefore.toISOString(),
    };
    const actor = { user: user.name, user_kind: 1 as const };
    const made = certificateEvent({ account: order.account, actor }, blob, validity);
    // A task answers something else, and has said so.
    if (also === nothing) answerWillBe({ state: 'issued', ...certificate });
    const all = [...writes, credentialWrite(user.name, credential), ...also(certificate)];
    await journal.commitTold(all, [told, made]).catch((error: unknown) => {
      throw usedBefore(error);
    });
    return certificate;
  }
}

export function subjectOf({ login, hostname }: Pick<SessionOrder, 'login' | 'hostname'>): string {
  return `${login}@${hostname}`;
}
