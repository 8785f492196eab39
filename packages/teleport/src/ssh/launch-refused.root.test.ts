import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { cannotLaunch, createLogin, finish, request, type TestLogin, terminal } from './host.fixture.ts';
import { type LaunchRequest, launch } from './launch.ts';

describe('a log-in is refused', { skip: cannotLaunch() }, () => {
  let user: TestLogin;
  before(() => {
    user = createLogin('r');
  });
  after(() => user.remove());

  const refused = (more: Partial<LaunchRequest>, expected: object): Promise<void> =>
    assert.rejects(launch(request(user.name, { command: 'true', ...more })), expected);

  test('for a name the host does not know', () =>
    refused(
      { login: 'no-such-user' },
      { kind: 'not_found', code: 'launch.unknown_user', message: /no-such-user/ },
    ));

  test('for an expired account, with PAM and without', async () => {
    execFileSync('chage', ['-E', '2001-01-01', user.name]);
    try {
      for (const pamService of ['sshd', undefined])
        await refused({ pamService }, { kind: 'denied', code: 'launch.account_expired' });
    } finally {
      execFileSync('chage', ['-E', '-1', user.name]);
    }
  });

  test('while /etc/nologin exists, with its text, but never to root', { skip: nologinThere() }, async () => {
    writeFileSync('/etc/nologin', 'Back at noon.\nOr later.\n');
    try {
      const expected = { kind: 'denied', code: 'launch.nologin', message: 'Back at noon.\nOr later.' };
      await refused({ pamService: 'sshd' }, expected);
      await refused({ pty: terminal() }, expected);
      const root = await launch(request('root', { command: 'true', pamService: 'sshd' }));
      assert.deepEqual((await finish(root)).exit, { code: 0 });
    } finally {
      rmSync('/etc/nologin');
    }
  });

  test('for a log-in shell that does not exist', async () => {
    execFileSync('usermod', ['--shell', '/no/such/shell', user.name], { stdio: 'ignore' });
    try {
      await refused({}, { kind: 'denied', code: 'launch.shell_missing', message: /\/no\/such\/shell/ });
    } finally {
      execFileSync('usermod', ['--shell', '/bin/bash', user.name]);
    }
  });

  test('for a cgroup that is not there, or is none', async () => {
    await refused({ cgroupDir: '/sys/fs/cgroup/no-such' }, { kind: 'unavailable', code: 'launch.cgroup' });
    await refused({ cgroupDir: '/tmp' }, { code: 'launch.cgroup', message: /not in a cgroup2 mount/ });
  });

  test('by a PAM service whose account stage says no', async () => {
    writeFileSync(
      '/etc/pam.d/sallyport-test',
      'account required pam_deny.so\nsession required pam_permit.so\n',
    );
    try {
      await refused({ pamService: 'sallyport-test' }, { kind: 'denied', code: 'launch.account_denied' });
    } finally {
      rmSync('/etc/pam.d/sallyport-test');
    }
  });

  test('without a launcher', () => refused({ launcher: '/no/such/launcher' }, { code: 'launch.binary' }));

  test('with a command longer than exec takes, when go is said', async () => {
    const session = await launch(request(user.name, { command: `: ${'x'.repeat(140_000)}` }));
    await assert.rejects(session.go(), { code: 'launch.exec_failed', message: /Argument list too long/ });
    await session.closed;
  });

  test('with a script as log-in shell whose interpreter is missing, when go is said', async () => {
    const shell = `${user.home}/shell`;
    writeFileSync(shell, '#!/no/such/interpreter\n', { mode: 0o755 });
    execFileSync('usermod', ['--shell', shell, user.name], { stdio: 'ignore' });
    try {
      const session = await launch(request(user.name));
      await assert.rejects(session.go(), { code: 'launch.exec_failed', message: /No such file/ });
    } finally {
      execFileSync('usermod', ['--shell', '/bin/bash', user.name]);
    }
  });
});

function nologinThere(): string | false {
  return existsSync('/etc/nologin') ? 'this host has an /etc/nologin of its own' : false;
}
