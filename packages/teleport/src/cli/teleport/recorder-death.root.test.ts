// kill -9 of the recorder under live sessions: what the kernel kept is not lost, what cannot be known is said, and
// the role decides whether a session goes on without.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch, createLogin, type TestLogin } from '../../ssh/host.fixture.ts';
import { OneNode, testRecorder, until } from './one-node.fixture.ts';
import { assertWhole, commandLines, only } from './session-assertions.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');

function killRecorder(node: OneNode): number {
  const pid = node.service?.recorderPid;
  assert.ok(pid);
  process.kill(pid, 'SIGKILL');
  return pid;
}

const isUp = (node: OneNode, command: string) => async () =>
  commandLines(await node.events()).includes(command);

for (const recordSession of ['strict', 'best_effort'] as const) {
  describe(`a ${recordSession} session whose recorder is killed`, { skip }, () => {
    let node: OneNode;
    let login: TestLogin;
    let binary = '';
    before(async () => {
      login = createLogin(recordSession === 'strict' ? 'rs' : 'rb');
      node = await OneNode.create({ logins: [login.name], role: { recordSession } });
      binary = join(node.folder, 'recorder');
      await copyFile(testRecorder().recorder ?? recorderBinary, binary);
      await node.start({ recorder: binary, recorderReturnMs: 1_500 });
    });
    after(async () => {
      await node?.remove();
      login?.remove();
    });

    test('goes on when another recorder takes over, and misses nothing', async () => {
      const client = node.ssh(
        '/bin/echo first; for i in $(seq 20); do /bin/true; sleep 0.1; done; /bin/echo last',
        {
          login: login.name,
        },
      );
      await until('the session runs', isUp(node, '/bin/echo first'));
      const dead = killRecorder(node);
      const ran = await client;
      assert.equal(ran.status, 0, ran.stderr);
      assert.notEqual(node.service?.recorderPid, dead);
      const events = (await node.ended(1)).at(-1) ?? [];
      assertWhole(events);
      assert.equal(commandLines(events).filter((line) => line === '/bin/true').length, 20);
      assert.ok(commandLines(events).includes('/bin/echo last'));
      assert.equal('interrupted' in (events.at(-1) ?? {}), false);
    });

    test(`${recordSession === 'strict' ? 'is ended' : 'goes on'} when no recorder comes back`, async () => {
      const client = node.ssh('/bin/echo second; sleep 4; exit 9', { login: login.name });
      await until('the session runs', isUp(node, '/bin/echo second'));
      await rm(binary);
      killRecorder(node);
      const ran = await client;
      const events = (await node.ended(2)).at(-1) ?? [];
      const end = events.at(-1);
      const [failed] = only(events, 'session.recording_failed');
      assert.equal(failed?.['recording'], 'enhanced');
      assert.equal(end?.['enhanced_recording'], false);
      if (recordSession === 'strict') {
        assert.equal(ran.status, 255);
        assert.match(ran.stderr, /This session was ended: .*recorder/);
        assert.equal(failed?.['consequence'], 'ended');
        assert.equal(end?.['interrupted'], true);
      } else {
        assert.equal(ran.status, 9);
        assert.equal(failed?.['consequence'], 'continued');
      }
    });

    test(`${recordSession === 'strict' ? 'does not start' : 'starts, told so,'} while there is no recorder`, async () => {
      const ran = await node.ssh('/bin/echo third', { login: login.name });
      if (recordSession === 'strict') {
        assert.equal(ran.status, 254);
        assert.equal(ran.stdout, '');
        assert.match(ran.stderr, /recorder/);
        await until('the refusal is in the log', async () =>
          only(await node.events(), 'session.recording_failed').some(
            (event) => event['consequence'] === 'refused',
          ),
        );
      } else {
        assert.equal(ran.status, 0);
        assert.equal(ran.stdout, 'third\n');
        assert.match(ran.stderr, /Warning: this session is not fully recorded/);
        const events = (await node.ended(3)).at(-1) ?? [];
        assert.equal(only(events, 'session.recording_failed')[0]?.['consequence'], 'continued');
        assert.equal(events.at(-1)?.['enhanced_recording'], false);
      }
    });

    test('is followed by whole ones once the recorder is back', async () => {
      await copyFile(testRecorder().recorder ?? recorderBinary, binary);
      await until('the recorder is back', () => node.service?.recorderPid !== undefined, 30_000);
      const { ran, events } = await node.session('/bin/echo fourth', { login: login.name });
      assert.equal(ran.stdout, 'fourth\n');
      assertWhole(events);
    });
  });
}
