// A recorder makes way for one of another build, with the same layouts, while sessions flood it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { appendFile, copyFile, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { attendStranger } from './attend-stranger.ts';
import { recorderBinary } from './binaries.ts';
import { cgroup2MountIn } from './host-probe.ts';
import { alive, KernelHost, ofType, program, skip, TestSession, until } from './kernel-host.fixture.ts';
import { RecorderClient } from './recorder-client.ts';
import { WIRE_HASH } from './wire.gen.ts';

describe('a recorder of another build', { skip }, () => {
  let host: KernelHost;
  let other = '';
  before(async () => {
    host = await KernelHost.start();
    other = join(host.dir, 'other-build');
    await copyFile(recorderBinary, other);
    await appendFile(other, 'other');
  });
  after(() => host?.stop());

  test('takes over in the middle of a flood: nothing lost, nothing twice, no interruption declared', async (t) => {
    const floods = 3;
    const count = 20_000;
    const sessions = await Promise.all(
      Array.from({ length: floods }, () =>
        host.open(t, [program('opens'), 'flood', '/etc/passwd', String(count)]),
      ),
    );
    const { client } = host;
    const left = new Promise((resolve) => client.once('closed', resolve));
    for (const session of sessions) session.go();
    await until('the flood runs', async () => (await client.stats()).drainedRecords > 1_000);
    const began = performance.now();
    await host.connect(other);
    const ms = Math.round(performance.now() - began);
    await left;
    assert.notEqual(host.client.hello.pid, client.hello.pid);
    assert.equal(alive(client.hello.pid), false);
    assert.equal(await readlink(`/proc/${host.client.hello.pid}/exe`), other);
    for (const session of sessions) {
      await session.idle();
      // `end` checks the whole spool: seq without a hole, emitted = recorded + lost.
      const { events, totals } = await session.end();
      assert.ok(totals.kinds.disk.recorded >= count);
      assert.equal(totals.kinds.disk.lost, 0);
      assert.deepEqual(ofType(events, 'lost'), []);
      const seqs = events.map(({ seq }) => seq).filter((seq) => seq > 0);
      assert.equal(seqs.length, totals.lastSeq, 'a hole');
    }
    console.log(`      handed over in ${ms} ms, ${floods} × ${count} opens meanwhile`);
  });

  test('is found again by whoever starts the same build, and is not replaced', async () => {
    const { pid } = host.client.hello;
    host.client.close();
    await host.connect(other);
    assert.equal(host.client.hello.pid, pid);
  });

  test('is not shut down by one daemon while another one uses it', async () => {
    const second = await RecorderClient.connect({ socketPath: host.socketPath });
    await assert.rejects(second.shutdown(), { code: 'recorder_ebusy' });
    second.close();
    assert.ok((await host.client.stats()).ringSize > 0);
  });
});

describe('a recorder of other layouts', { skip }, () => {
  let host: KernelHost;
  let pins = '';
  before(async () => {
    host = await KernelHost.start(1024 * 1024);
    await host.client.shutdown();
    const binary = join(host.dir, 'other-layouts');
    await writeFile(binary, otherLayouts(await readFile(recorderBinary)), { mode: 0o700 });
    pins = `/sys/fs/bpf/sallyport-test-${process.pid}-other`;
    const root = cgroup2MountIn(await readFile('/proc/self/mountinfo', 'utf8')) ?? '';
    const where = ['--socket', host.socketPath, '--spool', host.spoolDir, '--pin-dir', pins];
    spawn(binary, ['--foreground', ...where, '--cgroup-root', root, '--ring-bytes', '1048576'], {
      stdio: 'ignore',
    }).unref();
    host.client = await until(
      'it answers',
      () => RecorderClient.connect({ socketPath: host.socketPath }).catch(() => undefined),
      40_000,
    );
    assert.notEqual(host.client.hello.wireHash, WIRE_HASH);
  });
  after(async () => {
    await host?.stop();
    await rm(pins, { recursive: true, force: true });
  });

  test('stays for its sessions, beside ours', async (t) => {
    const old = host.client;
    const theirs = await TestSession.block(host, [program('opens'), 'flood', '/etc/passwd', '20000']);
    await old.watch({ ...theirs.request, sessionId: theirs.id });
    theirs.go();
    await host.connect();
    const ours = host.client;
    assert.equal(ours.hello.wireHash, WIRE_HASH);
    assert.ok(alive(old.hello.pid), 'it watches a session');
    const { totals } = await host.record(t, ['/bin/sh', '-c', '/bin/true; /bin/true']);
    assert.ok(totals.kinds.command.recorded >= 3);
    await until('their session is idle', async () => (await old.totals(theirs.id)).liveTasks === 0, 20_000);
    const { disk } = (await old.totals(theirs.id)).kinds;
    assert.ok(disk.emitted >= 20_000);
    // Its daemon is killed: nobody ends the session but whoever attends to what others left behind.
    old.close();
    const ending = new AbortController();
    t.after(() => ending.abort());
    await attendStranger({ socketPath: host.socketPath, lookMs: 50, signal: ending.signal });
    await until('it is gone', () => !alive(old.hello.pid));
    await theirs.remove();
    ours.close();
    await host.connect();
    assert.equal(host.client.hello.pid, ours.hello.pid, 'ours is found again');
  });
});

/** The same program, as one built from other layouts would look to us. */
function otherLayouts(program: Buffer): Buffer {
  const [hash, patched] = [Buffer.from(WIRE_HASH, 'hex'), Buffer.from(program)];
  for (let at = patched.indexOf(hash); at >= 0; at = patched.indexOf(hash, at + 1))
    patched.fill(7, at, at + 32);
  return patched;
}
