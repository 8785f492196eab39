// The whole node, for real: OpenSSH's ssh, the launcher, the recorder, this kernel. What a session's log must say.
import assert from 'node:assert/strict';
import { existsSync, realpathSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch, createLogin, type TestLogin } from '../../ssh/host.fixture.ts';
import { OneNode, type SshOptions, until } from './one-node.fixture.ts';
import { assertWhole, commandLines, only } from './session-assertions.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');

describe('a node', { skip }, () => {
  let node: OneNode;
  let login: TestLogin;
  before(async () => {
    login = createLogin('node');
    node = await OneNode.start({ logins: [login.name] });
  });
  after(async () => {
    await node?.remove();
    login?.remove();
  });

  const session = (command: string | undefined, options: SshOptions = {}) =>
    node.session(command, { ...options, login: login.name });

  test('records what a base64-obfuscated pipe really ran', async () => {
    const script = Buffer.from('/bin/cat /etc/hostname; exit 7').toString('base64');
    const { ran, events } = await session(`echo ${script} | base64 --decode | sh`);
    assert.equal(ran.status, 7);
    assertWhole(events);
    assert.ok(commandLines(events).includes('/bin/cat /etc/hostname'), commandLines(events).join('\n'));
  });

  // Anything in front of the shell's exec would be ours, or something the watch came too late for: the launcher
  // opens no file between go and its exec, whatever the way in.
  for (const [way, tty, command, argv] of [
    ['a command', false, 'true', ['-c', 'true']],
    ['a terminal', true, undefined, []],
    ['a command in a terminal', true, 'true', ['-c', 'true']],
  ] as const) {
    test(`has the login shell's own exec as the very first record: ${way}`, async () => {
      const { events } = await session(command, { tty, input: tty ? 'exit\n' : '' });
      assertWhole(events);
      const records = events.filter((event) => 'seq' in event);
      const [first] = records;
      assert.deepEqual([first?.event, first?.['seq']], ['session.command', 1]);
      assert.equal(first?.['exe'], realpathSync('/bin/bash'));
      assert.deepEqual(first?.['argv'], argv);
      assert.equal(events.findIndex(({ event }) => event === 'session.disk') > 1, true);
      const ours = records.filter((event) => event['program'] === 'launcher');
      assert.deepEqual(ours, []);
    });
  }

  test('records the commands inside a script, and the script’s interpreter', async () => {
    const { events } = await session(
      'printf "#!/bin/sh\\n/usr/bin/head -c 1 /etc/passwd\\n" > s.sh; chmod +x s.sh; ./s.sh; rm s.sh',
    );
    assertWhole(events);
    const script = only(events, 'session.command').find((event) => event['path'] === './s.sh');
    assert.equal(script?.['interpreter'], '/bin/sh');
    assert.ok(commandLines(events).includes('/usr/bin/head -c 1 /etc/passwd'));
    const opened = only(events, 'session.disk').map((event) => event['path']);
    assert.ok(opened.includes('/etc/passwd'));
  });

  test('records a command typed with echo off, which the terminal never shows', async () => {
    const { ran, events } = await session(undefined, {
      tty: true,
      input: 'stty -echo\n/usr/bin/env SECRET_$((40+2)) >/dev/null 2>&1\nstty echo\nexit 3\n',
    });
    assert.equal(ran.status, 3);
    assertWhole(events);
    assert.ok(commandLines(events).includes('/usr/bin/env SECRET_42'), commandLines(events).join('\n'));
    assert.equal(events[0]?.['size'], '0:0');
  });

  test('tells a connect that was accepted from one that was refused, without any exec', async () => {
    const server: Server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
    await until('the server listens', () => server.listening);
    const { port } = server.address() as AddressInfo;
    const closed = createServer().listen(0, '127.0.0.1');
    await until('the other listens', () => closed.listening);
    const refused = (closed.address() as AddressInfo).port;
    await new Promise((done) => closed.close(done));
    try {
      const { events } = await session(
        `exec 3<>/dev/tcp/127.0.0.1/${port}; cat <&3; exec 3<&-; exec 4<>/dev/tcp/127.0.0.1/${refused}`,
      );
      assertWhole(events);
      const outcomes = ['session.network', 'session.network.outcome'].flatMap((name) =>
        only(events, name).map((event) => [event['dst_addr'], event['dst_port'], event['outcome']]),
      );
      const settled = outcomes.filter(([, , outcome]) => outcome !== 'pending');
      assert.deepEqual(settled, [
        ['127.0.0.1', port, 'established'],
        ['127.0.0.1', refused, 'refused'],
      ]);
    } finally {
      server.close();
    }
  });

  test('gives back exit status and signal, and says so in the log', async () => {
    const exited = await session('exit 42');
    assert.equal(exited.ran.status, 42);
    assert.equal(only(exited.events, 'exec')[0]?.['exitCode'], '42');
    const killed = await session('kill -KILL $$');
    assert.equal(killed.ran.status, 255);
    assert.match(String(only(killed.events, 'exec')[0]?.['exitError']), /KILL/);
  });

  test('passes stdin, stdout and stderr without a terminal', async () => {
    const { ran } = await session('cat; echo to-stderr >&2', { input: 'x'.repeat(200_000) });
    assert.equal(ran.stdout.length, 200_000);
    assert.equal(ran.stderr, 'to-stderr\n');
  });

  test('closes the channel when the shell ends, and the session when its last background task does', async () => {
    const before = (await node.events()).filter(({ event }) => event === 'session.end').length;
    const ran = await node.ssh('nohup sh -c "sleep 2; /bin/echo late" >/dev/null 2>&1 </dev/null &', {
      login: login.name,
    });
    assert.equal(ran.status, 0);
    const sid = await until('session.leave is in the log', async () => {
      const left = only(await node.events(), 'session.leave').at(-1);
      return only(await node.events(), 'session.end').some((end) => end['sid'] === left?.['sid'])
        ? undefined
        : left?.['sid'];
    });
    assert.ok(
      node.service?.registry.list().some((facts) => facts.sid === sid),
      'it lingers',
    );
    const events = (await node.ended(before + 1)).at(-1) ?? [];
    assertWhole(events);
    assert.ok(commandLines(events).includes('/bin/echo late'));
    const leave = events.findIndex(({ event }) => event === 'session.leave');
    const late = events.findIndex((event) => event['path'] === '/bin/echo');
    assert.ok(leave < late, 'the user had left before');
  });

  test('ends with session.data, counting what went over the channel', async () => {
    const { events } = await session('head -c 1000 /dev/zero', { input: 'abc' });
    const [data] = only(events, 'session.data');
    assert.deepEqual([data?.['tx'], data?.['rx']], [1000, 3]);
    assert.deepEqual(
      events.slice(-2).map(({ event }) => event),
      ['session.data', 'session.end'],
    );
  });

  test('numbers log and recording in the order of their lines, output and commands together', async () => {
    const { events } = await session(
      'for i in $(seq 30); do echo $i; cat /etc/hostname; done; stty rows 30; exit\n',
      { tty: true },
    );
    assertWhole(events);
    const sid = String(events[0]?.['sid']);
    const folder = join(node.dataDir, 'log', node.service?.hostUuid ?? '', 'sessions', 'default');
    await until('the recording is whole', () => existsSync(join(folder, `${sid}.index`)));
    for (const part of ['events', 'session.command-events', 'session.disk-events']) {
      const lines = gunzipSync(await readFile(join(folder, `${sid}-0.${part}.gz`)));
      const positions = String(lines)
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { ei: number }).ei);
      assert.ok(positions.length > 1, part);
      assert.deepEqual(
        positions,
        positions.toSorted((a, b) => a - b),
        part,
      );
    }
  });

  test('refuses a subsystem cleanly', async () => {
    const ran = await node.ssh('netconf', { subsystem: true, login: login.name });
    assert.notEqual(ran.status, 0);
    const [refused] = await until('the refusal is in the log', async () => {
      const found = only(await node.events(), 'subsystem');
      return found.length > 0 && found;
    });
    assert.deepEqual(
      [refused?.['code'], refused?.['name'], refused?.['user']],
      ['T3001E', 'netconf', 'alice'],
    );
  });

  test('keeps ten sessions at once apart', async () => {
    const before = (await node.events()).filter(({ event }) => event === 'session.end').length;
    const marks = Array.from({ length: 10 }, (_, i) => `mark-${i}`);
    const runs = await Promise.all(
      marks.map((mark) =>
        node.ssh(`for i in 1 2 3; do /bin/echo ${mark} >/dev/null; cat /etc/hostname >/dev/null; done`, {
          login: login.name,
        }),
      ),
    );
    assert.deepEqual(
      runs.map(({ status }) => status),
      marks.map(() => 0),
    );
    const sessions = (await node.ended(before + 10, 40_000)).slice(before);
    const seen = sessions.map((events) => {
      assertWhole(events);
      const own = commandLines(events).filter((line) => line.startsWith('/bin/echo mark-'));
      assert.equal(own.length, 3);
      return [...new Set(own)].join();
    });
    assert.deepEqual(
      seen.sort(),
      marks.map((mark) => `/bin/echo ${mark}`),
    );
  });

  test('leaves nothing behind but log and recordings', async () => {
    await until('every session is over', () => node.service?.registry.size === 0);
    const spool = await readdir(join(node.dataDir, 'spool'));
    assert.deepEqual(
      spool.filter((name) => !name.startsWith('.')),
      [],
    ); // .lock is the recorder's
    const cgroups = await readdir(join('/sys/fs/cgroup/unified', node.rootPath), { withFileTypes: true });
    assert.deepEqual(
      cgroups.filter((entry) => entry.isDirectory()).map(({ name }) => name),
      [],
    );
    const recordings = await readdir(
      join(node.dataDir, 'log', node.service?.hostUuid ?? '', 'sessions', 'default'),
    );
    const ends = only(await node.events(), 'session.end').length;
    assert.equal(recordings.filter((name) => name.endsWith('.index')).length, ends);
  });
});
