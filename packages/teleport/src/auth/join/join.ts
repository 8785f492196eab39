// Joining: a host proves that it holds its key and a token, and gets certificates. Every refusal is told with its
// reason, to the host and to the audit log.
import type { HostCertificates, Trust } from '@sallyport/contracts/api/auth-routes.ts';
import { joinProofText, joinProofVersion } from '@sallyport/contracts/api/join-proof.ts';
import { lockOn, lockReason } from '@sallyport/contracts/api/lock.ts';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { verifySignature } from '../../ca/signature.ts';
import type { LocalHost } from '../auth-service.ts';
import type { Parts } from '../parts.ts';
import { answerWillBe } from '../repeats.ts';
import type { Write } from '../store/store.ts';
import { type HostRecord, makeHostCertificates, putHost, readHost } from './hosts.ts';
import { maskToken, type Tokens } from './tokens.ts';

export interface JoinRequest {
  readonly token: string;
  /** Base64, as all keys and blobs here. */
  readonly nonce: string;
  readonly signature: string;
  readonly signature_version?: number | undefined;
  readonly host_uuid: string;
  readonly nodename: string;
  readonly roles: readonly HostRole[];
  readonly ssh_public_key: string;
  readonly tls_public_key: string;
  readonly principals: readonly string[];
}

export interface Joined extends HostCertificates {
  readonly trust: Trust;
  labels?: Record<string, string>;
}

export interface RenewRequest {
  readonly ssh_public_key: string;
  readonly tls_public_key: string;
  readonly principals: readonly string[];
}

const purpose = 'join';
const nonceTtlMs = 60_000;

export class Joining {
  readonly #parts: Parts;
  readonly #tokens: Tokens;

  constructor(parts: Parts, tokens: Tokens) {
    this.#parts = parts;
    this.#tokens = tokens;
  }

  challenge(): Buffer {
    return this.#parts.challenges.make({ purpose, ttlMs: nonceTtlMs });
  }

  async join(request: JoinRequest, remoteAddress: string): Promise<Joined> {
    try {
      return await this.#join(request);
    } catch (error) {
      await this.#tell(refusedEvent(request, AppError.from(error), remoteAddress));
      throw error;
    }
  }

  async #join(request: JoinRequest): Promise<Joined> {
    const nonce = Buffer.from(request.nonce, 'base64');
    this.#checkPossession(request, nonce);
    const admission = await this.#tokens.admit(request.token, request.roles);
    const before = await readHost(this.#parts.store, request.host_uuid);
    if (before !== undefined && before.record.sshPublicKey !== request.ssh_public_key) {
      throw new AppError(
        'denied',
        'join.host_taken',
        `The host ${request.host_uuid} is registered with another key.`,
        {
          hint: `If it was installed anew, remove it first: tctl rm node/${request.host_uuid}`,
        },
      );
    }
    const record: HostRecord = {
      hostUuid: request.host_uuid,
      nodename: request.nodename,
      roles: request.roles,
      sshPublicKey: request.ssh_public_key,
      labels: admission.labels,
      joined: this.#parts.now().toISOString(),
    };
    await this.#refuseLocked(record);
    const order = { record, tlsPublicKey: request.tls_public_key, principals: request.principals };
    const { certificates, event } = await makeHostCertificates(this.#parts, order);
    const writes = [
      this.#parts.challenges.use(nonce),
      ...admission.writes,
      putHost(
        record,
        this.#parts.now(),
        before === undefined ? 'nothing' : { revision: before.item.revision },
      ),
    ];
    const joined: Joined = { ...certificates, trust: this.#parts.authorities.trust() };
    if (admission.labels !== undefined) joined.labels = { ...admission.labels };
    answerWillBe(joined);
    await this.#commit(writes, [joinedEvent(record, admission.masked), event]);
    return joined;
  }

  /** Before anything else: whoever only guesses tokens learns nothing about them without a key and a fresh nonce. */
  #checkPossession(request: JoinRequest, nonce: Buffer): void {
    const state = this.#parts.challenges.check(nonce, purpose);
    if (state === 'expired')
      throw new AppError('denied', 'join.expired_nonce', 'The challenge is older than a minute.');
    if (state === 'foreign')
      throw new AppError('denied', 'join.foreign_nonce', 'The challenge is none of this cluster.');
    const key = Buffer.from(request.ssh_public_key, 'base64');
    if (request.signature_version !== joinProofVersion) {
      throw new AppError(
        'unsupported',
        'join.old_signature',
        'The host signs only the challenge, not its request.',
        {
          hint: 'Its Sallyport is older than the cluster: upgrade it, and join again.',
        },
      );
    }
    const signed = Buffer.from(joinProofText({ ...request }));
    if (!verifySignature(key, Buffer.from(request.signature, 'base64'), signed)) {
      throw new AppError('denied', 'join.no_possession', 'The signature is not one by the host key.');
    }
  }

  async renew(hostUuid: string, request: RenewRequest): Promise<HostCertificates & { trust: Trust }> {
    const found = await readHost(this.#parts.store, hostUuid);
    if (found === undefined)
      throw new AppError('denied', 'auth.no_host', `The host ${hostUuid} was removed from the cluster.`);
    const record = { ...found.record, sshPublicKey: request.ssh_public_key };
    const order = { record, tlsPublicKey: request.tls_public_key, principals: request.principals };
    const { certificates, event } = await makeHostCertificates(this.#parts, order);
    // Written each time: it moves the end of the record.
    const write = putHost(record, this.#parts.now(), { revision: found.item.revision });
    await this.#parts.journal.commitTold([write], [event]);
    return { ...certificates, trust: this.#parts.authorities.trust() };
  }

  /** The auth host's own: no token, no nonce; who calls this holds the CA. */
  async enrol(host: LocalHost): Promise<HostCertificates> {
    const found = await readHost(this.#parts.store, host.hostUuid);
    const record: HostRecord = {
      hostUuid: host.hostUuid,
      nodename: host.nodename,
      roles: host.roles,
      sshPublicKey: host.sshPublicKey.toString('base64'),
      joined: found?.record.joined ?? this.#parts.now().toISOString(),
    };
    const order = { record, tlsPublicKey: host.tlsPublicKey, principals: host.principals };
    const { certificates, event } = await makeHostCertificates(this.#parts, order);
    await this.#parts.journal.commitTold([putHost(record, this.#parts.now(), 'anything')], [event]);
    return certificates;
  }

  async #refuseLocked({ hostUuid, nodename }: HostRecord): Promise<void> {
    const lock = lockOn(
      { hostUuid, hostname: nodename },
      await this.#parts.directory.locks(),
      this.#parts.now(),
    );
    if (lock !== undefined) throw new AppError('denied', 'join.locked', `${lockReason(lock)}.`);
  }

  async #commit(writes: readonly Write[], drafts: readonly EventDraft[]): Promise<void> {
    const [nonce] = writes;
    try {
      await this.#parts.journal.commitTold(writes, drafts);
    } catch (error) {
      if (AppError.from(error).kind !== 'conflict') throw error;
      if (nonce !== undefined && (await this.#parts.store.get(nonce.key)) !== undefined)
        throw new AppError('denied', 'join.replayed', 'This challenge was answered before.', {
          cause: error,
        });
      throw new AppError('conflict', 'join.raced', 'Another host joined at the same moment. Try again.', {
        cause: error,
      });
    }
  }

  /** A log that is away changes nothing about the refusal. */
  async #tell(draft: EventDraft): Promise<void> {
    await this.#parts.journal.commit([], [draft]).catch((cause: unknown) => {
      this.#parts.log.warn({ error: AppError.from(cause).message }, 'a refused join is not in the audit log');
    });
  }
}

function joinedEvent(record: HostRecord, masked: string): EventDraft {
  return {
    event: 'instance.join',
    code: 'TJ002I',
    user: record.hostUuid,
    user_kind: 3,
    host_id: record.hostUuid,
    node_name: record.nodename,
    role: record.roles.join(','),
    method: 'token',
    token_name: masked,
    success: true,
  };
}

function refusedEvent(request: JoinRequest, { message }: AppError, remoteAddress: string): EventDraft {
  return {
    event: 'instance.join',
    code: 'TJ002E',
    user_kind: 3,
    host_id: request.host_uuid,
    node_name: request.nodename,
    role: request.roles.join(','),
    method: 'token',
    token_name: maskToken(request.token),
    success: false,
    error: remoteAddress === '' ? message : `${message} (from ${remoteAddress})`,
  };
}
