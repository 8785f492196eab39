import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  cannotLaunch,
  createLogin,
  eventually,
  finishOnTerminal,
  request,
  type TestLogin,
  terminal,
  textOf,
} from './host.fixture.ts';
import { type LaunchedSession, type LaunchRequest, launch } from './launch.ts';
import { lengthOf, recordsIn } from './records.fixture.ts';

/** RFC 4254 §8: opcode, 32-bit argument, …, 0. */
function modes(...pairs: readonly (readonly [number, number])[]): Buffer {
  const encoded = Buffer.alloc(pairs.length * 5 + 1);
  for (const [i, [opcode, value]] of pairs.entries()) {
    encoded[i * 5] = opcode;
    encoded.writeUInt32BE(value, i * 5 + 1);
  }
  return encoded;
}

/** Collects what the terminal says, so that a test can wait for a word. */
function watched(session: LaunchedSession) {
  let text = '';
  session.terminal?.output.on('data', (chunk: Buffer) => {
    text += chunk;
  });
  return {
    says: (word: string) => eventually(`terminal says ${word}`, () => text.includes(word)),
    text: () => text,
  };
}

describe('the terminal of a session', { skip: cannotLaunch() }, () => {
  let user: TestLogin;
  before(() => {
    user = createLogin('t');
  });
  after(() => user.remove());

  const launched = (
    command: string | undefined,
    more: Partial<LaunchRequest> = {},
  ): Promise<LaunchedSession> => launch(request(user.name, { command, pty: terminal(), ...more }));

  test('is the controlling terminal, owned by the user, of the size asked for', async () => {
    const pty = terminal({ cols: 132, rows: 43, xpixel: 5, ypixel: 7 });
    const command = 'stty size; stat -c "%U %G %a" $(tty); ps -o tty= -p $$; echo $TERM $SSH_TTY';
    const { out } = await finishOnTerminal(await launched(command, { pty }));
    assert.match(out, new RegExp(`^43 132\r\n${user.name} tty 620\r\n(pts/\\d+)\r\nxterm /dev/\\1\r\n$`));
  });

  test('starts in the modes the client sent', async () => {
    // ECHO off, ISIG off, IUTF8 on, INTR = ^A, QUIT disabled, input and output speed 9600
    const sent = modes([53, 0], [50, 0], [42, 1], [1, 1], [2, 255], [128, 9600], [129, 9600]);
    const { out } = await finishOnTerminal(await launched('stty -a', { pty: terminal({ modes: sent }) }));
    for (const word of [/ -echo /, /-isig/, / iutf8/, /intr = \^A;/, /quit = <undef>;/, /speed 9600 baud/])
      assert.match(out.replaceAll('\r\n', ' '), word);
  });

  test('unknown and truncated modes do no harm', async () => {
    const sent = Buffer.concat([modes([17, 1], [99, 1], [159, 1]).subarray(0, -1), Buffer.from([53, 0, 0])]);
    const { out } = await finishOnTerminal(await launched('stty -a', { pty: terminal({ modes: sent }) }));
    assert.match(out, / echo /);
  });

  test('a resize reaches the program as SIGWINCH with the new size', async () => {
    const session = await launched('trap "stty size; exit" WINCH; echo up; while :; do sleep 0.01; done');
    const screen = watched(session);
    await session.go();
    await screen.says('up');
    session.resize({ cols: 100, rows: 50, xpixel: 0, ypixel: 0 });
    assert.deepEqual(await session.exited, { code: 0 });
    await screen.says('50 100');
  });

  test('Ctrl-C interrupts the foreground program, the shell goes on', async () => {
    const session = await launched(undefined);
    const screen = watched(session);
    await session.go();
    const { input } = session.terminal ?? assert.fail();
    input.write('echo u$((1))p; sleep 100\n');
    await screen.says('u1p');
    await eventually('sleep runs', () => foreground(session.leaderPid) === 'sleep');
    input.write('\x03');
    await eventually('the shell is in front again', () => foreground(session.leaderPid) === 'bash');
    input.write('echo still $((1+1)); exit 7\n');
    assert.deepEqual(await session.exited, { code: 7 });
    assert.match(screen.text(), /still 2/);
  });

  test('a signal of the client goes to the foreground program, not to the shell behind it', async () => {
    const session = await launched(undefined);
    watched(session);
    await session.go();
    session.terminal?.input.write('sleep 100\n');
    await eventually('sleep runs', () => foreground(session.leaderPid) === 'sleep');
    assert.equal(session.signal('KILL'), true);
    await eventually('the shell is in front again', () => foreground(session.leaderPid) === 'bash');
    session.terminal?.input.write('exit $?\n');
    assert.deepEqual(await session.exited, { code: 137 });
  });

  test('a signal of the client has the user’s rights: what sudo runs in front is out of its reach', async () => {
    // A set-uid setpriv plays sudo: real, effective and saved uid are root's.
    const sudo = `${user.home}/as-root`;
    execFileSync('install', ['--mode', '4755', '/usr/bin/setpriv', sudo]);
    const session = await launched(undefined);
    watched(session);
    await session.go();
    session.terminal?.input.write(`${sudo} --reuid=0 --regid=0 --clear-groups sleep 100\n`);
    await eventually('sleep runs', () => foreground(session.leaderPid) === 'sleep');
    session.signal('KILL');
    session.resize({ cols: 99, rows: 9, xpixel: 0, ypixel: 0 });
    const size = () => execFileSync('stty', ['-F', `/proc/${session.leaderPid}/fd/0`, 'size']).toString();
    await eventually('the word after the signal was obeyed', () => size() === '9 99\n');
    assert.equal(foreground(session.leaderPid), 'sleep');
    session.hangUp();
    await session.closed;
  });

  test('hangUp ends the shell by SIGHUP, what ignores it lives on', async () => {
    const session = await launched(undefined);
    const screen = watched(session);
    await session.go();
    session.terminal?.input.write('nohup sleep 300 >/dev/null 2>&1 & echo bg=$!.\n');
    await eventually('it says its pid', () => /bg=\d+\./.test(screen.text()));
    const background = Number(screen.text().match(/bg=(\d+)\./)?.[1]);
    session.hangUp();
    assert.deepEqual(await session.exited, { signal: 'HUP', coreDumped: false });
    await session.closed;
    assert.ok(existsSync(`/proc/${background}`));
    process.kill(background);
  });

  test('what runs on after the shell’s exit keeps the output open until it is done', async () => {
    const session = await launched('trap "" HUP; (sleep 0.3; echo late) & exit 0');
    const output = textOf(session.terminal?.output ?? assert.fail());
    await session.go();
    await session.closed;
    assert.match(await output, /late/);
  });

  test('output nobody reads stops the program, reading lets it go on to the last byte', async () => {
    const session = await launched('head -c 3000000 /dev/zero | tr "\\0" x; echo; echo the end');
    await session.go();
    const output = session.terminal?.output ?? assert.fail();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.ok(existsSync(`/proc/${session.leaderPid}`), 'it cannot have finished');
    const out = await textOf(output);
    assert.equal(out.length, 3000000 + '\r\nthe end\r\n'.length);
  });

  test('input for a program that does not read is not drained, and does not stop the daemon', async () => {
    const session = await launched('stty raw -echo; echo up; sleep 0.5; head -c 2000000 | md5sum');
    const screen = watched(session);
    await session.go();
    await screen.says('up');
    const { input } = session.terminal ?? assert.fail();
    const start = performance.now();
    const typed = Buffer.alloc(2000000, 'typed');
    const drained = new Promise((resolve) => input.once('drain', resolve));
    assert.equal(input.write(typed), false);
    assert.ok(performance.now() - start < 200, 'the event loop was not held');
    await drained;
    await session.exited;
    await session.closed;
    assert.ok(screen.text().includes(createHash('md5').update(typed).digest('hex')), 'not a byte is missing');
  });

  test('a burst is read at tens of megabytes a second, gathered, and to the last byte', async (t) => {
    const blob = join(user.home, 'blob');
    const wanted = randomBytes(30_000_000);
    writeFileSync(blob, wanted, { mode: 0o644 });
    const session = await launched(`stty raw; cat ${blob}; sleep 0.1; printf end`);
    const start = performance.now();
    await session.go();
    const chunks: Buffer[] = [];
    for await (const chunk of session.terminal?.output ?? []) chunks.push(chunk as Buffer);
    t.diagnostic(`${(wanted.length / 1000 / (performance.now() - start)).toFixed(0)} MB/s`);
    const all = Buffer.concat(chunks);
    assert.ok(Buffer.concat([wanted, Buffer.from('end')]).equals(all), 'every byte, in order');
    assert.equal(chunks.at(-1)?.toString(), 'end', 'what comes alone goes alone');
    // N_TTY gives 4 KiB at a time.
    const average = all.length / chunks.length;
    assert.ok(average > 8 * 1024, `${average.toFixed(0)} bytes a chunk`);
  });

  test('who was on which terminal is in wtmp', {
    skip: existsSync('/var/log/wtmp') ? false : 'no wtmp here',
  }, async () => {
    const from = lengthOf('wtmp');
    const session = await launched('tty', { remoteHost: '192.0.2.9' });
    const { out } = await finishOnTerminal(session);
    const line = out.trim().replace('/dev/', '');
    const ours = recordsIn('wtmp', from).filter(({ pid }) => pid === session.leaderPid);
    assert.deepEqual(
      ours.map((record) => [record.type, record.user, record.line, record.host]),
      [
        [7, user.name, line, '192.0.2.9'],
        [8, '', line, ''],
      ],
    );
  });

  test('a log-in shell has a dash, PAM’s words and the last log-in above its prompt', async () => {
    for (const greeted of [false, true]) {
      const session = await launched(undefined, { pamService: 'sshd', remoteHost: '192.0.2.7' });
      const { out } = await finishOnTerminal(session, 'echo $0; exit\n');
      assert.match(out, /^-bash/m);
      assert.equal(/Last login: .* from 192\.0\.2\.7/.test(out), greeted);
    }
  });
});

/** Name of the program that Ctrl-C would reach: tpgid is the eighth field of stat. */
function foreground(leader: number): string {
  const stat = readFileSync(`/proc/${leader}/stat`, 'utf8');
  const group = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[5];
  const comm = `/proc/${group}/comm`;
  return existsSync(comm) ? readFileSync(comm, 'utf8').trim() : '';
}
