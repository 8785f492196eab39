// kill -9 of the daemon, at moments nobody chose: what the recorder spooled is in the log once, and each session
// has its end.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch, createLogin, type TestLogin } from '../../ssh/host.fixture.ts';
import { OneNode, until } from './one-node.fixture.ts';
import { assertWhole, commandLines, only } from './session-assertions.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');

/** Opens and execs without end, until its output has nowhere to go. */
const busy = 'while :; do /bin/true; cat /etc/hostname /etc/passwd; done';

describe('a node that is killed', { skip }, () => {
  let node: OneNode;
  let login: TestLogin;
  before(async () => {
    login = createLogin('crash');
    node = await OneNode.create({ logins: [login.name] });
    await node.startChild();
  });
  after(async () => {
    await node?.remove();
    login?.remove();
  });

  const started = async () => only(await node.events(), 'session.start').length;

  for (const afterMs of [60, 400]) {
    test(`logs every spooled event once after a kill -9 ${afterMs} ms into three busy sessions`, async () => {
      const before = await started();
      const clients = [busy, busy, busy].map((command) => node.ssh(command, { login: login.name }));
      await until('three sessions have started', async () => (await started()) === before + 3);
      await delay(afterMs);
      await node.killChild('SIGKILL');
      await Promise.all(clients);
      await node.startChild();
      const sessions = (await node.ended(before + 3, 30_000)).slice(before);
      for (const events of sessions) {
        assertWhole(events);
        const end = events.at(-1);
        assert.equal(end?.['interrupted'], true);
        assert.match(String(end?.['interrupted_reason']), /service ended/);
        assert.ok(commandLines(events).includes('/bin/true'));
      }
    });
  }

  // From before the first step of an opening to the middle of the flow. A session that had not been announced may
  // be in the log or not; one that is there is whole, or says that it was not watched.
  for (let round = 1; round <= 6; round++) {
    test(`logs every spooled event once after a kill -9 at any moment (${round} of 6)`, async (t) => {
      const known = new Set((await node.events()).map((event) => event['sid']));
      const afterMs = Math.round(Math.random() * 900);
      t.diagnostic(`killed after ${afterMs} ms`);
      const clients = [busy, busy, 'for i in 1 2 3 4 5; do cat /etc/hostname; done'].map((command) =>
        node.ssh(command, { login: login.name }),
      );
      await delay(afterMs);
      await node.killChild('SIGKILL');
      await Promise.all(clients);
      await node.startChild();
      const sids = new Set(
        only(await node.events(), 'session.start').flatMap(({ sid }) => (known.has(sid) ? [] : [sid])),
      );
      await until(
        'every session has its end',
        async () => {
          const ended = new Set(only(await node.events(), 'session.end').map(({ sid }) => sid));
          return [...sids].every((sid) => ended.has(sid));
        },
        30_000,
      );
      const events = await node.events();
      for (const sid of sids) {
        const own = events.filter((event) => event['sid'] === sid);
        if (own.at(-1)?.['enhanced_recording'] === true) assertWhole(own);
        else
          assert.equal(
            own.some((event) => 'seq' in event),
            false,
            'unwatched, and yet with evidence',
          );
      }
      await until('nothing is left in the spool', async () => {
        const names = await readdir(join(node.dataDir, 'spool'));
        return names.every((name) => name.startsWith('.'));
      });
    });
  }

  test('goes on with a session whose background task outlived it, and ends it after that', async () => {
    const before = await started();
    const task =
      'setsid sh -c "/bin/echo early; sleep 3; /bin/echo late" >/dev/null 2>&1 </dev/null & sleep 60';
    const client = node.ssh(task, { login: login.name });
    await until('the task runs', async () => commandLines(await node.events()).includes('/bin/echo early'));
    await node.killChild('SIGKILL');
    await client;
    await node.startChild();
    // `sleep 60` holds no pipe and gets no signal: as with sshd it would live on. It is ended by its owner here.
    const pid = only(await node.events(), 'session.command').findLast(
      (event) => event['path'] === '/usr/bin/sleep' || event['path'] === '/bin/sleep',
    )?.['pid'];
    await until('the late command is in the log', async () =>
      commandLines(await node.events()).includes('/bin/echo late'),
    );
    const sleepers = only(await node.events(), 'session.command').filter((event) =>
      (event['argv'] as string[]).includes('60'),
    );
    for (const { pid: sleeper } of sleepers as unknown as { pid: number }[]) tryKill(sleeper);
    assert.ok(pid);
    const events = (await node.ended(before + 1)).at(-1) ?? [];
    assertWhole(events);
    assert.ok(commandLines(events).includes('/bin/echo late'));
  });

  test('starts the next session as if nothing had happened', async () => {
    const { ran, events } = await node.session('/bin/echo fine', { login: login.name });
    assert.equal(ran.stdout, 'fine\n');
    assertWhole(events);
    assert.equal('interrupted' in (events.at(-1) ?? {}), false);
  });

  test('leaves a stopped node’s background tasks to the next start', async () => {
    const before = await started();
    const ran = await node.ssh('setsid sh -c "sleep 2; /bin/echo after-stop" >/dev/null 2>&1 </dev/null &', {
      login: login.name,
    });
    assert.equal(ran.status, 0);
    await node.killChild('SIGTERM');
    await node.startChild();
    const events = (await node.ended(before + 1)).at(-1) ?? [];
    assertWhole(events);
    assert.ok(commandLines(events).includes('/bin/echo after-stop'));
  });
});

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It was gone already.
  }
}
