/** The main job, from outside: OpenSSH's client, real kernel, and the audit log as an operator reads it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { recordersOf } from './host-remains.ts';
import { type Event, freePort, OneHost, until } from './one-host.ts';

const needsRoot = process.getuid?.() === 0 ? false : 'needs root: cgroups, BPF and the audit session id';

const commands = (events: readonly Event[]) => events.filter((event) => event.event === 'session.command');
const argvOf = (event: Event) => (event['argv'] as string[] | undefined) ?? [];
const ran = (events: readonly Event[], program: string, ...args: string[]) =>
  commands(events).some(
    (event) =>
      String(event['path']).endsWith(`/${program}`) && args.every((arg) => argvOf(event).includes(arg)),
  );

/** The session whose commands carry `marker` somewhere in their arguments. */
async function sessionWith(host: OneHost, marker: string): Promise<Event[]> {
  return await until(`a finished session with ${marker}`, async () => {
    const events = await host.events();
    const sid = events.find((event) => argvOf(event).some((arg) => arg.includes(marker)))?.['sid'];
    const session = events.filter((event) => event['sid'] === sid);
    return sid !== undefined && session.some((event) => event.event === 'session.end') && session;
  });
}

function assertComplete(session: readonly Event[]): void {
  const end = session.find((event) => event.event === 'session.end');
  assert.equal(end?.['enhanced_recording'], true);
  const totals = end?.['enhanced_totals'] as Record<
    string,
    { emitted: number; recorded: number; lost: number }
  >;
  for (const [kind, { emitted, recorded, lost }] of Object.entries(totals)) {
    assert.equal(emitted, recorded + lost, `${kind}: emitted = recorded + lost`);
  }
  const seqs = session.map((event) => event['seq']).filter((seq): seq is number => typeof seq === 'number');
  assert.equal(new Set(seqs).size, seqs.length, 'no record twice');
  assert.deepEqual(
    [...seqs].sort((a, b) => a - b),
    seqs.map((_, index) => index + 1),
    'sequence numbers have no gap',
  );
}

describe('one host, one recorded session', { skip: needsRoot }, () => {
  let host: OneHost;
  let listener: Server;
  let openPort = 0;

  before(async () => {
    host = await OneHost.start();
    await host.identity('alice');
    listener = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1');
    await new Promise((done) => listener.once('listening', done));
    const address = listener.address();
    if (typeof address === 'object' && address !== null) openPort = address.port;
  });
  after(async () => {
    listener.close();
    await host.stop();
  });

  test('a command hidden in base64 is recorded as what ran', async () => {
    const hidden = Buffer.from('cat /etc/hostname-b64 2>/dev/null\n').toString('base64');
    await host.ssh('alice', `echo ${hidden} | base64 --decode | sh`);
    const session = await sessionWith(host, '/etc/hostname-b64');
    assert.ok(ran(session, 'cat', '/etc/hostname-b64'));
    assertComplete(session);
  });

  test("a script's inner commands are recorded", async () => {
    await host.ssh(
      'alice',
      "printf '#!/bin/sh\\nuname -s-script\\n' > /tmp/e2e-$$.sh; sh /tmp/e2e-$$.sh; rm /tmp/e2e-$$.sh",
    );
    const session = await sessionWith(host, '-s-script');
    assert.ok(ran(session, 'uname', '-s-script'));
    assertComplete(session);
  });

  test('a command typed with echo off is recorded, and the terminal did not show it', async () => {
    const shown = await host.type('alice', ['stty -echo', 'uname --echo-off-marker', 'exit']);
    const session = await sessionWith(host, '--echo-off-marker');
    assert.ok(ran(session, 'uname', '--echo-off-marker'));
    assert.match(shown, /stty -echo/);
    assert.doesNotMatch(shown, /uname --echo-off-marker/);
    assertComplete(session);
  });

  test("the login shell's own exec is the first command of an interactive session", async () => {
    await host.ssh('alice', undefined, { tty: true, input: 'uname --first-marker\nexit\n' });
    const session = await sessionWith(host, '--first-marker');
    const first = commands(session)[0];
    assert.match(String(first?.['path']), /sh$/);
    assert.equal(first?.['seq'], 1);
    assert.equal(session[0]?.event, 'session.start');
    assert.equal(session.at(-1)?.event, 'session.end');
  });

  test('a refused and an established connection carry their outcome', async () => {
    const closed = await freePort();
    await host.ssh(
      'alice',
      `uname --net-marker; bash -c 'exec 3<>/dev/tcp/127.0.0.1/${closed}'; bash -c 'exec 3<>/dev/tcp/127.0.0.1/${openPort}'`,
    );
    const session = await sessionWith(host, '--net-marker');
    const network = session.filter((event) => event.event === 'session.network');
    const to = (port: number) => network.find((event) => event['dst_port'] === port);
    assert.equal(to(closed)?.['outcome'], 'refused');
    assert.equal(to(openPort)?.['outcome'], 'established');
    assert.equal(to(openPort)?.['dst_addr'], '127.0.0.1');
    assert.equal(to(openPort)?.['version'], 4);
    assertComplete(session);
  });

  test('exit statuses and output reach the client as with sshd', async () => {
    const result = await host.ssh('alice', 'echo out; echo err >&2; exit 7');
    assert.deepEqual({ ...result }, { status: 7, stdout: 'out\n', stderr: 'err\n' });
  });

  test('what the user starts in the background is recorded until it ends', async () => {
    const started = Date.now();
    await host.ssh('alice', "nohup sh -c 'sleep 6; uname --background-marker' >/dev/null 2>&1 </dev/null &");
    const returned = Date.now() - started;
    const session = await sessionWith(host, '--background-marker');
    assert.ok(returned < 6_000, `ssh returned after ${returned} ms, before the background work ended`);
    assert.ok(commands(session).some((event) => argvOf(event)[0] === '--background-marker'));
    const order = session.map((event) => event.event);
    assert.ok(order.indexOf('session.leave') < order.lastIndexOf('session.command'));
    assertComplete(session);
  });

  test('ten sessions at once: none sees another’s events', async () => {
    const markers = Array.from({ length: 10 }, (_, index) => `--concurrent-${index}-marker`);
    await Promise.all(
      markers.map((marker) => host.ssh('alice', `for i in 1 2 3 4 5; do uname ${marker}; done`)),
    );
    for (const marker of markers) {
      const session = await sessionWith(host, marker);
      const unames = commands(session).filter((event) => argvOf(event)[0]?.startsWith('--concurrent'));
      assert.deepEqual(new Set(unames.map((event) => argvOf(event)[0])), new Set([marker]));
      assert.equal(unames.length, 5);
      assertComplete(session);
    }
  });

  test('processes outside of any session produce no event', async () => {
    const session = execFileSync('uname', ['-s']).toString();
    assert.equal(session, 'Linux\n');
    execFileSync('sh', ['-c', 'uname --outside-marker || true'], { stdio: 'ignore' });
    await host.ssh('alice', 'uname --after-outside-marker');
    await sessionWith(host, '--after-outside-marker');
    const all = await host.events();
    assert.ok(!all.some((event) => argvOf(event).includes('--outside-marker')));
  });

  test('a second agent on the same host sees nothing of the first', async () => {
    const other = await OneHost.start();
    try {
      await Promise.all([
        host.ssh('alice', 'uname --agent-one-marker'),
        other.ssh('bob', 'uname --agent-two-marker'),
      ]);
      await sessionWith(host, '--agent-one-marker');
      await sessionWith(other, '--agent-two-marker');
      assert.ok(!(await host.events()).some((event) => argvOf(event).includes('--agent-two-marker')));
      assert.ok(!(await other.events()).some((event) => argvOf(event).includes('--agent-one-marker')));
    } finally {
      await other.stop();
    }
  });

  test('a log-in without rights is refused with its reason in an auth event', async () => {
    const refused = await host.ssh('alice', 'true', { login: 'daemon' });
    assert.equal(refused.status, 255);
    const event = await until('the auth event', async () =>
      (await host.events()).findLast((e) => e.event === 'auth'),
    );
    assert.equal(event.code, 'T3007W');
    assert.equal(event['success'], false);
    assert.match(String(event['error']), /daemon/);
  });

  test('a thousand connections that never authenticate leave others working and memory bounded', async () => {
    const rss = () =>
      Number(/VmRSS:\s+(\d+)/.exec(execFileSync('cat', [`/proc/${host.daemonPid}/status`]).toString())?.[1]) /
      1024;
    const before = rss();
    // From another source than the log-in: what one source has open before it logs in is bounded by itself.
    const sockets = Array.from({ length: 1_000 }, () =>
      connect({ port: host.port, host: '127.0.0.1', localAddress: '127.0.0.2' }).on('error', () => {}),
    );
    try {
      await until('they are open or refused', () => sockets.every((socket) => !socket.connecting));
      const result = await host.ssh('alice', 'echo works');
      assert.equal(result.stdout, 'works\n', result.stderr);
      const grown = rss() - before;
      assert.ok(grown < 200, `the daemon grew by ${grown.toFixed(0)} MB`);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });

  test('the log is laid out as documented, keys sorted, one file a day behind events.log', async () => {
    const target = readlinkSync(host.eventsLog);
    assert.match(target, /\/[0-9a-f-]{36}\/\d{4}-\d\d-\d\d\.00:00:00\.log$/);
    assert.equal(statSync(target).mode & 0o777, 0o640);
    for (const event of await host.events()) {
      assert.deepEqual(Object.keys(event), Object.keys(event).sort(), event.event);
    }
  });

  test('every part of a recording opens with zcat and jq', async () => {
    await host.ssh('alice', undefined, { tty: true, input: 'uname --parts-marker\nexit\n' });
    const session = await sessionWith(host, '--parts-marker');
    const sid = String(session[0]?.['sid']);
    const hostId = String(session[0]?.['server_id']);
    const folder = join(host.dataDir, 'log', hostId, 'sessions', 'default');
    const parts = await until('the parts', () => {
      const names = readdirSync(folder).filter((name) => name.startsWith(sid));
      return names.includes(`${sid}.index`) && names;
    });
    assert.ok(parts.includes(`${sid}-0.session.command-events.gz`));
    for (const part of parts.filter((name) => name.endsWith('-events.gz') || name.endsWith('.events.gz'))) {
      execFileSync('sh', ['-c', `zcat '${join(folder, part)}' | jq -e . >/dev/null`]);
    }
    const bytes = execFileSync('zcat', [join(folder, `${sid}-0.chunks.gz`)]).toString();
    assert.match(bytes, /--parts-marker/);
  });
});

test('with enhanced recording off the terminal is still recorded and session.end says so', {
  skip: needsRoot,
}, async () => {
  const host = await OneHost.start({ enhancedRecording: false });
  try {
    await host.ssh('carol', undefined, { tty: true, input: 'echo plain-marker\nexit\n' });
    const session = await host.lastSession();
    assert.equal(session.at(-1)?.['enhanced_recording'], false);
    assert.ok(!session.some((event) => event.event === 'session.command'));
    const sid = String(session[0]?.['sid']);
    const chunks = join(
      host.dataDir,
      'log',
      String(session[0]?.['server_id']),
      'sessions/default',
      `${sid}-0.chunks.gz`,
    );
    const bytes = await until('the chunks', () => {
      try {
        return execFileSync('zcat', [chunks], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
      } catch {
        return undefined;
      }
    });
    assert.match(bytes, /plain-marker/);
  } finally {
    await host.stop();
  }
});

describe('a cluster that is stopped', { skip: needsRoot }, () => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    test(`leaves no process, cgroup, pin or folder after ${signal}, whatever ran in its sessions`, async () => {
      const host = await OneHost.start();
      await host.ssh('alice', 'nohup sleep 97531 > /dev/null 2>&1 < /dev/null &');
      const [recorder] = await recordersOf(host.dataDir);
      assert.ok(recorder?.pins !== undefined && existsSync(recorder.pins));
      assert.ok(existsSync(host.cgroup));
      if (signal === 'SIGKILL') await host.killDaemon(signal);
      await host.stop();
      assert.deepEqual(await recordersOf(host.dataDir), []);
      for (const path of [recorder.pins, host.cgroup, host.folder]) assert.ok(!existsSync(path), path);
    });
  }
});
