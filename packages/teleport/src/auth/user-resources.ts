// Users as resources: what belongs to one comes and goes with it.
import type { UserDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Caller } from './api/handler.ts';
import { Attempts } from './credentials/attempts.ts';
import { credentialPrefix, passkeyPrefix, readCredential } from './credentials/device.ts';
import type { Invites } from './credentials/invites.ts';
import { userHandle } from './credentials/webauthn.ts';
import { putDocument, readDocumentOf } from './documents.ts';
import { farewellLock, lockCreated, outlive } from './lock-resources.ts';
import { actorOf, type Parts } from './parts.ts';
import { removeResource } from './resource-removal.ts';
import type { Condition, Write } from './store/store.ts';

export class UserResources {
  readonly #parts: Parts;
  readonly #invites: Invites;
  readonly #attempts: Attempts;

  constructor(parts: Parts, invites: Invites) {
    this.#parts = parts;
    this.#invites = invites;
    this.#attempts = new Attempts(parts.store, parts.now);
  }

  async withStatus(user: UserDocument): Promise<UserDocument> {
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

  async put(document: UserDocument, existed: boolean, expect: Condition, caller: Caller): Promise<void> {
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
      writes.push(...(await outlive(this.#parts, name)));
      writes.push({ type: 'delete', key: credentialPrefix + name });
    }
    await this.#parts.journal.commit(writes, [told]);
  }

  async delete(name: string, caller: Caller): Promise<string> {
    const lock = farewellLock(name, caller, this.#parts.now());
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
    return removeResource(this.#parts, 'user', name, writes, told);
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
