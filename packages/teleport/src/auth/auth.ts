// What administrators and log-ins ask of the cluster: users, roles, certificates, access.
// Every change is in the audit log before its caller hears of success.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent, EventDraft } from '@sallyport/contracts/events/event.ts';
import { identityToExtensions } from '../ca/identity-extensions.ts';
import { issueCertificate } from '../ca/issue.ts';
import { fingerprint } from '../ca/known-hosts.ts';
import { parseCertificate } from '../ca/parse-certificate.ts';
import type { Signer } from '../ca/signer.ts';
import {
  type AccessDecision,
  type AccessNode,
  allowedLogins,
  decideAccess,
  sessionOptions,
} from './access.ts';
import { checkLogins, checkName } from './resource.ts';
import { accessRole, type Role } from './role.ts';
import type { Expected, Store, Stored } from './store.ts';
import type { User } from './user.ts';
import { permits } from './user-certificates.ts';

/** How long a certificate lives when nobody says otherwise, and at most when no role says so. */
export const defaultTtlMs = 12 * 3600_000;
export const maxTtlMs = 30 * 3600_000;
const minTtlMs = 60_000;
/** Clocks of nodes may be this much behind ours. */
const skewMs = 60_000;

export interface AuthOptions {
  readonly store: Store;
  /** The user CA. */
  readonly ca: Signer;
  readonly audit: AuditSink;
  /** Who is asking, for the audit log. */
  readonly actor: Actor;
  readonly now?: () => Date;
}

/** As much of the audit log as auth needs. Drafts become events in `stamp` (the room `audit` has one). */
export interface AuditSink {
  append(events: readonly AuditEvent[]): Promise<void>;
  stamp(draft: EventDraft): AuditEvent;
}

export interface Actor {
  readonly user: string;
  /** 1 human, 2 bot, 3 system (the administrator of the auth host, who has no Sallyport user). */
  readonly kind: 1 | 2 | 3;
}

export interface NewUser {
  readonly name: string;
  readonly roles: readonly string[];
  readonly logins: readonly string[];
}

export interface CertificateOrder {
  readonly user: string;
  /** The subject's plain public key, as an SSH blob. */
  readonly publicKey: Buffer;
  /** Default 12 h; capped by the user's roles. */
  readonly ttlMs?: number | undefined;
}

export interface IssuedCertificate {
  readonly blob: Buffer;
  readonly logins: readonly string[];
  readonly validBefore: Date;
  /** True when the asked-for life was longer than the roles allow. */
  readonly capped: boolean;
}

export class Auth {
  readonly #options: AuthOptions;
  readonly #store: Store;

  constructor(options: AuthOptions) {
    this.#options = options;
    this.#store = options.store;
  }

  async createUser({ name, roles, logins }: NewUser): Promise<User> {
    checkName('user', name);
    const traits = { logins: checkLogins(logins) };
    const user: User = { name, roles, traits, created: this.#now().toISOString() };
    await this.putUser(user, 'create');
    return user;
  }

  /** `expected: 'create'` makes a user.create event, everything else the one that fits what was there. */
  async putUser(user: User, expected: Expected): Promise<Stored<User>> {
    if (user.roles.length === 0)
      throw new AppError('bad_input', 'auth.no_roles', 'A user needs at least one role.');
    await this.#rolesOf(user);
    const existed = (await this.#store.get('user', user.name)) !== undefined;
    const stored = await this.#store.put('user', user.name, user, expected);
    const shared = {
      name: user.name,
      roles: [...user.roles],
      logins: [...(user.traits['logins'] ?? [])],
      connector: 'local',
      ...this.#who(),
    };
    await this.#record(
      existed
        ? { event: 'user.update', code: 'T1003I', ...shared }
        : { event: 'user.create', code: 'T1002I', ...shared },
    );
    return stored;
  }

  async deleteUser(name: string): Promise<void> {
    await this.#store.delete('user', name);
    await this.#record({ event: 'user.delete', code: 'T1004I', name, ...this.#who() });
  }

  async user(name: string): Promise<Stored<User>> {
    const stored = await this.#store.get('user', name);
    if (stored !== undefined) return stored;
    throw new AppError('not_found', 'auth.no_user', `There is no user "${name}".`, {
      hint: '`tctl users ls` lists them.',
    });
  }

  users(): Promise<readonly Stored<User>[]> {
    return this.#store.list('user');
  }

  async putRole(role: Role, expected: Expected): Promise<Stored<Role>> {
    checkName('role', role.name);
    const existed = (await this.#store.get('role', role.name)) !== undefined;
    const stored = await this.#store.put('role', role.name, role, expected);
    const shared = { name: role.name, ...this.#who() };
    await this.#record(
      existed
        ? { event: 'role.updated', code: 'T9002I', ...shared }
        : { event: 'role.created', code: 'T9000I', ...shared },
    );
    return stored;
  }

  /** A role that somebody has stays: without it their log-ins would be refused. */
  async deleteRole(name: string): Promise<void> {
    const holders = (await this.users())
      .filter(({ value }) => value.roles.includes(name))
      .map((user) => user.name);
    if (holders.length > 0) {
      const some = holders.slice(0, 5).join(', ');
      throw new AppError(
        'conflict',
        'auth.role_in_use',
        `The role "${name}" belongs to ${holders.length} user(s): ${some}.`,
        {
          hint: 'Give these users other roles first.',
        },
      );
    }
    await this.#store.delete('role', name);
    await this.#record({ event: 'role.deleted', code: 'T9001I', name, ...this.#who() });
  }

  async role(name: string): Promise<Stored<Role>> {
    const stored = await this.#store.get('role', name);
    if (stored !== undefined) return stored;
    if (name === accessRole.name) return { name, revision: 'built-in', value: accessRole };
    throw new AppError('not_found', 'auth.no_role', `There is no role "${name}".`, {
      hint: '`tctl get roles` lists them; `tctl create -f role.yaml` makes one.',
    });
  }

  async roles(): Promise<readonly Stored<Role>[]> {
    const stored = await this.#store.list('role');
    if (stored.some(({ name }) => name === accessRole.name)) return stored;
    return [await this.role(accessRole.name), ...stored].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The event comes before the certificate is handed out: there is no certificate the log does not know. */
  async issueUserCertificate(order: CertificateOrder): Promise<IssuedCertificate> {
    const { value: user } = await this.user(order.user);
    const roles = await this.#rolesOf(user);
    const logins = allowedLogins(roles, user.traits);
    if (logins.length === 0) {
      throw new AppError(
        'denied',
        'auth.no_logins',
        `The roles of "${user.name}" (${user.roles.join(', ')}) give no login.`,
        {
          hint: 'Give the user logins (tctl users add --logins=…), or name logins in a role.',
        },
      );
    }
    const options = sessionOptions(roles);
    const { ttlMs, capped } = chooseTtl(order.ttlMs, options.maxSessionTtlMs);
    const now = this.#now();
    const validBefore = new Date(now.getTime() + ttlMs);
    const blob = await issueCertificate(this.#options.ca, {
      type: 'user',
      publicKey: order.publicKey,
      keyId: user.name,
      principals: logins,
      validAfter: new Date(now.getTime() - skewMs),
      validBefore,
      extensions: {
        ...identityToExtensions({ roles: user.roles, traits: user.traits, ...options }),
        ...permits(options),
      },
    });
    await this.#record(this.#certificateEvent(blob, user, now, validBefore));
    return { blob, logins, validBefore, capped };
  }

  /**
   * May this user log in here now? From the store as it is, not from the certificate as it was: a deleted user and
   * a role taken away count at once.
   */
  async checkAccess(userName: string, login: string, node: AccessNode): Promise<AccessDecision> {
    const stored = await this.#store.get('user', userName);
    if (stored === undefined) return { ok: false, reason: `there is no user "${userName}"` };
    try {
      const roles = await this.#rolesOf(stored.value);
      return decideAccess({
        user: userName,
        roles,
        traits: stored.value.traits,
        login,
        node,
        locks: [],
        now: this.#now(),
      });
    } catch (error) {
      // A role that is missing or unreadable may be the one that denies.
      return { ok: false, reason: AppError.from(error).message };
    }
  }

  #rolesOf(user: User): Promise<Role[]> {
    return Promise.all(user.roles.map(async (name) => (await this.role(name)).value));
  }

  #certificateEvent(blob: Buffer, user: User, now: Date, validBefore: Date): EventDraft {
    const { serial, publicKey, principals } = parseCertificate(blob);
    return {
      event: 'cert.create',
      code: 'TC000I',
      cert_type: 'user',
      identity: {
        user: user.name,
        roles: [...user.roles],
        principals: [...principals],
        serial: serial.toString(),
        fingerprint: fingerprint(publicKey),
        valid_after: new Date(now.getTime() - skewMs).toISOString(),
        expires: validBefore.toISOString(),
      },
      ...this.#who(),
    };
  }

  #who(): { user: string; user_kind: 1 | 2 | 3 } {
    return { user: this.#options.actor.user, user_kind: this.#options.actor.kind };
  }

  async #record(draft: EventDraft): Promise<void> {
    const { audit } = this.#options;
    try {
      await audit.append([audit.stamp(draft)]);
    } catch (error) {
      const { kind, message, hint } = AppError.from(error);
      throw new AppError(
        kind,
        'auth.not_audited',
        `${draft.event} could not be written to the audit log: ${message}`,
        { cause: error, hint },
      );
    }
  }

  #now(): Date {
    return this.#options.now?.() ?? new Date();
  }
}

function chooseTtl(
  asked: number | undefined,
  roleMax: number | undefined,
): { ttlMs: number; capped: boolean } {
  if (asked !== undefined && asked < minTtlMs) {
    throw new AppError('bad_input', 'auth.ttl_too_short', 'A certificate lives for at least a minute.');
  }
  const limit = roleMax ?? maxTtlMs;
  const wanted = asked ?? defaultTtlMs;
  return { ttlMs: Math.min(wanted, limit), capped: asked !== undefined && asked > limit };
}
