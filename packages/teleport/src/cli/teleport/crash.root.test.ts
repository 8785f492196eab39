// kill -9 of the daemon, at moments nobody chose: what the recorder spooled is in the log once, and each session
// has its end.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
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
