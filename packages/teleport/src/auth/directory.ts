// Who and what there is, as values decisions are made with. Reads the store each time: a user who was deleted or a
// role that was taken away counts at once, whichever process did it.

import { type Lock, lockOn, lockReason, toLock } from '@sallyport/contracts/api/lock.ts';
import type { RuledResource, Verb } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { decideRule } from './access-rules.ts';
import type { Caller } from './api/handler.ts';
import { listDocuments, readDocumentOf } from './documents.ts';
import { presetRole } from './preset-roles.ts';
import type { Role } from './role.ts';
import { toRole } from './role-document.ts';
import type { Store } from './store/store.ts';
import type { User } from './user.ts';
import { toUser } from './user-document.ts';

export type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: string };

export interface Account {
  readonly user: User;
  readonly roles: readonly Role[];
}

export class Directory {
  readonly #store: Store;
  readonly #now: () => Date;

  constructor(store: Store, now: () => Date) {
    this.#store = store;
    this.#now = now;
  }

  async findUser(name: string): Promise<User | undefined> {
    const document = await readDocumentOf(this.#store, 'user', name);
    return document && toUser(document, this.#now().toISOString());
  }

  /** Rejects with `auth.no_user`, or `auth.no_role`: a role that is missing may be the one that denies. */
  async account(name: string): Promise<Account> {
    const user = await this.findUser(name);
    if (user === undefined) {
      throw new AppError('not_found', 'auth.no_user', `There is no user "${name}".`, {
        hint: '`tctl users ls` lists them.',
      });
    }
    return { user, roles: await this.roles(user.roles) };
  }

  async roles(names: readonly string[]): Promise<readonly Role[]> {
    return Promise.all(names.map((name) => this.role(name)));
  }

  async role(name: string): Promise<Role> {
    const document = await readDocumentOf(this.#store, 'role', name);
    const role = document === undefined ? presetRole(name) : toRole(document);
    if (role !== undefined) return role;
    throw new AppError('not_found', 'auth.no_role', `There is no role "${name}".`, {
      hint: '`tctl get roles` lists them; `tctl create -f role.yaml` makes one.',
    });
  }

  async locks(): Promise<readonly Lock[]> {
    return (await listDocuments(this.#store, 'lock')).map(toLock);
  }

  async permits(caller: Caller, resource: RuledResource, verb: Verb): Promise<Verdict> {
    if (caller.kind === 'admin') return { ok: true };
    if (caller.kind !== 'user') return { ok: false, reason: 'only users have rights by role' };
    return this.#judge(async () => decideRule((await this.account(caller.user)).roles, resource, verb));
  }

  /** Deleted or locked since the certificate was made? */
  async admits(caller: Caller): Promise<Verdict> {
    if (caller.kind === 'admin' || caller.kind === 'anyone') return { ok: true };
    return this.#judge(async () => {
      const subject =
        caller.kind === 'user'
          ? {
              user: caller.user,
              roles: (await this.account(caller.user)).user.roles,
              issued: caller.issued,
              mfaDevice: caller.mfaDevice,
            }
          : { hostUuid: caller.hostUuid, hostname: await this.#hostname(caller.hostUuid) };
      const lock = lockOn(subject, await this.locks(), this.#now());
      return lock === undefined ? { ok: true } : { ok: false, reason: lockReason(lock) };
    });
  }

  /** The host's registration, not its heartbeat, which it writes itself. */
  async #hostname(hostUuid: string): Promise<string> {
    const item = await this.#store.get(`host/${hostUuid}`);
    if (item !== undefined) return (JSON.parse(item.value) as { nodename: string }).nodename;
    throw new AppError(
      'denied',
      'auth.no_host',
      `There is no host ${hostUuid}: it was removed from the cluster.`,
      {
        hint: 'Join it again with a token.',
      },
    );
  }

  async #judge(decide: () => Promise<Verdict>): Promise<Verdict> {
    try {
      return await decide();
    } catch (error) {
      return { ok: false, reason: AppError.from(error).message };
    }
  }
}
