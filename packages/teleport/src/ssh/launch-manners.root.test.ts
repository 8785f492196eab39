// What a log-in does to the host, and what the host says to it: sshd on the same host is the judge of both.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { after, before, beforeEach, describe, test } from 'node:test';
import {
  cannotLaunch,
  createLogin,
  eventually,
  finish,
  finishOnTerminal,
  request,
  type TestLogin,
  terminal,
} from './host.fixture.ts';
import { type LaunchRequest, launch } from './launch.ts';
import { PamService } from './pam-service.fixture.ts';
import { noSshd, RealSshd } from './sshd.fixture.ts';

const skip = cannotLaunch() || noSshd;

interface How {
  readonly tty: boolean;
  readonly command?: string;
  readonly input?: string;
}

interface Shown {
  readonly out: string;
  readonly err: string;
  readonly status: number | null;
}

const plain = (text: string): string => text.replaceAll('\r', '');

/** Ports, process ids and terminals are never the same twice; nor do dates have to be. */
function normalised(text: string): string {
  return plain(text)
    .replace(/(SSH_CLIENT=\S+) \d+ \d+/g, '$1 port port')
    .replace(/(SSH_CONNECTION=\S+) \d+ (\S+) \d+/g, '$1 port $2 port')
    .replace(/\/dev\/pts\/\d+/g, '/dev/pts/N')
    .replace(/Last login: \w+ \w+ [ \d]\d \d\d:\d\d:\d\d \d{4} /g, 'Last login: DATE ');
}

describe('the manners of a log-in are sshd’s', { skip }, () => {
  let user: TestLogin;
  let pam: PamService;
  let sshd: RealSshd;
  /** Without PAM. */
  let bare: RealSshd;
  const env = {
    LANG: 'C.UTF-8',
    SSH_CLIENT: '127.0.0.1 50000 22',
    SSH_CONNECTION: '127.0.0.1 50000 127.0.0.1 22',
  };
  const account = ['account required pam_permit.so'];

  before(async () => {
    user = createLogin('m');
    execFileSync('usermod', ['--password', '*', user.name]); // "!" is locked, to an sshd without PAM
    pam = new PamService();
    const settings = 'PermitUserEnvironment yes';
    sshd = await RealSshd.start({ pamService: pam.name, settings });
    bare = await RealSshd.start({ settings: `${settings}\nUsePAM no\nPrintMotd yes` });
  });
  after(() => {
    for (const one of [sshd, bare]) one?.stop();
    pam.remove();
    user.remove();
  });
  beforeEach(() => pam.set(...account, 'session required pam_permit.so'));

  async function ours({ tty, command, input = '' }: How, more: Partial<LaunchRequest> = {}): Promise<Shown> {
    const wanted = { command, env, pamService: pam.name, userEnvironment: true, ...more };
    if (tty) {
      const pty = terminal({ cols: 0, rows: 0, modes: Buffer.from([0]) });
      const { out, exit } = await finishOnTerminal(
        await launch(request(user.name, { ...wanted, pty })),
        input,
      );
      return { out: normalised(out), err: '', status: 'code' in exit ? exit.code : null };
    }
    const { out, err, exit } = await finish(await launch(request(user.name, wanted)), input);
    return { out: normalised(out), err: normalised(err), status: 'code' in exit ? exit.code : null };
  }

  function theirs({ tty, command, input = '' }: How, server = sshd): Shown {
    const { out, err, status } = server.ran(user.name, command === undefined ? [] : [command], {
      tty,
      input,
    });
    return { out: normalised(out), err: normalised(err), status };
  }

  const bareWanted = { pamService: undefined };

  test('PAM modules are shown what sshd shows them, at each stage', async () => {
    const noted = ['auth optional NOTE', 'account optional NOTE', 'session optional NOTE'];
    pam.set(...noted, ...account);
    // The key somebody logged in with is not told to modules.
    const shared = (line: string) => line !== '' && !line.startsWith('SSH_AUTH_INFO_0=');
    const seen = async () => {
      const stages = await eventually('the session is closed', () => {
        const noted = pam.noted(false);
        return noted.at(-1)?.stage === 'close_session' && noted;
      });
      pam.noted();
      return stages.map(({ stage, variables }) => [stage, ...variables.filter(shared).map(normalised)]);
    };
    for (const tty of [false, true]) {
      theirs({ tty, command: 'true' });
      const expected = await seen();
      await ours({ tty, command: 'true' });
      assert.deepEqual(await seen(), expected);
      assert.deepEqual(
        expected.map(([stage]) => stage),
        ['account', 'open_session', 'close_session'],
      );
    }
  });

  test('the operator’s variables are shown to PAM modules and reach the session', async () => {
    pam.set('account optional NOTE', 'session optional NOTE', ...account);
    const { out } = await ours(
      { tty: false, command: 'echo $TELEPORT_USERNAME $TEAM' },
      { pamEnvironment: { TELEPORT_USERNAME: 'alice', TEAM: 'a b' } },
    );
    assert.equal(out, 'alice a b\n');
    for (const { variables } of pam.noted())
      for (const wanted of ['TELEPORT_USERNAME=alice', 'TEAM=a b']) assert.ok(variables.includes(wanted));
  });

  test('the greeting: PAM’s words, the last log-in, the message of the day', async () => {
    const motd = pam.file('motd', 'Welcome aboard.\n');
    pam.set(
      'account optional pam_echo.so account says',
      ...account,
      'session optional pam_echo.so session says',
      `session optional pam_motd.so motd=${motd} noupdate`,
    );
    theirs({ tty: true, command: 'true' }); // from now on there is a last log-in
    for (const tty of [true, false]) {
      for (const how of [
        { tty, input: 'exit\n' },
        { tty, command: 'true' },
      ]) {
        const expected = theirs(how);
        assert.equal(expected.out.includes('session says\nWelcome aboard.\n'), !('command' in how));
        assert.equal(upToPrompt(await ours(how)), upToPrompt(expected));
      }
    }
    const expected = upToPrompt(theirs({ tty: true, input: 'exit\n' }, bare));
    assert.match(expected, /Last login: DATE from 127\.0\.0\.1\n/);
    const ourText = upToPrompt(await ours({ tty: true, input: 'exit\n' }, bareWanted));
    // sshd prints /etc/motd alone: what of it is new with every boot is PAM's to find.
    const dynamic = existsSync('/run/motd.dynamic') ? readFileSync('/run/motd.dynamic', 'utf8') : '';
    assert.equal(ourText.replace(dynamic, ''), expected);
    assert.ok(ourText.includes(dynamic));
  });

  test('~/.hushlogin silences it', async () => {
    pam.set(...account, 'session optional pam_echo.so session says');
    writeFileSync(`${user.home}/.hushlogin`, '');
    try {
      for (const tty of [true, false]) {
        const how = { tty, input: 'exit\n' };
        const expected = upToPrompt(theirs(how));
        assert.doesNotMatch(expected, /says|Last/);
        assert.equal(upToPrompt(await ours(how)), expected);
      }
    } finally {
      rmSync(`${user.home}/.hushlogin`);
    }
  });

  test('the environment: account, ~/.ssh/environment, PAM, and where the user came from', async () => {
    const names = 'LANG TERM SSH_TTY PATH SSH_CLIENT SSH_CONNECTION HOME USER LOGNAME SHELL MAIL'.split(' ');
    const from = (who: string, some: readonly string[]) => some.map((name) => `${name}=/${who}\n`).join('');
    mkdirSync(`${user.home}/.ssh`);
    const path = `${user.home}/.ssh/environment`;
    const odd = '# words\n\n  A=indented\nno equals\nC=with blanks # x  \nE="q"\nG =x\n\tH=tab\nI=a=b\nF=\n';
    writeFileSync(path, `${odd}${from('user', names)}`);
    const pamNames = names.filter((name) => name !== 'TERM');
    for (const given of [pamNames, ['LANG']]) {
      pam.set(
        ...account,
        `session required pam_env.so envfile=${pam.file('env', from('pam', given))} readenv=1`,
      );
      for (const tty of [true, false]) {
        const how = { tty, command: '/usr/bin/env | /usr/bin/sort' };
        const expected = theirs(how);
        assert.deepEqual(await ours(how), expected);
        const expectedBare = theirs(how, bare);
        assert.deepEqual(await ours(how, bareWanted), expectedBare);
      }
    }
    const { out } = await ours({ tty: false, command: '/usr/bin/env' }, { userEnvironment: false });
    assert.doesNotMatch(out, /\/user/);
    rmSync(`${user.home}/.ssh`, { recursive: true });
  });

  test('~/.ssh/environment is read with the user’s rights, and what is no file not at all', async () => {
    mkdirSync(`${user.home}/.ssh`);
    const path = `${user.home}/.ssh/environment`;
    writeFileSync('/root/.sallyport-test-secret', 'SECRET=x\n', { mode: 0o600 });
    try {
      symlinkSync('/root/.sallyport-test-secret', path);
      assert.doesNotMatch((await ours({ tty: false, command: '/usr/bin/env' })).out, /SECRET/);
      rmSync(path);
      execFileSync('mkfifo', [path]);
      assert.equal((await ours({ tty: false, command: 'true' })).status, 0);
      rmSync(path);
      writeFileSync(path, Array.from({ length: 200 }, (_, i) => `V${i}=1\n`).join(''));
      const { out, err } = await ours({ tty: false, command: '/usr/bin/env' });
      assert.equal(out.match(/^V\d+=1$/gm)?.length, 100);
      assert.match(err, /Too many lines in /);
    } finally {
      rmSync('/root/.sallyport-test-secret');
      rmSync(`${user.home}/.ssh`, { recursive: true });
    }
  });

  test('limits.conf holds as under sshd', async () => {
    const limits = `${user.name} - nproc 77\n${user.name} soft nofile 333\n@${user.group} hard core 5\n* - nice 3\n`;
    pam.set(...account, `session required pam_limits.so conf=${pam.file('limits', limits)}`);
    const how = { tty: false, command: 'cat /proc/self/limits' };
    const expected = theirs(how);
    assert.match(expected.out, /Max processes +77 /);
    assert.deepEqual(await ours(how), expected);
  });

  test('PAM that says no: its words, and nothing has run', async () => {
    const refused = (message: RegExp, code: string) =>
      assert.rejects(ours({ tty: true, command: 'true' }), { code, message });
    pam.set('account required pam_echo.so not today', 'account required pam_deny.so');
    await refused(/not today/, 'launch.account_denied');
    pam.set(
      'account required NOTE',
      'session required NOTE',
      'session optional pam_echo.so full',
      'session required pam_deny.so',
    );
    await refused(/session: [\s\S]*full/, 'launch.pam');
    assert.equal(theirs({ tty: true, command: 'true' }).status, 254);
    pam.noted();
    pam.set(`account required pam_nologin.so file=${pam.file('nologin', 'Back at noon.\n')}`, ...account);
    await refused(/Back at noon\./, 'launch.account_denied');
    assert.equal(theirs({ tty: true, command: 'true' }).status, 255);
    pam.set('account required pam_succeed_if.so quiet uid > 4000000', ...account);
    await refused(/Permission denied|Authentication failure/, 'launch.account_denied');
  });

  test('a password that has expired is changed on the terminal, and without one there is no way in', async () => {
    pam.set('account required pam_unix.so', 'session required pam_permit.so');
    execFileSync('usermod', ['--password', '$6$x$never', user.name]);
    execFileSync('chage', ['-d', '0', user.name]);
    try {
      for (const command of [undefined, 'echo not run']) {
        const theirWords = await sshd.until(user.name, command === undefined ? [] : [command], 'password: ');
        const pty = terminal();
        const session = await launch(request(user.name, { command, env, pamService: pam.name, pty }));
        let said = '';
        session.terminal?.output.on('data', (chunk: Buffer) => {
          said += chunk;
        });
        await session.go();
        await eventually('it asks', () => said.includes('password: '));
        session.kill();
        await session.closed;
        const asked = (text: string) => /WARNING[\s\S]*?password: /.exec(plain(text))?.[0];
        assert.match(asked(theirWords) ?? '', /has expired[\s\S]*Changing password/);
        assert.equal(asked(said), asked(theirWords));
      }
      const { err, status } = theirs({ tty: false, command: 'true' });
      const code = 'launch.password_expired';
      await assert.rejects(ours({ tty: false, command: 'true' }), { code, message: err.trim() });
      assert.equal(status, 1);
    } finally {
      execFileSync('chage', ['-d', '-1', user.name]);
      execFileSync('usermod', ['--password', '*', user.name]);
    }
  });

  test('credentials that PAM cannot make do not end the log-in', async () => {
    pam.set('auth required pam_deny.so', ...account, 'session required pam_permit.so');
    const how = { tty: false, command: 'echo here' };
    assert.deepEqual(await ours(how), theirs(how));
  });

  test('the PAM session is closed when the daemon’s launcher is asked to end, and after a failed exec', async () => {
    pam.set(...account, 'session optional NOTE');
    const session = await launch(
      request(user.name, { command: 'sleep 100', pamService: pam.name, pty: terminal() }),
    );
    await session.go();
    session.terminal?.output.resume();
    process.kill(session.supervisorPid, 'SIGTERM'); // an init that ends the whole service
    assert.deepEqual(await session.exited, { signal: 'HUP', coreDumped: false });
    await session.closed;
    const stages = () => pam.noted().map(({ stage }) => stage);
    assert.deepEqual(stages(), ['open_session', 'close_session']);
    const tooLong = await launch(
      request(user.name, { command: `: ${'x'.repeat(140_000)}`, pamService: pam.name }),
    );
    await assert.rejects(tooLong.go(), { code: 'launch.exec_failed' });
    await tooLong.closed;
    assert.deepEqual(stages(), ['open_session', 'close_session']);
  });
});

/** What the terminal shows before the shell speaks; without one, all of the output. A shell's prompt has a `$`. */
function upToPrompt({ out }: Shown): string {
  return (out.split('\x1b')[0]?.split(/^.*\$ /m)[0] ?? '').replace(/^exit\n/m, '');
}
