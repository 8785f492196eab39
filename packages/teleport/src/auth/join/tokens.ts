// Join tokens: from the configuration, for ever, or made on demand, for some time and some uses.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { TokenDocument } from '@sallyport/contracts/api/resources.ts';
import { type HostRole, hostRoles } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Caller } from '../api/handler.ts';
import { listDocuments, putDocument, readDocumentOf } from '../documents.ts';
import { actorOf, type Parts } from '../parts.ts';
import { answerWillBe } from '../repeats.ts';
import type { Write } from '../store/store.ts';

export interface NewToken {
  readonly roles: readonly HostRole[];
  readonly ttl_ms?: number | undefined;
  readonly value?: string | undefined;
  readonly labels?: Record<string, string> | undefined;
  readonly uses?: number | undefined;
}

/** What a token allows, once it was found good. */
export interface Admission {
  readonly labels: Readonly<Record<string, string>> | undefined;
  /** For the log. */
  readonly masked: string;
  /** Takes one use; a `conflict` when somebody else did at the same time. */
  readonly writes: readonly Write[];
}

const defaultTtlMs = 30 * 60_000;
/** So long a token that has ended can be told from one that never was. */
const rememberMs = 24 * 3600_000;

export class Tokens {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async create(request: NewToken, caller: Caller): Promise<{ token: string; expires: string }> {
    const name = request.value ?? randomBytes(16).toString('hex');
    const expires = new Date(this.#parts.now().getTime() + (request.ttl_ms ?? defaultTtlMs)).toISOString();
    const document: TokenDocument = {
      kind: 'token',
      version: 'v2',
      metadata: { name, expires },
      spec: {
        roles: [...request.roles],
        ...(request.labels === undefined ? {} : { labels: request.labels }),
        ...(request.uses === undefined ? {} : { uses_left: request.uses }),
      },
    };
    answerWillBe({ token: name, expires, ca_pins: this.#parts.authorities.pins() });
    await this.put(document, 'nothing', caller).catch((error: unknown) => {
      if (AppError.from(error).code !== 'store.conflict') throw error;
      throw new AppError('conflict', 'auth.already_exists', 'There is such a token already.', {
        cause: error,
      });
    });
    return { token: name, expires };
  }

  async put(document: TokenDocument, expect: Write['expect'], caller: Caller): Promise<void> {
    const { name, expires } = document.metadata;
    if (name.length < 8)
      throw new AppError('bad_input', 'join.weak_token', 'A token has at least 8 characters.');
    if (document.spec.static === true || this.#static(name) !== undefined) throw fromConfiguration();
    const told: EventDraft = {
      event: 'join_token.create',
      code: 'TJT00I',
      ...actorOf(caller),
      name: maskToken(name),
      roles: [...document.spec.roles],
      join_method: 'token',
      ...(expires === undefined ? {} : { expires }),
    };
    const write = putDocument(document, { keepMs: rememberMs, ...(expect === undefined ? {} : { expect }) });
    await this.#parts.journal.commit([write], [told]);
  }

  /** Those that still admit somebody, the configured ones first. */
  async list(): Promise<readonly TokenDocument[]> {
    const stored = await listDocuments(this.#parts.store, 'token');
    const configured = this.#parts.settings.staticTokens.map(staticDocument);
    return [...configured, ...stored.filter((token) => this.#refusal(token) === undefined)];
  }

  async find(name: string): Promise<TokenDocument | undefined> {
    const configured = this.#static(name);
    if (configured !== undefined) return configured;
    const token = await readDocumentOf(this.#parts.store, 'token', name);
    return token !== undefined && this.#refusal(token) === undefined ? token : undefined;
  }

  /** By the whole token or, when it is the only one that begins so, by the part that lists show. */
  async delete(name: string): Promise<string> {
    const beginning = /^(.{4,})(\*+|…|\.{3})$/.exec(name)?.[1];
    const hits = (await this.list()).filter(({ metadata }) =>
      beginning === undefined ? metadata.name === name : metadata.name.startsWith(beginning),
    );
    const [hit] = hits;
    if (hit === undefined)
      throw new AppError('not_found', 'auth.no_token', 'There is no such token.', {
        hint: '`tctl tokens ls` lists them.',
      });
    if (hits.length > 1)
      throw new AppError('conflict', 'auth.ambiguous', `${hits.length} tokens begin with "${beginning}".`, {
        hint: 'Write the whole token: `tctl tokens ls --with-secrets` shows them.',
      });
    if (hit.spec.static === true) throw fromConfiguration();
    await this.#parts.journal.commit([{ type: 'delete', key: `token/${hit.metadata.name}` }], []);
    return hit.metadata.name;
  }

  /** Rejects with the reason when this token does not admit a host with these roles. */
  async admit(name: string, roles: readonly HostRole[]): Promise<Admission> {
    const token = this.#static(name) ?? (await readDocumentOf(this.#parts.store, 'token', name));
    if (token === undefined)
      throw new AppError('denied', 'join.unknown_token', 'The token is not known.', {
        hint: '`tctl nodes add` on the auth host makes one.',
      });
    const refusal = this.#refusal(token);
    if (refusal !== undefined) throw refusal;
    const excess = roles.filter((role) => !token.spec.roles.includes(role));
    if (excess.length > 0) {
      throw new AppError(
        'denied',
        'join.wrong_role',
        `The token does not admit the role ${excess.join(', ')}.`,
        {
          hint: `It admits: ${token.spec.roles.join(', ')}.`,
        },
      );
    }
    return { labels: token.spec.labels, masked: maskToken(name), writes: useOnce(token) };
  }

  #refusal({ metadata: { expires }, spec }: TokenDocument): AppError | undefined {
    if (expires !== undefined && Date.parse(expires) <= this.#parts.now().getTime())
      return new AppError('denied', 'join.expired_token', `The token ended at ${expires}.`, {
        hint: '`tctl nodes add` on the auth host makes a new one.',
      });
    if (spec.uses_left !== undefined && spec.uses_left < 1)
      return new AppError('denied', 'join.used_token', 'The token was used as often as it may be.');
    return undefined;
  }

  /** Compared by hash: the time it takes says nothing about how much of a guess is right. */
  #static(name: string): TokenDocument | undefined {
    const wanted = sha256(name);
    const found = this.#parts.settings.staticTokens.filter(({ secret }) =>
      timingSafeEqual(sha256(secret), wanted),
    );
    return found[0] && staticDocument(found[0]);
  }
}

/** At zero the token stays until its end, to say that it was used up. */
function useOnce(token: TokenDocument): Write[] {
  const { uses_left: left } = token.spec;
  if (left === undefined) return [];
  const spent = { ...token, spec: { ...token.spec, uses_left: left - 1 } };
  return [putDocument(spent, { expect: { revision: token.metadata.revision ?? '' }, keepMs: rememberMs })];
}

function staticDocument({
  roles,
  secret,
}: {
  readonly roles: readonly string[];
  readonly secret: string;
}): TokenDocument {
  const known = hostRoles.filter((role) => roles.some((each) => each.toLowerCase() === role));
  return { kind: 'token', version: 'v2', metadata: { name: secret }, spec: { roles: known, static: true } };
}

/** Enough to tell tokens apart, not enough to join. */
export function maskToken(name: string): string {
  return `${name.slice(0, 4)}${'*'.repeat(Math.max(4, name.length - 4))}`;
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function fromConfiguration(): AppError {
  return new AppError(
    'conflict',
    'auth.static_token',
    'This token stands in the configuration of the auth service.',
    {
      hint: 'Change auth_service.tokens there and restart it.',
    },
  );
}
