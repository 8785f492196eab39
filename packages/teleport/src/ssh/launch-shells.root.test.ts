// Log-in shells of all kinds, as sshd starts them: with the same words, the same exit status, the same refusals.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { cannotLaunch, createLogin, finish, request, type TestLogin } from './host.fixture.ts';
import { launch } from './launch.ts';
import { PamService } from './pam-service.fixture.ts';
import { noSshd, RealSshd } from './sshd.fixture.ts';

const skip = cannotLaunch() || noSshd;

/** sh-like, csh-like, neither, restricted; those that are installed (tools/debian-packages-test.txt has them all). */
const shells = ['sh', 'dash', 'bash', 'rbash', 'tcsh', 'zsh', 'fish']
  .map((name) => `/usr/bin/${name}`)
  .filter((path) => existsSync(path));

/** The shell's own command line, whatever its language; then a status of its own. */
const commandLine = `sh -c 'tr "\\0" "|" </proc/$PPID/cmdline'; exit 3`;

describe('log-in shells', { skip }, () => {
  let user: TestLogin;
  let sshd: RealSshd;
  let pam: PamService;
  before(async () => {
    user = createLogin('s');
    pam = new PamService();
    pam.set('account required pam_permit.so', 'session required pam_permit.so');
    sshd = await RealSshd.start({ pamService: pam.name });
  });
  after(() => {
    sshd.stop();
    pam.remove();
    user.remove();
  });

  const useShell = (path: string) =>
    execFileSync('usermod', ['--shell', path, user.name], { stdio: 'ignore' });
  const theirs = (command: string | undefined, input: string) =>
    sshd.ran(user.name, command === undefined ? [] : [command], { tty: false, input });
  async function ours(command: string | undefined, input: string) {
    const session = await launch(request(user.name, { command, pamService: pam.name }));
    const { out, err, exit } = await finish(session, input);
    return { out, err, status: 'code' in exit ? exit.code : null };
  }

  for (const shell of shells)
    test(`${shell}, for a command and for a log-in`, async () => {
      useShell(shell);
      const command = theirs(commandLine, '');
      assert.match(command.out, new RegExp(`^${shell.replace('/usr/bin/', '')}\\|-c\\|`));
      assert.equal(command.status, 3);
      assert.deepEqual(await ours(commandLine, ''), command);
      const logIn = theirs(undefined, `${commandLine}\n`);
      assert.match(logIn.out, new RegExp(`-${shell.replace('/usr/bin/', '')}\\|`));
      assert.deepEqual(await ours(undefined, `${commandLine}\n`), logIn);
    });

  test('rbash keeps its user in', async () => {
    useShell('/usr/bin/rbash');
    const { err, status } = await ours('cd /tmp', '');
    assert.match(err, /cd: restricted/);
    assert.equal(status, 1);
  });

  test('nologin says that the account is not available', async () => {
    useShell('/usr/sbin/nologin');
    for (const command of ['id', undefined]) {
      const expected = theirs(command, '');
      assert.match(expected.out, /not available/);
      assert.deepEqual(await ours(command, ''), expected);
    }
  });

  test('a shell that is not in /etc/shells is as good as any, unless PAM asks', async () => {
    const shell = `${user.home}/my-shell`;
    copyFileSync('/usr/bin/dash', shell);
    useShell(shell);
    assert.deepEqual(await ours(commandLine, ''), theirs(commandLine, ''));
    pam.set(
      'account required pam_shells.so',
      'account required pam_permit.so',
      'session required pam_permit.so',
    );
    assert.equal(theirs('id', '').status, 255);
    await assert.rejects(ours('id', ''), { code: 'launch.account_denied' });
    pam.set('account required pam_permit.so', 'session required pam_permit.so');
  });

  test('no shell in the account means /bin/sh', async () => {
    useShell('');
    const expected = theirs(commandLine, '');
    assert.match(expected.out, /^sh\|-c/);
    assert.deepEqual(await ours(commandLine, ''), expected);
  });
});
