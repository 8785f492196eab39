// Static host users: accounts the cluster wants on this host, session or not. Made, and kept as wanted; never deleted:
// when the cluster wants one no more, its sudoers go and the account stays.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { NodeLog } from '../node-log.ts';
import { addAccount, ensureGroups, groupsOf, setGroups } from './account-programs.ts';
import { type StaticAccount, staticMark } from './host-user.ts';
import type { HostUserEvent } from './host-users.ts';
import type { MadeAccounts } from './made-accounts.ts';
import { removeSudoers, writeSudoers } from './sudoers-file.ts';

export interface StaticAccountsOptions {
  readonly accounts: MadeAccounts;
  readonly hostUuid: string;
  readonly audit: (draft: HostUserEvent) => void;
  readonly log: NodeLog;
  readonly defaultShell: () => Promise<string>;
}

export class StaticAccounts {
  readonly #options: StaticAccountsOptions;
  /** Login → what was told of it: the same trouble is told once. */
  readonly #troubles = new Map<string, string>();

  constructor(options: StaticAccountsOptions) {
    this.#options = options;
  }

  async apply(wanted: readonly StaticAccount[]): Promise<void> {
    for (const account of wanted) await this.#ensure(account);
    const names = new Set(wanted.map(({ login }) => login));
    for (const [login, { mode }] of await this.#options.accounts.all())
      if (mode === 'static' && !names.has(login)) await this.#letGo(login);
  }

  async #ensure(account: StaticAccount): Promise<void> {
    const { login } = account;
    const groups = [...account.groups];
    const sudoers = [...account.sudoers];
    try {
      const present = await groupsOf(login);
      if (present !== undefined && !present.includes(staticMark) && !account.takesOver)
        throw new AppError(
          'conflict',
          'host_user.exists',
          `There is an account "${login}" that is the host’s own.`,
        );
      if (present === undefined) await this.#make(account);
      else await this.#adapt(account, present);
      this.#troubles.delete(login);
    } catch (thrown) {
      const { message: error } = AppError.from(thrown);
      if (this.#troubles.get(login) === error) return;
      this.#troubles.set(login, error);
      this.#options.log.warn({ login, error }, 'a static host user is not as it should be');
      this.#options.audit({
        ...{ event: 'host_user.created', code: 'THU00E', login, mode: 'static', groups, sudoers, error },
      });
    }
  }

  async #make({ login, groups, sudoers, shell: wantedShell, uid, gid }: StaticAccount): Promise<void> {
    const { accounts, audit, hostUuid, defaultShell } = this.#options;
    const shell = wantedShell ?? (await defaultShell());
    const all = [staticMark, ...groups];
    await accounts.set(login, { mode: 'static', made: true });
    await ensureGroups(all);
    await addAccount(login, { shell, groups: all, uid, gid });
    await writeSudoers(hostUuid, login, sudoers);
    audit({
      ...{ event: 'host_user.created', code: 'THU00I', login, mode: 'static', shell },
      ...{ groups: [...groups], sudoers: [...sudoers] },
    });
  }

  async #adapt({ login, groups, sudoers }: StaticAccount, present: readonly string[]): Promise<void> {
    const { accounts, audit, hostUuid } = this.#options;
    if ((await accounts.get(login))?.mode !== 'static')
      await accounts.set(login, { mode: 'static', made: false });
    const all = [staticMark, ...groups];
    // The first is the account's own.
    const same = sameNames(present.slice(1), all);
    if (!same) {
      await ensureGroups(all);
      await setGroups(login, all);
    }
    const written = await writeSudoers(hostUuid, login, sudoers);
    if (same && written !== 'new') return;
    audit({
      ...{ event: 'host_user.updated', code: 'THU02I', login, mode: 'static' },
      ...{ groups: [...groups], sudoers: [...sudoers] },
    });
  }

  async #letGo(login: string): Promise<void> {
    const { accounts, audit, hostUuid } = this.#options;
    await removeSudoers(hostUuid, login);
    await accounts.forget(login);
    audit({ event: 'host_user.updated', code: 'THU02I', login, mode: 'static', sudoers: [] });
  }
}

function sameNames(one: readonly string[], other: readonly string[]): boolean {
  const sorted = (names: readonly string[]) => [...new Set(names)].sort().join(' ');
  return sorted(one) === sorted(other);
}
