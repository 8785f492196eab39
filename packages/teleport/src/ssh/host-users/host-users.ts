// Accounts made for visitors whose roles say so. An account that was there before, and bears none of our marks, is
// never touched: who logs in to it gets it as it is. One change at a time; deletion waits until no session and no
// process of the account is left, and is tried again for as long as it takes.
import { access } from 'node:fs/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import type { NodeLog } from '../node-log.ts';
import { addAccount, ensureGroups, groupsOf, removeAccount, setGroups } from './account-programs.ts';
import { markGroups, type StaticAccount, type WantedHostUser } from './host-user.ts';
import { type MadeAccount, MadeAccounts } from './made-accounts.ts';
import { StaticAccounts } from './static-accounts.ts';
import { removeSudoers, writeSudoers } from './sudoers-file.ts';

export interface HostUsersOptions {
  readonly dataDir: string;
  readonly hostUuid: string;
  /** Logins that have a session, of whichever daemon of this agent. */
  readonly inUse: () => Promise<ReadonlySet<string>>;
  /** Blocks of the server are added by the caller. */
  readonly audit: (draft: HostUserEvent) => void;
  readonly log: NodeLog;
}

/** An event without the blocks that the node fills in. */
export type HostUserEvent = Extract<EventDraft, { event: `host_user.${string}` }>;

/** An account whose processes linger is looked at so often. */
const retryMs = 30_000;

export class HostUsers {
  readonly #options: HostUsersOptions;
  readonly #accounts: MadeAccounts;
  readonly #static: StaticAccounts;
  #turn: Promise<unknown> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;
  /** Told once: a process that lingers for a week is one event. */
  readonly #failed = new Set<string>();
  #closed = false;

  constructor(options: HostUsersOptions) {
    this.#options = options;
    this.#accounts = new MadeAccounts(options.dataDir);
    this.#static = new StaticAccounts({ ...options, accounts: this.#accounts, defaultShell });
  }

  /** Resolves when the account is as the role wants it, or is none of ours. Rejects with an AppError that may be shown. */
  obtain(login: string, wanted: WantedHostUser, user: string): Promise<void> {
    return this.#inTurn(() => this.#obtain(login, wanted, user));
  }

  /** What this host has whoever logs in, from now on. Never rejects: what could not be done is told once. */
  async applyStatic(wanted: readonly StaticAccount[]): Promise<void> {
    await this.#inTurn(() => this.#static.apply(wanted)).catch((err) =>
      this.#options.log.error({ err }, 'static host users were not looked at'),
    );
  }

  /** Takes away what no session needs any more: at start, and whenever a session is over. Never rejects. */
  async tidy(): Promise<void> {
    if (this.#closed) return;
    await this.#inTurn(() => this.#tidy()).catch((err) =>
      this.#options.log.error({ err }, 'accounts of ended sessions were not looked at'),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    await this.#turn.catch(() => {});
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work, work);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #obtain(login: string, wanted: WantedHostUser, user: string): Promise<void> {
    const present = await groupsOf(login);
    const marks = Object.values(markGroups);
    if (present !== undefined && !present.some((group) => marks.includes(group as never))) return;
    const details = {
      login,
      user,
      mode: wanted.mode,
      groups: [...wanted.groups],
      sudoers: [...wanted.sudoers],
    };
    try {
      if (present === undefined) await this.#make(login, wanted, user);
      else await this.#adapt(login, wanted, user, present);
    } catch (thrown) {
      const error = AppError.from(thrown);
      this.#options.audit({ event: 'host_user.created', code: 'THU00E', ...details, error: error.message });
      throw error;
    }
  }

  async #make(login: string, wanted: WantedHostUser, user: string): Promise<void> {
    const groups = [markGroups[wanted.mode], ...wanted.groups];
    const shell = wanted.shell ?? (await defaultShell());
    await this.#accounts.set(login, { mode: wanted.mode, made: true, user });
    await ensureGroups(groups);
    await addAccount(login, { shell, groups });
    const sudoers = await this.#writeSudoers(login, wanted);
    const { mode } = wanted;
    this.#options.audit({
      ...{ event: 'host_user.created', code: 'THU00I', login, user, mode, shell },
      ...{ groups: [...wanted.groups], sudoers },
    });
  }

  /** Ours, or another agent's of this host: it keeps the mark it has. */
  async #adapt(
    login: string,
    wanted: WantedHostUser,
    user: string,
    present: readonly string[],
  ): Promise<void> {
    const known = await this.#accounts.get(login);
    const marks = Object.values(markGroups).filter((mark) => present.includes(mark));
    const mode = present.includes(markGroups.keep) ? 'keep' : 'insecure-drop';
    await this.#accounts.set(login, { mode, made: known?.made ?? false, user });
    await ensureGroups(wanted.groups);
    await setGroups(login, [...marks, ...wanted.groups]);
    const sudoers = await this.#writeSudoers(login, wanted);
    this.#options.audit({
      ...{ event: 'host_user.updated', code: 'THU02I', login, user, mode },
      ...{ groups: [...wanted.groups], sudoers },
    });
  }

  async #writeSudoers(login: string, { sudoers }: WantedHostUser): Promise<string[]> {
    if ((await writeSudoers(this.#options.hostUuid, login, sudoers)) !== 'no sudo') return [...sudoers];
    this.#options.log.warn({ login }, 'a role gives sudoers, and this host has no sudo');
    return [];
  }

  async #tidy(): Promise<void> {
    const ofSessions = (await this.#accounts.all()).filter(([, { mode }]) => mode !== 'static');
    if (ofSessions.length === 0) return;
    const inUse = await this.#options.inUse();
    for (const [login, account] of ofSessions) if (!inUse.has(login)) await this.#takeAway(login, account);
    clearTimeout(this.#retry);
    if (this.#failed.size > 0 && !this.#closed)
      this.#retry = setTimeout(() => void this.tidy(), retryMs).unref();
  }

  async #takeAway(login: string, account: MadeAccount): Promise<void> {
    const { audit, hostUuid, log } = this.#options;
    const { mode } = account;
    try {
      await removeSudoers(hostUuid, login);
      const groups = await groupsOf(login);
      // The mark as well as our own book: whoever took the mark away has made the account theirs.
      const ours = account.made && mode === 'insecure-drop' && groups?.includes(markGroups[mode]);
      if (ours) await removeAccount(login);
      await this.#accounts.forget(login);
      this.#failed.delete(login);
      if (ours) audit({ event: 'host_user.deleted', code: 'THU01I', login, mode });
    } catch (thrown) {
      const { message: error } = AppError.from(thrown);
      if (this.#failed.has(login)) return;
      this.#failed.add(login);
      log.warn({ login, error }, 'an account could not be deleted; tried again');
      audit({ event: 'host_user.deleted', code: 'THU01E', login, mode, error });
    }
  }
}

async function defaultShell(): Promise<string> {
  return access('/bin/bash').then(
    () => '/bin/bash',
    () => '/bin/sh',
  );
}
