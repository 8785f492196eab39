// One file in /etc/sudoers.d an account. A file that sudo cannot read makes sudo refuse everybody: it is checked
// before it stands there.
import { access, chmod, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { run } from './account-programs.ts';

const folder = '/etc/sudoers.d';
const head = '# Written by teleport, which takes it away when it is not needed any more.\n';

/** sudo skips names with a dot: so do we not write any. `hostUuid`: two agents of a host have two files. */
function pathOf(hostUuid: string, login: string): string {
  return join(folder, `teleport-${hostUuid}-${login.replaceAll('.', '_dot_')}`);
}

export type Written = 'new' | 'same' | 'no sudo';

export async function writeSudoers(
  hostUuid: string,
  login: string,
  lines: readonly string[],
): Promise<Written> {
  const path = pathOf(hostUuid, login);
  const before = await readFile(path, 'utf8').catch(() => '');
  const text = lines.length === 0 ? '' : `${head}${lines.map((line) => `${login} ${line}\n`).join('')}`;
  if (text === before) return 'same';
  if (text === '') {
    await rm(path);
    return 'new';
  }
  if (!(await exists(folder))) return 'no sudo';
  const draft = join(folder, `.teleport-${process.pid}.draft`); // with a dot: sudo does not read it
  try {
    await writeFile(draft, text, { mode: 0o440 });
    await chmod(draft, 0o440);
    await check(draft, lines);
    await rename(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
  return 'new';
}

async function check(draft: string, lines: readonly string[]): Promise<void> {
  const { status, stdout, stderr } = await run('visudo', ['-c', '-q', '-f', draft]);
  if (status === 0 || /ENOENT/.test(stderr)) return;
  const why = `${stdout}${stderr}`.trim().split('\n')[0]?.replace(draft, 'it') ?? '';
  throw new AppError(
    'bad_input',
    'host_user.sudoers',
    `A role’s host_sudoers is not what sudo understands: ${JSON.stringify(lines)}${why && ` (${why})`}.`,
  );
}

export async function removeSudoers(hostUuid: string, login: string): Promise<void> {
  await rm(pathOf(hostUuid, login), { force: true });
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
