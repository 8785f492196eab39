// A recorder makes way for one of another build, with the same layouts, while sessions flood it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, copyFile, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { dirname, join } from 'node:path';
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

describe('a recorder with other programs', { skip }, () => {
  let host: KernelHost;
  let other = '';
  before(async () => {
    host = await KernelHost.start(64 * 1024 * 1024);
    other = join(host.dir, 'other-programs');
    await writeFile(other, await otherPrograms(await readFile(recorderBinary)), { mode: 0o700 });
  });
  after(() => host?.stop());

  test('puts them in the place of the ones that run: every event of that time is there, once', async (t) => {
    const stop = join(host.dir, 'stop');
    const server = createServer((socket) => socket.resume().on('error', () => {})).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const loop = (what: string) => [
      '/bin/bash',
      '--norc',
      '-c',
      `until [ -e ${stop} ]; do ${what}; n=$((n+1)); done; echo $n`,
    ];
    const opening = await host.open(t, [program('opens'), 'until', stop, '/etc/passwd']);
    const second = await host.open(t, [program('opens'), 'until', stop, '/etc/passwd']);
    const running = await host.open(t, loop('/bin/true'));
    const connecting = await host.open(
      t,
      loop(`exec 3<>/dev/tcp/127.0.0.1/${port}; exec 3>&-; /bin/sleep 0.005`),
    );
    const sessions = [opening, second, running, connecting];
    for (const session of sessions) session.go();
    await until('the flood runs', async () => (await host.client.stats()).drainedRecords > 1_000);
    const attached = await host.behindGates();
    await host.connect(other);
    const { foreignPrograms } = await host.client.stats();
    assert.ok(foreignPrograms > 8, `those of before go on at first: ${foreignPrograms}`);
    const began = performance.now();
    await until('they are replaced', async () => (await host.client.stats()).foreignPrograms === 0, 90_000);
    const ms = Math.round(performance.now() - began);
    const now = await host.behindGates();
    for (const [gate, id] of attached)
      assert.notEqual(now.get(gate), id, `${gate} leads to the program of before`);
    const { drainedRecords } = await host.client.stats();
    await until(
      '60,000 more',
      async () => (await host.client.stats()).drainedRecords > drainedRecords + 60_000,
      60_000,
    );
    await writeFile(stop, '');
    const counts: number[] = [];
    for (const session of sessions) {
      await session.idle(60_000);
      // `end` checks the whole spool: seq without a hole, nothing twice, emitted = recorded + lost.
      const { events, stdout } = await session.end();
      const count = Number(stdout.trim().split('\n').at(-1));
      counts.push(count);
      assert.deepEqual(ofType(events, 'lost'), []);
      if (session === opening || session === second) {
        const pid = session.request.leaderPid;
        const opens = ofType(events, 'open').filter((e) => e.pid === pid && String(e.path) === '/etc/passwd');
        assert.equal(opens.length, count);
      } else if (session === running) {
        assert.equal(ofType(events, 'exec').filter((e) => String(e.exe).endsWith('/true')).length, count);
        // each of them, and the shell
        assert.equal(ofType(events, 'exit').length, count + 1);
      } else {
        assert.equal(ofType(events, 'connect').filter((e) => e.outcome === 'established').length, count);
        assert.equal(ofType(events, 'socket_close').length, count);
      }
    }
    assert.ok(Number(counts[0]) + Number(counts[1]) > 60_000);
    console.log(`      replaced after ${ms} ms; opens, opens, commands, connections: ${counts.join(', ')}`);
  });

  test('is itself replaced by one that finds nobody to watch, from the start', async () => {
    await host.connect();
    assert.equal((await host.client.stats()).foreignPrograms, 0);
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

/** The same, but its BPF object is another: in a byte of the ELF header that means nothing. */
async function otherPrograms(program: Buffer): Promise<Buffer> {
  const object = await readFile(join(dirname(recorderBinary), 'session.bpf.o'));
  const at = program.indexOf(object);
  assert.ok(at > 0);
  const patched = Buffer.from(program);
  patched[at + 15] = 1;
  return patched;
}

/** The same program, as one built from other layouts would look to us. */
function otherLayouts(program: Buffer): Buffer {
  const [hash, patched] = [Buffer.from(WIRE_HASH, 'hex'), Buffer.from(program)];
  for (let at = patched.indexOf(hash); at >= 0; at = patched.indexOf(hash, at + 1))
    patched.fill(7, at, at + 32);
  return patched;
}
