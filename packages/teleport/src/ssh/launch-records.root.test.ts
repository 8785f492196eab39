// who(1), last(1), lastlog(8) and lastb(1): sshd on the same host says what a log-in leaves in them.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
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
import { launch } from './launch.ts';
import { type LoginRecord, lendUtmp, lengthOf, recordsIn } from './records.fixture.ts';
import { noSshd, RealSshd } from './sshd.fixture.ts';

const noWtmp = existsSync('/var/log/wtmp') ? false : 'no wtmp here';
const skip = cannotLaunch() || noSshd || noWtmp;

describe('the host’s books of log-ins are written as sshd writes them', { skip }, () => {
  let user: TestLogin;
  let sshd: RealSshd;
  let takeBack: () => void;
  before(async () => {
    user = createLogin('b');
    takeBack = lendUtmp();
    sshd = await RealSshd.start();
  });
  after(() => {
    sshd.stop();
    user.remove();
    takeBack();
  });

  /** Pids and terminals differ; their shape does not. */
  const shape = (records: readonly LoginRecord[]) =>
    records.map((record) => ({
      ...record,
      pid: record.pid > 1,
      id: record.id === '' ? '' : record.line.endsWith(record.id),
      line: record.line.replace(/\d+$/, 'N'),
    }));
  /** Of the one user, or on the terminals that user was on. */
  const ofUser = (records: readonly LoginRecord[]) => {
    const pids = new Set(records.filter((record) => record.user === user.name).map(({ pid }) => pid));
    return records.filter(({ pid }) => pids.has(pid));
  };

  test('utmp and wtmp, for a command on a terminal', async () => {
    const seen = async (run: () => unknown) => {
      const from = lengthOf('wtmp');
      await run();
      return eventually('the log-out is written', () => {
        const records = ofUser(recordsIn('wtmp', from));
        return records.at(-1)?.type === 8 && shape(records);
      });
    };
    const who = 'who | grep "^$USER " | sed "s/ .*(/ (/"';
    const said: string[] = [];
    const expected = await seen(() => said.push(sshd.run(user.name, [who], { tty: true })));
    const ours = await seen(async () => {
      const session = await launch(request(user.name, { command: who, pty: terminal() }));
      said.push((await finishOnTerminal(session)).out);
    });
    assert.equal(said[0], `${user.name} (127.0.0.1)\r\n`);
    assert.equal(said[1], said[0]);
    assert.deepEqual(ours, expected);
    assert.deepEqual(
      expected.map(({ type }) => type),
      [7, 8],
    );
  });

  test('not without a terminal', async () => {
    const from = lengthOf('wtmp');
    await finish(await launch(request(user.name, { command: 'true' })));
    assert.deepEqual(ofUser(recordsIn('wtmp', from)), []);
  });

  test('two terminals whose numbers begin alike do not write over each other', async () => {
    // A terminal above the ninth: hold as many open as it takes.
    const held = Array.from({ length: 12 }, () => openSync('/dev/ptmx', 'r+'));
    const open = async () => {
      const session = await launch(request(user.name, { command: 'sleep 100', pty: terminal() }));
      session.terminal?.output.resume();
      await session.go();
      return session;
    };
    const sessions = [await open(), await open(), await open()];
    const lines = () =>
      recordsIn('utmp').filter((record) => record.type === 7 && record.user === user.name).length;
    assert.equal(lines(), 3);
    for (const session of sessions) {
      session.kill();
      await session.closed;
    }
    assert.equal(lines(), 0);
    for (const fd of held) closeSync(fd);
  });

  test('lastlog: when, where and from where', async () => {
    const last = () => execFileSync('lastlog', ['-u', user.name]).toString().split('\n')[1] ?? '';
    sshd.run(user.name, ['true'], { tty: true });
    const expected = last();
    const session = await launch(
      request(user.name, { command: 'true', pty: terminal(), remoteHost: '192.0.2.5' }),
    );
    await finishOnTerminal(session);
    assert.match(expected, /pts\/\d+ +127\.0\.0\.1 +\w/);
    assert.match(last(), /pts\/\d+ +192\.0\.2\.5 +\w/);
    assert.equal(untimed(last()).replace('192.0.2.5', '127.0.0.1'), untimed(expected));
  });

  test('btmp: a name the host does not know', async () => {
    const seen = async (run: () => unknown) => {
      const from = lengthOf('btmp');
      await run();
      return shape(recordsIn('btmp', from).filter((record) => record.user === 'sp-no-such-user'));
    };
    const expected = await seen(() => sshd.run('sp-no-such-user', ['true'], { tty: false }));
    const ours = await seen(() =>
      assert.rejects(launch(request('sp-no-such-user', { command: 'true' })), {
        code: 'launch.unknown_user',
      }),
    );
    assert.equal(expected.length, 1);
    assert.deepEqual(ours, expected);
  });

  test('a daemon that is killed leaves nobody logged in', async () => {
    const script = `
      import { launch } from ${JSON.stringify(import.meta.resolve('./launch.ts'))};
      const asked = JSON.parse(process.argv[1]);
      asked.pty.modes = Buffer.alloc(0);
      const session = await launch(asked);
      session.terminal.output.resume();
      await session.go();
      console.log(session.leaderPid);
      setInterval(() => {}, 1000);`;
    const wanted = request(user.name, { command: 'sleep 100', pty: terminal() });
    const args = ['--input-type=module-typescript', '-e', script, JSON.stringify(wanted)];
    const daemon = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const pid = await new Promise<number>((resolve) =>
      daemon.stdout.once('data', (text) => resolve(Number(text))),
    );
    const record = () => recordsIn('utmp').find((one) => one.pid === pid);
    assert.equal(record()?.type, 7);
    const from = lengthOf('wtmp');
    daemon.kill('SIGKILL');
    await eventually('the record is closed', () => record()?.type === 8);
    await eventually('and in wtmp', () =>
      recordsIn('wtmp', from).some((one) => one.pid === pid && one.type === 8),
    );
  });
});

function untimed(line: string): string {
  return line.replace(/pts\/\d+ */, 'pts/N ').replace(/ \w{3} \w{3} .*/, ' DATE');
}
