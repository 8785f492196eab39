// Reading and writing resources as the API has them: who may, which changes belong together, and what is told.
import type { ConnectorKind } from '@sallyport/contracts/api/connectors.ts';
import type {
  ResourceDocument,
  ResourceDocumentKind,
  RoleDocument,
  StaticHostUserDocument,
} from '@sallyport/contracts/api/resources.ts';
import type { Verb } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Caller } from './api/handler.ts';
import { clusterSettings } from './cluster-settings.ts';
import type { Invites } from './credentials/invites.ts';
import { keyOf, listDocuments, putDocument, readDocumentOf } from './documents.ts';
import { hostKey } from './join/hosts.ts';
import { maskToken, type Tokens } from './join/tokens.ts';
import { putLock } from './lock-resources.ts';
import { actorOf, type Parts } from './parts.ts';
import { byName, type Presence, pickNode } from './presence.ts';
import { presetRole } from './preset-roles.ts';
import { checkMeaning, checkName } from './resource-check.ts';
import { configured, explained, missing } from './resource-errors.ts';
import { removeResource } from './resource-removal.ts';
import { toRoleDocument } from './role-document.ts';
import { deleteRole, listRoles } from './role-resources.ts';
import { withoutSecret } from './sso/connectors.ts';
import { connectorTold, putConnector } from './sso/put-connector.ts';
import type { Condition, Write } from './store/store.ts';
import { UserResources } from './user-resources.ts';

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
  readonly #presence: Presence;
  readonly #users: UserResources;

  constructor(parts: Parts, rooms: { tokens: Tokens; invites: Invites; presence: Presence }) {
    this.#parts = parts;
    this.#tokens = rooms.tokens;
    this.#presence = rooms.presence;
    this.#users = new UserResources(parts, rooms.invites);
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
        return listRoles(store);
      case 'user':
        return Promise.all((await listDocuments(store, 'user')).map((user) => this.#users.withStatus(user)));
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
    if (found.kind === 'user') return this.#users.withStatus(found);
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
      else if (kind === 'user') await this.#users.put(document, before !== undefined, expect, caller);
      else if (kind === 'role') await this.#putRole(document, before !== undefined, expect, caller);
      else if (kind === 'lock') await putLock(this.#parts, document, expect, caller);
      else if (kind === 'static_host_user')
        await this.#putStaticHostUser(document, before !== undefined, expect, caller);
      else await putConnector(this.#parts, document, expect, caller);
    } catch (error) {
      throw explained(error, kind, name, mode === 'create', before !== undefined);
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
        return this.#users.delete(name, caller);
      case 'role':
        return deleteRole(this.#parts, name, caller);
      case 'lock':
        return removeResource(
          this.#parts,
          kind,
          name,
          [],
          [{ event: 'lock.deleted', code: 'TLK01I', name, ...actorOf(caller) }],
        );
      case 'oidc':
      case 'github':
        return removeResource(this.#parts, kind, name, [], [connectorTold(kind, 'deleted', name, caller)]);
      case 'static_host_user':
        return removeResource(
          this.#parts,
          kind,
          name,
          [],
          [{ event: 'static_host_user.deleted', code: 'TSH02I', name, ...actorOf(caller) }],
        );
      case 'node':
        return this.#deleteNode(name);
      case 'proxy':
      case 'auth_server':
        return removeResource(this.#parts, kind, name, [{ type: 'delete', key: hostKey(name) }], []);
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
}

/** It would be gone before anybody saw it. */
function refuseEnded({ metadata: { expires } }: ResourceDocument, now: Date): void {
  if (expires === undefined || Date.parse(expires) > now.getTime()) return;
  throw new AppError('bad_input', 'auth.bad_resource', 'metadata.expires: must lie in the future.');
}

function masked(token: Extract<ResourceDocument, { kind: 'token' }>) {
  return { ...token, metadata: { ...token.metadata, name: maskToken(token.metadata.name) } };
}

function conditionOf({ metadata: { revision } }: ResourceDocument, mode: PutMode | undefined): Condition {
  if (mode === 'create') return 'nothing';
  if (revision !== undefined) return { revision };
  return mode === 'update' ? 'something' : 'anything';
}

function denied(reason: string): AppError {
  return new AppError('denied', 'auth.not_allowed', `Not allowed: ${reason}.`);
}
