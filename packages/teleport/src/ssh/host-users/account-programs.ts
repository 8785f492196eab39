// useradd, usermod, userdel, groupadd: the host's own programs change its accounts, so that its own rules hold
// (login.defs, subordinate ids, locks on the files). Never by a shell.
import { execFile } from 'node:child_process';
import { AppError } from '@sallyport/contracts/errors.ts';
import { accountName, groupName } from './host-user.ts';

/** Others may hold the lock on /etc/passwd for a while. */
const timeoutMs = 30_000;
const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface Ran {
  readonly status: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** `status` undefined: it did not run, or not to its end. Never rejects. */
export function run(program: string, args: readonly string[]): Promise<Ran> {
  const options = { cwd: '/', env: { PATH: path, LC_ALL: 'C' }, timeout: timeoutMs, maxBuffer: 1 << 20 };
  return new Promise((resolve) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : undefined;
      resolve({ status, stdout, stderr: stderr || (status === undefined ? String(error?.message) : '') });
    });
  });
}

async function must(program: string, args: readonly string[]): Promise<void> {
  const { status, stderr } = await run(program, args);
  if (status === 0) return;
  const why = stderr.trim().split('\n').at(-1) ?? '';
  throw new AppError('unavailable', 'host_user.program', `${program} failed: ${why || `status ${status}`}.`);
}

/** Group names of the account; undefined: the host has no such account. */
export async function groupsOf(login: string): Promise<readonly string[] | undefined> {
  if (!accountName.test(login)) return undefined;
  const { status } = await run('getent', ['passwd', login]);
  if (status !== 0) return undefined;
  const { stdout } = await run('id', ['-nG', login]);
  return stdout.trim().split(' ').filter(Boolean);
}

/** A name from a trait is text of an identity provider. */
export async function ensureGroups(names: readonly string[]): Promise<void> {
  for (const name of names) {
    if (!groupName.test(name))
      throw new AppError('bad_input', 'host_user.group', `"${name}" cannot be a group of this host.`);
    await must('groupadd', ['--force', name]);
  }
}

export interface NewAccount {
  readonly shell: string;
  readonly groups: readonly string[];
  /** undefined: what the host gives. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

export async function addAccount(login: string, account: NewAccount): Promise<void> {
  const { shell, groups, uid, gid } = account;
  if (!accountName.test(login))
    throw new AppError('bad_input', 'host_user.name', `"${login}" cannot be made an account of this host.`);
  // useradd makes the account's own group, but with no number of its own for it.
  if (gid !== undefined) await must('groupadd', ['--force', '--gid', String(gid), login]);
  const numbers = [
    ...(uid === undefined ? [] : ['--uid', String(uid)]),
    ...(gid === undefined ? [] : ['--gid', String(gid)]),
  ];
  await must('useradd', ['--create-home', '--shell', shell, '--groups', groups.join(','), ...numbers, login]);
}

export async function setGroups(login: string, groups: readonly string[]): Promise<void> {
  await must('usermod', ['--groups', groups.join(','), login]);
}

/** Refuses while processes of the account run, as userdel does by itself. */
export async function removeAccount(login: string): Promise<void> {
  await must('userdel', ['--remove', login]);
}
