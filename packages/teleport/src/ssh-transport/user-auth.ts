// The server's side of logging in (RFC 4252): public keys and certificates only. Requests are handled one at a time.
// A signature is verified here, over the session's id, before anybody is asked whether the key may come in: whoever
// answers that question can take possession of the private key for granted.
import { type SignatureAlgorithm, signatureAlgorithm } from './algorithms.ts';
import type { Address } from './connection.ts';
import { DisconnectReason, Message } from './message.ts';
import type { PacketLink } from './packet-link.ts';
import { plainKey, verifySignature } from './public-key.ts';
import type { AuthAttempt, AuthDecision, KeyQuery, Refusal } from './ssh-server.ts';
import { encode, WireReader } from './wire.ts';

const SERVICE = 'ssh-connection';
const MAX_LOGIN_BYTES = 256;
/** Requests waiting behind the one being answered. */
const MAX_WAITING = 16;
/** Successful queries do not count as tries (as in sshd), so something else must end them. */
const MAX_REQUESTS = 128;

export interface UserAuthOptions<Identity> {
  readonly remote: Address;
  readonly local: Address;
  readonly maxTries: number;
  accepts(query: KeyQuery): boolean;
  authenticate(attempt: AuthAttempt): Promise<AuthDecision<Identity>>;
  /** The client is in. */
  accepted(identity: Identity, login: string): void;
  refused(refusal: Omit<Refusal, 'remote' | 'local'>): void;
}

interface KeyRequest {
  readonly query: KeyQuery;
  readonly algorithm: SignatureAlgorithm;
  readonly publicKey: Buffer;
  /** Undefined in a mere query. */
  readonly signature: Buffer | undefined;
  /** The request up to the signature. */
  readonly signedPart: Buffer;
}

export class UserAuth<Identity> {
  readonly #link: PacketLink;
  readonly #options: UserAuthOptions<Identity>;
  #serviceAccepted = false;
  #login: string | undefined;
  #requests = 0;
  #tries = 0;
  #waiting: Buffer[] = [];
  #busy = false;
  #finished = false;
  /** The client has shown a key at least once. */
  offeredKey = false;

  constructor(link: PacketLink, options: UserAuthOptions<Identity>) {
    this.#link = link;
    this.#options = options;
  }

  get login(): string | undefined {
    return this.#login;
  }

  message(type: number, payload: Buffer): void {
    if (type === Message.extInfo) return;
    if (type === Message.serviceRequest) {
      this.#service(payload);
      return;
    }
    if (type !== Message.userauthRequest || !this.#serviceAccepted) {
      this.#broken(`message ${type}`);
      return;
    }
    if (this.#waiting.length >= MAX_WAITING) {
      this.#broken('too many log-in requests at once');
      return;
    }
    this.#waiting.push(payload);
    this.#next();
  }

  #service(payload: Buffer): void {
    const reader = new WireReader(payload, 1);
    const name = reader.text();
    if (!reader.ok || this.#serviceAccepted || name !== 'ssh-userauth') {
      this.#link.disconnect(DisconnectReason.serviceNotAvailable, 'Service not available.');
      return;
    }
    this.#serviceAccepted = true;
    this.#link.send(encode({ byte: Message.serviceAccept }, name));
  }

  #broken(what: string): void {
    this.#link.disconnect(DisconnectReason.protocolError, `Protocol error: ${what} before log-in.`);
  }

  #next(): void {
    while (!this.#busy && !this.#finished && this.#link.alive) {
      const payload = this.#waiting.shift();
      if (!payload) return;
      this.#request(payload);
    }
  }

  #request(payload: Buffer): void {
    const reader = new WireReader(payload, 1);
    const loginBytes = reader.string();
    const login = loginBytes.toString('utf8');
    const service = reader.text();
    const method = reader.text();
    if (!reader.ok || loginBytes.length > MAX_LOGIN_BYTES) {
      this.#broken('malformed request');
      return;
    }
    if (service !== SERVICE) {
      this.#link.disconnect(DisconnectReason.serviceNotAvailable, 'Service not available.');
      return;
    }
    // As sshd: one connection, one login name.
    this.#login ??= login;
    if (login !== this.#login) {
      this.#broken('change of login name');
      return;
    }
    if (++this.#requests > MAX_REQUESTS) {
      this.#broken('too many requests');
      return;
    }
    if (method !== 'publickey') {
      this.#fail(method !== 'none' || this.#requests > 1);
      return;
    }
    const request = this.#keyRequest(payload, reader, login);
    if (request) this.#handle(request);
  }

  #keyRequest(payload: Buffer, reader: WireReader, login: string): KeyRequest | undefined {
    const signed = reader.boolean();
    const algorithmName = reader.text();
    const blob = reader.string();
    const signedPart = payload.subarray(0, reader.position);
    const signature = signed ? reader.string() : undefined;
    if (!reader.done) {
      this.#broken('malformed public key request');
      return undefined;
    }
    this.offeredKey = true;
    const algorithm = signatureAlgorithm(algorithmName);
    const publicKey = plainKey(blob);
    if (!algorithm || !publicKey || new WireReader(blob).text() !== algorithm.blobType) {
      this.#fail(true);
      return undefined;
    }
    const { remote, local } = this.#options;
    const query = { login, algorithm: algorithmName, blob, remote, local };
    return { query, algorithm, publicKey, signature, signedPart };
  }

  #handle(request: KeyRequest): void {
    const { query, algorithm, publicKey, signature, signedPart } = request;
    if (!signature) {
      if (!this.#options.accepts(query)) {
        this.#fail(true);
        return;
      }
      this.#link.send(encode({ byte: Message.userauthPkOk }, query.algorithm, query.blob));
      return;
    }
    // RFC 4252 section 7: the session id as a string, then the request without the signature.
    const data = Buffer.concat([encode(this.#link.sessionId), signedPart]);
    if (!verifySignature(algorithm, publicKey, signature, data)) {
      this.#refuse('bad-signature', 'the signature is not by the key shown', query);
      this.#fail(true);
      return;
    }
    void this.#decide({ ...query, publicKey, clientVersion: this.#link.peerVersion });
  }

  async #decide(attempt: AuthAttempt): Promise<void> {
    this.#busy = true;
    let decision: AuthDecision<Identity>;
    try {
      decision = await this.#options.authenticate(attempt);
    } catch (error) {
      decision = { ok: false, reason: `could not decide: ${error instanceof Error ? error.message : error}` };
    }
    this.#busy = false;
    if (!this.#link.alive) return;
    if (decision.ok === true) {
      this.#finished = true;
      this.#waiting = [];
      this.#link.send(encode({ byte: Message.userauthSuccess }));
      if (this.#link.alive) this.#options.accepted(decision.identity, attempt.login);
      return;
    }
    this.#refuse('denied', decision.reason, attempt);
    this.#fail(true);
    this.#next();
  }

  #refuse(kind: 'bad-signature' | 'denied' | 'max-auth-tries', reason: string, query?: KeyQuery): void {
    this.#options.refused({
      kind,
      reason,
      ...(this.#login !== undefined && { login: this.#login }),
      ...(query && { algorithm: query.algorithm, blob: query.blob }),
    });
  }

  #fail(counts: boolean): void {
    if (counts) this.#tries++;
    if (this.#tries < this.#options.maxTries) {
      this.#link.send(encode({ byte: Message.userauthFailure }, 'publickey', false));
      return;
    }
    this.#refuse('max-auth-tries', `${this.#tries} failed attempts`);
    this.#finished = true;
    this.#link.disconnect(DisconnectReason.noMoreAuthMethods, 'Too many authentication failures');
  }
}
