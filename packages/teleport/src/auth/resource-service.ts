// Reading and writing resources as the API has them: who may, which changes belong together, and what is told.
import type { ConnectorKind } from '@sallyport/contracts/api/connectors.ts';
import type {
  LockDocument,
  ResourceDocument,
  ResourceDocumentKind,
  RoleDocument,
  StaticHostUserDocument,
  UserDocument,
} from '@sallyport/contracts/api/resources.ts';
import type { Verb } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Caller } from './api/handler.ts';
import { clusterSettings } from './cluster-settings.ts';
import { Attempts } from './credentials/attempts.ts';
import { credentialPrefix, passkeyPrefix, readCredential } from './credentials/device.ts';
import type { Invites } from './credentials/invites.ts';
import { userHandle } from './credentials/webauthn.ts';
import { keyOf, listDocuments, putDocument, readDocumentOf } from './documents.ts';
import { hostKey } from './join/hosts.ts';
import { maskToken, type Tokens } from './join/tokens.ts';
import { actorOf, type Parts } from './parts.ts';
import { byName, type Presence, pickNode } from './presence.ts';
import { presetRole, presetRoles } from './preset-roles.ts';
import { checkMeaning, checkName } from './resource-check.ts';
import { toRoleDocument } from './role-document.ts';
import { withoutSecret } from './sso/connectors.ts';
import { connectorTold, putConnector } from './sso/put-connector.ts';
import type { Condition, Write } from './store/store.ts';
import { maxTtlMs } from './user-certificates.ts';

export type PutMode = 'create' | 'upsert' | 'update';

/** What a host may know: as much as it needs to decide by itself. */
const kindsOfHosts: Readonly<Record<'auth' | 'proxy' | 'node', readonly ResourceDocumentKind[]>> = {
  // With everything that a node may know: an auth host without other services watches what a node watches.
  auth: [
    ...(['role', 'user', 'lock', 'node', 'proxy', 'auth_server'] as const),
    ...(['cert_authority', 'cluster_settings', 'static_host_user'] as const),
  ],
  proxy: ['role', 'lock', 'node', 'proxy', 'auth_server', 'cert_authority', 'cluster_settings'],
  node: ['role', 'lock', 'proxy', 'auth_server', 'cert_authority', 'cluster_settings', 'static_host_user'],
};

export class ResourceService {
  readonly #parts: Parts;
  readonly #tokens: Tokens;
  readonly #invites: Invites;
  readonly #presence: Presence;
  readonly #attempts: Attempts;

  constructor(parts: Parts, rooms: { tokens: Tokens; invites: Invites; presence: Presence }) {
    this.#parts = parts;
    this.#tokens = rooms.tokens;
    this.#invites = rooms.invites;
    this.#presence = rooms.presence;
    this.#attempts = new Attempts(parts.store, parts.now);
  }

  async list(
    kind: ResourceDocumentKind,
    secrets: boolean,
    caller: Caller,
  ): Promise<readonly ResourceDocument[]> {
    // Everybody sees the nodes they may log in to: that is no right over the resource.
    if (kind === 'node' && caller.kind === 'user') return this.#presence.nodesFor(caller.user);
    await this.demand(caller, kind, 'list');
    if (secrets) await this.demand(caller, kind, 'read');
    return this.all(kind, secrets);
  }

  /** Whatever the caller may. */
  async all(kind: ResourceDocumentKind, secrets = false): Promise<readonly ResourceDocument[]> {
    const { store, authorities, settings } = this.#parts;
    switch (kind) {
      case 'cert_authority':
        return authorities.documents();
      case 'cluster_settings':
        return [clusterSettings(settings)];
      case 'token':
        return (await this.#tokens.list()).map((token) => (secrets ? token : masked(token)));
      case 'role':
        return this.#roles();
      case 'user':
        return Promise.all((await listDocuments(store, 'user')).map((user) => this.#withStatus(user)));
      case 'node':
        return byName(await listDocuments(store, 'node'));
      case 'oidc':
      case 'github':
        return (await listDocuments<ConnectorKind>(store, kind)).map((one) =>
          secrets ? one : withoutSecret(one),
        );
      default:
        return listDocuments(store, kind);
    }
  }

  async get(
    kind: ResourceDocumentKind,
    name: string,
    secrets: boolean,
    caller: Caller,
  ): Promise<ResourceDocument> {
    if (kind === 'node' && caller.kind === 'user')
      return pickNode(await this.#presence.nodesFor(caller.user), name);
    await this.demand(caller, kind, 'read');
    const found = await this.#find(kind, name);
    if (found === undefined) throw missing(kind, name);
    if (found.kind === 'user') return this.#withStatus(found);
    if (secrets) return found;
    if (found.kind === 'oidc' || found.kind === 'github') return withoutSecret(found);
    return found.kind === 'token' ? masked(found) : found;
  }

  async put(
    document: ResourceDocument,
    mode: PutMode | undefined,
    caller: Caller,
  ): Promise<ResourceDocument> {
    const { kind } = document;
    if (kind === 'cluster_settings') throw configured();
    if (kind === 'node' || kind === 'proxy' || kind === 'auth_server' || kind === 'cert_authority')
      throw new AppError('bad_input', 'auth.not_writable', `A ${kind} is not written by people.`);
    const { name } = document.metadata;
    if (kind !== 'token') checkName(kind, name);
    checkMeaning(document);
    const before =
      kind === 'token' ? await this.#tokens.find(name) : await readDocumentOf(this.#parts.store, kind, name);
    await this.demand(caller, kind, before === undefined ? 'create' : 'update');
    refuseEnded(document, this.#parts.now());
    const expect = conditionOf(document, mode);
    try {
      if (kind === 'token') await this.#tokens.put(document, expect, caller);
      else if (kind === 'user') await this.#putUser(document, before !== undefined, expect, caller);
      else if (kind === 'role') await this.#putRole(document, before !== undefined, expect, caller);
      else if (kind === 'lock') await this.#putLock(document, expect, caller);
      else if (kind === 'static_host_user')
        await this.#putStaticHostUser(document, before !== undefined, expect, caller);
      else await putConnector(this.#parts, document, expect, caller);
    } catch (error) {
      throw explained(error, kind, name, mode, before !== undefined);
    }
    const written = (await this.#find(kind, name)) ?? document;
    return written.kind === 'oidc' || written.kind === 'github' ? withoutSecret(written) : written;
  }

  async delete(kind: ResourceDocumentKind, name: string, caller: Caller): Promise<string> {
    await this.demand(caller, kind, 'delete');
    switch (kind) {
      case 'token':
        return this.#tokens.delete(name);
      case 'user':
        return this.#deleteUser(name, caller);
      case 'role':
        return this.#deleteRole(name, caller);
      case 'lock':
        return this.#remove(
          kind,
          name,
          [],
          [{ event: 'lock.deleted', code: 'TLK01I', name, ...actorOf(caller) }],
        );
      case 'oidc':
      case 'github':
        return this.#remove(kind, name, [], [connectorTold(kind, 'deleted', name, caller)]);
      case 'static_host_user':
        return this.#remove(
          kind,
          name,
          [],
          [{ event: 'static_host_user.deleted', code: 'TSH02I', name, ...actorOf(caller) }],
        );
      case 'node':
        return this.#deleteNode(name);
      case 'proxy':
      case 'auth_server':
        return this.#remove(kind, name, [{ type: 'delete', key: hostKey(name) }], []);
      case 'cert_authority':
        throw new AppError('bad_input', 'auth.not_writable', 'An authority is rotated, not deleted.', {
          hint: '`tctl auth rotate` replaces its keys.',
        });
      case 'cluster_settings':
        throw configured();
    }
  }

  /** Rejects with `denied` unless the caller may do this to resources of this kind. */
  async demand(caller: Caller, kind: ResourceDocumentKind, verb: Verb): Promise<void> {
    if (caller.kind === 'admin') return;
    if (caller.kind === 'host') {
      const reads = verb === 'list' || verb === 'read';
      if (reads && caller.roles.some((role) => kindsOfHosts[role].includes(kind))) return;
      throw denied(`a host with the roles ${caller.roles.join(', ')} may not ${verb} ${kind}`);
    }
    const verdict = await this.#parts.directory.permits(caller, kind, verb);
    if (!verdict.ok) throw denied(verdict.reason);
  }

  async #find(kind: ResourceDocumentKind, name: string): Promise<ResourceDocument | undefined> {
    const { store, authorities, settings } = this.#parts;
    if (kind === 'cert_authority')
      return authorities.documents().find(({ metadata }) => metadata.name === name);
    if (kind === 'cluster_settings')
      return [clusterSettings(settings)].find(({ metadata }) => metadata.name === name);
    if (kind === 'token') return this.#tokens.find(name);
    if (kind === 'node') return pickNode(await listDocuments(store, 'node'), name);
    const stored = await readDocumentOf(store, kind, name);
    if (stored !== undefined || kind !== 'role') return stored;
    const preset = presetRole(name);
    return preset && toRoleDocument(preset);
  }

  async #roles(): Promise<readonly RoleDocument[]> {
    const stored = await listDocuments(this.#parts.store, 'role');
    const names = new Set(stored.map(({ metadata }) => metadata.name));
    const presets = presetRoles.filter(({ name }) => !names.has(name)).map(toRoleDocument);
    return [...stored, ...presets].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }

  async #withStatus(user: UserDocument): Promise<UserDocument> {
    const { name } = user.metadata;
    const { password, devices } = await readCredential(this.#parts.store, name);
    const lockedUntil = await this.#attempts.lockedUntil(name);
    const status = {
      password: password !== undefined,
      mfa_devices: devices.map((device) => ({ name: device.name, type: device.type })),
      ...(lockedUntil === undefined ? {} : { locked_until: lockedUntil.toISOString() }),
    };
    return { ...user, spec: { ...user.spec, status } };
  }

  async #putUser(document: UserDocument, existed: boolean, expect: Condition, caller: Caller): Promise<void> {
    // Only a log-in says whose word a user is; what was read can be written back.
    const { status: _, created_by: __, ...spec } = document.spec;
    const stored = existed
      ? await readDocumentOf(this.#parts.store, 'user', document.metadata.name)
      : undefined;
    if (stored?.spec.created_by !== undefined) throw notOurs(stored);
    await this.#parts.directory.roles(spec.roles);
    const created = spec.created ?? this.#parts.now().toISOString();
    const { name } = document.metadata;
    const shared = {
      name,
      roles: [...spec.roles],
      logins: [...(spec.traits?.['logins'] ?? [])],
      connector: 'local',
      ...actorOf(caller),
    };
    const told: EventDraft = existed
      ? { event: 'user.update', code: 'T1003I', ...shared }
      : { event: 'user.create', code: 'T1002I', ...shared };
    const writes: Write[] = [putDocument({ ...document, spec: { ...spec, created } }, { expect })];
    // A new user of an old name is somebody else: second factors that somebody else set up are not theirs.
    if (!existed) {
      writes.push(...(await this.#outlive(name)));
      writes.push({ type: 'delete', key: credentialPrefix + name });
    }
    await this.#parts.journal.commit(writes, [told]);
  }

  /** What locks the old user's certificates out stays, and does not lock the new user's. */
  async #outlive(name: string): Promise<Write[]> {
    const lock = await readDocumentOf(this.#parts.store, 'lock', farewellLock(name));
    if (lock === undefined) return [];
    const issued_before = this.#parts.now().toISOString();
    return [putDocument({ ...lock, spec: { ...lock.spec, issued_before } })];
  }

  async #putRole(document: RoleDocument, existed: boolean, expect: Condition, caller: Caller): Promise<void> {
    const shared = { name: document.metadata.name, ...actorOf(caller) };
    const told: EventDraft = existed
      ? { event: 'role.updated', code: 'T9002I', ...shared }
      : { event: 'role.created', code: 'T9000I', ...shared };
    await this.#parts.journal.commit([putDocument(document, { expect })], [told]);
  }

  async #putStaticHostUser(
    document: StaticHostUserDocument,
    existed: boolean,
    expect: Condition,
    caller: Caller,
  ): Promise<void> {
    const shared = { name: document.metadata.name, ...actorOf(caller) };
    const told: EventDraft = existed
      ? { event: 'static_host_user.updated', code: 'TSH01I', ...shared }
      : { event: 'static_host_user.created', code: 'TSH00I', ...shared };
    await this.#parts.journal.commit([putDocument(document, { expect })], [told]);
  }

  async #putLock(document: LockDocument, expect: Condition, caller: Caller): Promise<void> {
    const { user } = actorOf(caller);
    const made = { created_by: user, created: this.#parts.now().toISOString() };
    const lock = { ...document, spec: { ...document.spec, ...made } };
    await this.#parts.journal.commit([putDocument(lock, { expect })], [lockCreated(lock, caller)]);
  }

  /**
   * Nodes do not know users, only certificates. So that those of a deleted user end with the user, a lock takes
   * their place until the last of them would have ended by itself.
   */
  async #deleteUser(name: string, caller: Caller): Promise<string> {
    const expires = new Date(this.#parts.now().getTime() + maxTtlMs).toISOString();
    const lock: LockDocument = {
      kind: 'lock',
      version: 'v2',
      metadata: { name: farewellLock(name), expires },
      spec: { target: { user: name }, message: 'the user was deleted', created_by: actorOf(caller).user },
    };
    const writes: Write[] = [
      { type: 'delete', key: credentialPrefix + name },
      ...(await this.#attempts.forget(name, true)),
      { type: 'delete', key: passkeyPrefix + userHandle(name, this.#parts.challenges) },
      ...(await this.#invites.endAll(name)),
      putDocument(lock),
    ];
    const told: EventDraft[] = [
      { event: 'user.delete', code: 'T1004I', name, ...actorOf(caller) },
      lockCreated(lock, caller),
    ];
    return this.#remove('user', name, writes, told);
  }

  /** A role that somebody has stays: without it their log-ins would be refused. */
  async #deleteRole(name: string, caller: Caller): Promise<string> {
    const users = await listDocuments(this.#parts.store, 'user');
    const holders = users
      .filter(({ spec }) => spec.roles.includes(name))
      .map(({ metadata }) => metadata.name);
    const becomesPreset = presetRole(name) !== undefined;
    if (holders.length > 0 && !becomesPreset) {
      const some = holders.slice(0, 5).join(', ');
      throw new AppError(
        'conflict',
        'auth.role_in_use',
        `The role "${name}" belongs to ${holders.length} user(s): ${some}.`,
        { hint: 'Give these users other roles first.' },
      );
    }
    return this.#remove(
      'role',
      name,
      [],
      [{ event: 'role.deleted', code: 'T9001I', name, ...actorOf(caller) }],
    );
  }

  /** With its registration: the host may join again, with whatever key. */
  async #deleteNode(name: string): Promise<string> {
    const { store, journal } = this.#parts;
    const registered = await store.get(hostKey(name));
    const hostUuid =
      registered === undefined ? pickNode(await listDocuments(store, 'node'), name).metadata.name : name;
    const keys = [keyOf('node', hostUuid), hostKey(hostUuid)];
    await journal.commit(
      keys.map((key): Write => ({ type: 'delete', key })),
      [],
    );
    return hostUuid;
  }

  async #remove(
    kind: 'user' | 'role' | 'lock' | 'proxy' | 'auth_server' | 'static_host_user' | ConnectorKind,
    name: string,
    more: readonly Write[],
    told: readonly EventDraft[],
  ): Promise<string> {
    try {
      const gone: Write = { type: 'delete', key: keyOf(kind, name), expect: 'something' };
      await this.#parts.journal.commit([gone, ...more], told);
      return name;
    } catch (error) {
      if (AppError.from(error).kind !== 'conflict') throw error;
      if (kind === 'role' && presetRole(name) !== undefined)
        throw new AppError('conflict', 'auth.preset_role', `The role "${name}" is built in.`, {
          cause: error,
        });
      throw missing(kind, name);
    }
  }
}

function notOurs({ metadata: { name }, spec }: UserDocument): AppError {
  return new AppError(
    'conflict',
    'auth.sso_user',
    `"${name}" is there on the word of ${spec.created_by?.connector_name ?? 'an identity provider'}, until that ends.`,
    { hint: 'What it gets is in the connector; `tctl users rm` ends it, `tctl lock --user` keeps it out.' },
  );
}

/** It would be gone before anybody saw it. */
function refuseEnded({ metadata: { expires } }: ResourceDocument, now: Date): void {
  if (expires === undefined || Date.parse(expires) > now.getTime()) return;
  throw new AppError('bad_input', 'auth.bad_resource', 'metadata.expires: must lie in the future.');
}

function lockCreated({ metadata, spec }: LockDocument, caller: Caller): EventDraft {
  return {
    event: 'lock.created',
    code: 'TLK00I',
    name: metadata.name,
    target: { ...spec.target },
    ...(spec.message === undefined ? {} : { message: spec.message }),
    ...(spec.issued_before === undefined ? {} : { issued_before: spec.issued_before }),
    ...(metadata.expires === undefined ? {} : { expires: metadata.expires }),
    ...actorOf(caller),
  };
}

const farewellLock = (user: string) => `deleted.${user}`.slice(0, 128);

function masked(token: Extract<ResourceDocument, { kind: 'token' }>) {
  return { ...token, metadata: { ...token.metadata, name: maskToken(token.metadata.name) } };
}

function conditionOf({ metadata: { revision } }: ResourceDocument, mode: PutMode | undefined): Condition {
  if (mode === 'create') return 'nothing';
  if (revision !== undefined) return { revision };
  return mode === 'update' ? 'something' : 'anything';
}

function explained(
  error: unknown,
  kind: string,
  name: string,
  mode: PutMode | undefined,
  existed: boolean,
): unknown {
  if (!(error instanceof AppError) || error.code !== 'store.conflict') return error;
  const shown = kind === 'token' ? maskToken(name) : name;
  if (mode === 'create')
    return new AppError('conflict', 'auth.already_exists', `There is a ${kind} "${shown}" already.`);
  if (!existed) return missing(kind, name);
  return new AppError(
    'conflict',
    'auth.changed_meanwhile',
    `The ${kind} "${shown}" was changed by somebody else.`,
    {
      hint: 'Get it again and repeat the change.',
    },
  );
}

function configured(): AppError {
  return new AppError(
    'bad_input',
    'auth.not_writable',
    'The settings of the cluster are not written by people.',
    {
      hint: 'They are those of auth_service in teleport.yaml of the auth host; a change waits for its next start.',
    },
  );
}

function missing(kind: string, name: string): AppError {
  const shown = kind === 'token' ? maskToken(name) : name;
  return new AppError('not_found', 'auth.not_found', `There is no ${kind} "${shown}".`);
}

function denied(reason: string): AppError {
  return new AppError('denied', 'auth.not_allowed', `Not allowed: ${reason}.`);
}
