// Log-in by an identity provider: a browser is sent there and comes back, once, the same browser, with the provider's
// word about a person. The word becomes a user for as long as the certificates live. Every refusal is in the audit log.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { ConnectorDocument, ConnectorKind } from '@sallyport/contracts/api/connectors.ts';
import { lockOn, lockReason } from '@sallyport/contracts/api/lock.ts';
import { resourceName } from '@sallyport/contracts/api/resource-parts.ts';
import type { UserDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { BrowserLogIn, BrowserLogIns, Tried } from '../credentials/browser-log-ins.ts';
import { gone } from '../credentials/browser-log-ins.ts';
import { credentialPrefix } from '../credentials/device.ts';
import { putDocument, readDocumentOf } from '../documents.ts';
import type { Parts } from '../parts.ts';
import { answerWillBe } from '../repeats.ts';
import type { Item, Write } from '../store/store.ts';
import { makeUserCertificates } from '../user-certificates.ts';
import { toUser } from '../user-document.ts';
import { type Attributes, bounded, toldBounds, traitBounds } from './attributes.ts';
import { findConnector, makeProvider, Providers } from './connectors.ts';
import type { Errand, IdentityProvider, Vouched } from './identity-provider.ts';
import { livingUntil, nameTaken, ownerOf, ssoUser, userCreated } from './sso-user.ts';

export interface BeginSso {
  readonly connector: string;
  readonly browser_log_in: string;
  readonly host?: string | undefined;
  readonly remote_addr: string;
}

export interface CompleteSso {
  readonly kind: ConnectorKind;
  readonly query: string;
  readonly bindings: Readonly<Record<string, string>>;
  readonly remote_addr: string;
  readonly user_agent?: string | undefined;
}

/** `sso-request/<hash of its state>`: whoever reads the store cannot come back as the browser. */
interface Pending extends Omit<Errand, 'state'> {
  readonly connector: string;
  readonly kind: ConnectorKind;
  readonly logIn: string;
  readonly bindingSha256: string;
  /** It stays until it would have run out, so that a second return is told from an unknown one. */
  readonly used?: true;
}

/** The person may have to log in at the provider first. */
const openMs = 5 * 60_000;
const prefix = 'sso-request/';
/** Connectors on trial, secrets and all. Below `secret/`: a sealed store seals them. */
export const trialPrefix = 'secret/sso-trial/';
/** The newest request of a log-in: one is open at a time. */
const ofLogIn = 'sso-request-of/';

/** What is known of a return so far, for the log. */
interface Known {
  connector?: string;
  method: ConnectorKind;
  user?: string;
  attributes?: Attributes;
}

export class SignOn {
  readonly #parts: Parts;
  readonly #logIns: BrowserLogIns;
  readonly #providers = new Providers();

  constructor(parts: Parts, logIns: BrowserLogIns) {
    this.#parts = parts;
    this.#logIns = logIns;
  }

  async begin(request: BeginSso): Promise<{ url: string; flow: string; binding: string }> {
    const { store, now } = this.#parts;
    const { id, order } = await this.#logIns.read(request.browser_log_in);
    const provider = await this.#providerOf(id, order, request.connector);
    const state = randomBytes(24).toString('base64url');
    const binding = randomBytes(24).toString('base64url');
    const errand: Errand = {
      state,
      nonce: randomBytes(24).toString('base64url'),
      codeVerifier: randomBytes(32).toString('base64url'),
      redirectUrl: redirectFor(provider.redirectUrls, request.host),
    };
    const url = await provider.authorizationUrl(errand);
    const { state: _, ...kept } = errand;
    const pending: Pending = {
      ...kept,
      connector: provider.name,
      kind: provider.kind,
      logIn: id,
      bindingSha256: digest(binding),
    };
    const expires = new Date(now().getTime() + openMs);
    const key = prefix + digest(state);
    const before = await store.get(ofLogIn + id);
    await store.commit([
      { type: 'put', key, value: JSON.stringify(pending), expires },
      { type: 'put', key: ofLogIn + id, value: key, expires },
      ...(before === undefined ? [] : [{ type: 'delete' as const, key: before.value }]),
    ]);
    return { url: url.href, flow: flowOf(state), binding };
  }

  async complete(request: CompleteSso): Promise<{ user: string; connector: string; trial?: boolean }> {
    const known: Known = { method: request.kind };
    let pending: Pending | undefined;
    try {
      const { item, state } = await this.#find(request);
      pending = JSON.parse(item.value) as Pending;
      known.connector = pending.connector;
      await this.#take(pending, item, state, request);
      const logIn = await this.#logIns.read(pending.logIn);
      const provider = await this.#providerOf(logIn.id, logIn.order, pending.connector);
      const vouched = await provider.identify({ ...pending, state }, request.query);
      known.attributes = vouched.attributes;
      known.user = vouched.username;
      if (logIn.order.trial !== undefined) {
        await this.#logIns.tried(logIn.id, await this.#trialOf(vouched, provider));
        return { user: printable(vouched.username), connector: provider.name, trial: true };
      }
      const user = await this.#admit({ vouched, provider, logIn, request });
      return { user, connector: provider.name };
    } catch (error) {
      const refusal = AppError.from(error);
      await this.#tellRefused(known, request, refusal);
      // A provider that is away may be back in a minute; whoever came with another's return decides nothing.
      if (pending !== undefined && this.#ends(refusal)) await this.#logIns.refuse(pending.logIn, refusal);
      throw refusal;
    }
  }

  #ends({ kind, code }: AppError): boolean {
    return kind === 'denied' && !foreign.has(code);
  }

  async #find({ query }: CompleteSso): Promise<{ item: Item; state: string }> {
    const state = new URLSearchParams(query).get('state') ?? '';
    const item = state === '' ? undefined : await this.#parts.store.get(prefix + digest(state));
    if (item !== undefined) return { item, state };
    throw new AppError(
      'denied',
      'auth.sso_unknown',
      'This return from an identity provider belongs to no log-in.',
      {
        hint: 'It ran out, a newer one took its place, or its state was altered. Start again with `tsh login`.',
      },
    );
  }

  /** The same browser, the same provider, and never twice. */
  async #take(pending: Pending, item: Item, state: string, request: CompleteSso): Promise<void> {
    const binding = request.bindings[flowOf(state)] ?? '';
    const same = timingSafeEqual(Buffer.from(digest(binding)), Buffer.from(pending.bindingSha256));
    if (!same || pending.kind !== request.kind) {
      throw new AppError(
        'denied',
        'auth.sso_other_browser',
        'The browser that came back from the identity provider is not the one that was sent there.',
        { hint: 'Open the address tsh shows in one browser, and allow it cookies.' },
      );
    }
    const twice = new AppError(
      'denied',
      'auth.sso_replayed',
      'This return from the identity provider was used before.',
      {
        hint: 'Start again with `tsh login`.',
      },
    );
    if (pending.used) throw twice;
    const value = JSON.stringify({ ...pending, used: true });
    const { key, expires, revision } = item;
    await this.#parts.store
      .commit([{ type: 'put', key, value, expires, expect: { revision } }])
      .catch((error: unknown) => {
        throw AppError.from(error).kind === 'conflict' ? twice : error;
      });
  }

  async #admit({ vouched, provider, logIn, request }: Admission): Promise<string> {
    const { store, directory, journal, now } = this.#parts;
    const { username } = vouched;
    if (vouched.roles.length === 0)
      throw refused(
        `nothing ${provider.display} says of "${printable(username)}" gives a role`,
        'auth.sso_no_role',
      );
    if (!resourceName.safeParse(username).success)
      throw refused(`"${printable(username)}" cannot be the name of a user here`, 'auth.sso_bad_name');
    const existing = await readDocumentOf(store, 'user', username);
    const taken = nameTaken(existing, provider, vouched.subject);
    if (taken !== undefined) throw refused(taken, 'auth.sso_name_taken');
    const user = ssoUser({ vouched, provider, existing, now: now() });
    const roles = await directory.roles(user.spec.roles);
    const lock = lockOn(
      { user: username, roles: user.spec.roles, issued: now() },
      await directory.locks(),
      now(),
    );
    if (lock !== undefined) throw refused(lockReason(lock), 'auth.locked');
    const actor = { user: username, user_kind: 1 as const };
    const { order } = logIn;
    const { certificates, event } = await makeUserCertificates(this.#parts, {
      account: { user: toUser(user, now().toISOString()), roles },
      actor,
      sshPublicKey: Buffer.from(order.ssh_public_key, 'base64'),
      tlsPublicKey: order.tls_public_key,
      ttlMs: order.ttl_ms,
    });
    const { tls_certificate } = certificates;
    if (tls_certificate === undefined)
      throw new AppError('internal', 'auth.no_tls', 'A certificate is missing.');
    const living = livingUntil(user, existing, certificates.valid_before);
    const expect =
      existing?.metadata.revision === undefined ? 'nothing' : { revision: existing.metadata.revision };
    const told: EventDraft[] = [
      ...(existing === undefined ? [userCreated(living, provider)] : []),
      this.#told({ method: provider.kind, connector: provider.name, ...vouched }, request, user.spec.roles),
      event,
    ];
    answerWillBe({ user: username, connector: provider.name });
    const writes: Write[] = [
      putDocument(living, { expect }),
      ...(await this.#endOthersDevices(user)),
      ...this.#logIns.completion(logIn, { ...certificates, tls_certificate }),
    ];
    await journal.commitTold(writes, told).catch((error: unknown) => {
      throw AppError.from(error).kind === 'conflict' ? gone() : error;
    });
    return username;
  }

  /** Second factors that somebody else of this name set up are not this person's. */
  async #endOthersDevices({ metadata, spec }: UserDocument): Promise<Write[]> {
    const key = credentialPrefix + metadata.name;
    const item = await this.#parts.store.get(key);
    if (item === undefined || spec.created_by === undefined) return [];
    const { owner } = JSON.parse(item.value) as { owner?: string };
    return owner === ownerOf(spec.created_by)
      ? []
      : [{ type: 'delete', key, expect: { revision: item.revision } }];
  }

  /** What a log-in would give, and what would stand in its way. */
  async #trialOf(vouched: Vouched, provider: IdentityProvider): Promise<Tried> {
    const { store, directory } = this.#parts;
    const { username, roles, attributes, subject } = vouched;
    const named = resourceName.safeParse(username).success;
    const existing = named ? await readDocumentOf(store, 'user', username) : undefined;
    const missing = await Promise.all(
      roles.map((role) =>
        directory.role(role).then(
          () => [],
          (error: unknown) => [AppError.from(error).message.replace(/\.$/, '')],
        ),
      ),
    );
    const problems = [
      ...(named ? [] : [`"${printable(username)}" cannot be the name of a user here`]),
      ...(roles.length === 0 ? ['nothing the provider says gives a role'] : []),
      ...[nameTaken(existing, provider, subject) ?? []].flat(),
      ...missing.flat(),
    ];
    const shown = bounded(attributes, traitBounds, ['email', 'groups']);
    return { state: 'tried', user: printable(username), roles: [...roles], attributes: shown, problems };
  }

  /** Of a trial: the document that came with it, which is nowhere else. */
  async #providerOf(id: string, order: BrowserLogIn['order'], name: string): Promise<IdentityProvider> {
    if (order.trial === undefined) return this.#provider(name);
    const item = await this.#parts.store.get(trialPrefix + id);
    if (item === undefined) throw gone();
    return makeProvider(JSON.parse(item.value) as ConnectorDocument);
  }

  async #provider(name: string): Promise<IdentityProvider> {
    const document = await findConnector(this.#parts.store, name);
    if (document !== undefined) return this.#providers.of(document);
    throw new AppError(
      'not_found',
      'auth.no_connector',
      `There is no identity provider "${printable(name)}".`,
      {
        hint: 'The log-in page lists them; `tctl get oidc` and `tctl get github` do.',
      },
    );
  }

  #told(known: Known & { username?: string }, request: CompleteSso, roles: readonly string[]): EventDraft {
    const { attributes, username = known.user } = known;
    return {
      event: 'user.login',
      code: 'T1001I',
      user: username ?? '',
      user_kind: 1,
      user_roles: [...roles],
      ...circumstances(known, request),
      ...(attributes === undefined ? {} : { attributes: bounded(attributes, toldBounds, ['email']) }),
      success: true,
    };
  }

  /** A log that is away changes nothing about the refusal. */
  async #tellRefused(known: Known, request: CompleteSso, refusal: AppError): Promise<void> {
    const { user, attributes } = known;
    const draft: EventDraft = {
      event: 'user.login',
      code: 'T1001W',
      ...(user === undefined ? {} : { user: printable(user), user_kind: 1 as const }),
      ...circumstances(known, request),
      ...(attributes === undefined ? {} : { attributes: bounded(attributes, toldBounds, ['email']) }),
      success: false,
      error: refusal.message.replace(/\.$/, ''),
    };
    await this.#parts.journal.commit([], [draft]).catch((cause: unknown) => {
      this.#parts.log.warn(
        { error: AppError.from(cause).message },
        'a failed log-in is not in the audit log',
      );
    });
  }
}

interface Admission {
  readonly vouched: Vouched;
  readonly provider: IdentityProvider;
  readonly logIn: BrowserLogIn;
  readonly request: CompleteSso;
}

/** Somebody else's return must not end a person's log-in. */
const foreign = new Set(['auth.sso_other_browser', 'auth.sso_replayed']);

function circumstances({ method, connector }: Known, { remote_addr, user_agent }: CompleteSso) {
  return {
    method,
    ...(connector === undefined ? {} : { connector }),
    ...(remote_addr === '' ? {} : { 'addr.remote': remote_addr }),
    ...(user_agent === undefined ? {} : { user_agent }),
  };
}

/** Of several, the one on the host the browser is at: its cookie is there. */
function redirectFor(urls: readonly string[], host: string | undefined): string {
  const [first = ''] = urls;
  return urls.find((url) => new URL(url).host === host) ?? first;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Public, and different for each request: names its cookie. */
function flowOf(state: string): string {
  return createHash('sha256').update(`flow\0${state}`).digest('hex').slice(0, 16);
}

function refused(reason: string, code: string): AppError {
  return new AppError('denied', code, `The log-in is refused: ${reason}.`, {
    hint: 'Ask an administrator of the cluster; its audit log has the circumstances.',
  });
}

/** A provider's word may hold anything. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, '?').slice(0, 128);
}
