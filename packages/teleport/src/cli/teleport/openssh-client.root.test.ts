// OpenSSH's own client against a recording node, the way people use it: connections shared by several sessions, and
// keys renewed in the middle of bulk. Nothing of it may cost a byte or a record.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch } from '../../ssh/host.fixture.ts';
import { OneNode, until } from './one-node.fixture.ts';
import { assertWhole, commandLines, only } from './session-assertions.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');

describe('a recording node and OpenSSH’s client', { skip }, () => {
  let node: OneNode;

  before(async () => {
    node = await OneNode.start({});
  });
  after(async () => {
    await node?.remove();
  });

  const ssh = async (flags: readonly string[], command: string, input?: Buffer) => {
    const child = spawn('ssh', [...flags, ...node.sshArgs(), command], { stdio: ['pipe', 'pipe', 'pipe'] });
    child.stdin.on('error', () => {}).end(input);
    const gone = new Promise<number | null>((resolve) => child.once('close', resolve));
    const [out, err] = await Promise.all([child.stdout.toArray(), child.stderr.toArray()]);
    return { status: await gone, out: Buffer.concat(out), err: Buffer.concat(err).toString() };
  };

  test('ControlMaster: sessions that share a connection are sessions of their own in the record', async () => {
    const control = join(node.folder, 'control');
    const master = spawn('ssh', ['-M', '-N', '-S', control, ...node.sshArgs()], { stdio: 'ignore' });
    const gone = new Promise((resolve) => master.once('close', resolve));
    try {
      await until('the master is there', () => existsSync(control));
      const words = Array.from({ length: 6 }, (_, i) => `word-${i}`);
      const ran = await Promise.all(words.map((word) => ssh(['-S', control], `/bin/echo ${word}; exit 7`)));
      assert.deepEqual(
        ran.map(({ status, out }) => [status, out.toString()]),
        words.map((word) => [7, `${word}\n`]),
      );
      const sessions = await node.ended(words.length);
      assert.equal(new Set(sessions.map((events) => events[0]?.['addr.remote'])).size, 1, 'one connection');
      for (const events of sessions) assertWhole(events);
      const echoed = sessions.map((events) =>
        commandLines(events).filter((line) => line.startsWith('/bin/echo ')),
      );
      assert.deepEqual(
        echoed.sort().flat(),
        words.map((word) => `/bin/echo ${word}`),
        'each has its own command and no other’s',
      );
    } finally {
      master.kill();
      await gone;
    }
  });

  test('keys are renewed every megabyte, in both directions, and every byte arrives', async () => {
    const before = only(await node.events(), 'session.end').length;
    const bulk = randomBytes(24 << 20);
    const wanted = createHash('sha256').update(bulk).digest('hex');
    const flags = ['-v', '-o', 'RekeyLimit=1M', '-o', 'LogLevel=DEBUG1'];
    const back = await ssh(flags, 'tee >(sha256sum >&2)', bulk);
    assert.equal(back.status, 0, back.err.slice(-2_000));
    assert.equal(createHash('sha256').update(back.out).digest('hex'), wanted, 'what came back');
    assert.ok(back.err.includes(wanted), 'what went there');
    const renewals = back.err.match(/SSH2_MSG_NEWKEYS received/g)?.length ?? 0;
    assert.ok(renewals > 24, `${renewals} key exchanges`);
    const events = (await node.ended(before + 1)).at(-1) ?? [];
    assertWhole(events);
    const [data] = only(events, 'session.data');
    assert.ok(Number(data?.['rx']) >= bulk.length && Number(data?.['tx']) >= bulk.length);
  });
});
