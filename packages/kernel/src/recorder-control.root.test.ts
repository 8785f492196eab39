// The real recorder's control socket: the contract, its manners towards other clients, and abuse.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { after, before, describe, type TestContext, test } from 'node:test';
import { recorderBinary } from './binaries.ts';
import { controlFrame } from './control-frames.ts';
import { preflight } from './host-probe.ts';
import { alive, KernelHost, skip, TestSession, until } from './kernel-host.fixture.ts';
import { recorderContract } from './recorder.contract.ts';
import { RecorderClient } from './recorder-client.ts';
import { startRecorder } from './start-recorder.ts';
import { CONTROL_MAX_BODY, control_frame, control_type, WIRE_HASH } from './wire.gen.ts';

describe('the control socket', { skip }, () => {
  let host: KernelHost;
  before(async () => {
    host = await KernelHost.start(1024 * 1024);
  });
  after(() => host?.stop());

  recorderContract('the real recorder', {
    connect: (_t) => RecorderClient.connect({ socketPath: host.socketPath }),
    request: async (t: TestContext) => {
      const session = await TestSession.block(host, ['/bin/true']);
      t.after(() => session.remove());
      return session.request;
    },
  });

  test('the socket is root’s alone, and so is the spool', async () => {
    assert.equal((await stat(host.socketPath)).mode & 0o777, 0o600);
    assert.equal((await stat(host.spoolDir)).mode & 0o777, 0o700);
  });

  test('the hello carries this build’s layout and what is attached', () => {
    assert.equal(host.client.hello.wireHash, WIRE_HASH);
    assert.equal(host.client.hello.ringSize, 1024 * 1024);
    for (const feature of [
      'exec',
      'exit',
      'lineage',
      'sys_exit',
      'connect4',
      'connect6',
      'sock_state',
    ] as const) {
      assert.ok(host.client.hello.features.has(feature), feature);
    }
  });

  test('a second start finds the living recorder', async () => {
    const again = await startRecorder({
      binary: recorderBinary,
      socketPath: host.socketPath,
      spoolDir: host.spoolDir,
      ringBytes: 1024 * 1024,
      log: `${host.dir}/recorder.log`,
    });
    assert.equal(again.hello.pid, host.client.hello.pid);
    again.close();
  });

  test('a leader that does not exist is refused', async () => {
    const cgroup = await host.makeCgroup();
    await assert.rejects(
      host.client.watch({
        sessionId: randomUUID(),
        cgroupId: cgroup.id,
        auditSessionId: undefined,
        leaderPid: 0x7fff_fff0,
        supervisorPid: 0,
        kinds: ['command'],
        policy: 'best_effort',
      }),
      { name: 'RecorderError' },
    );
  });

  test('a client that leaves takes no session with it', async (t) => {
    const other = await RecorderClient.connect({ socketPath: host.socketPath });
    const session = await TestSession.block(host, ['/bin/true']);
    t.after(() => session.remove());
    await other.watch({ ...session.request, sessionId: session.id });
    other.close();
    session.go();
    await session.idle();
    const { totals } = await session.end();
    assert.ok(totals.kinds.command.recorded >= 2);
  });

  test('random bytes, false lengths and half frames never take the recorder down', async () => {
    const frames: Buffer[] = [];
    for (let i = 0; i < 120; i++) frames.push(randomBytes(1 + ((i * 37) % 900)));
    for (const type of [...Object.values(control_type), 0, 77, 65535]) {
      for (const length of [0, 1, 15, 16, 48, 300]) frames.push(controlFrame(type, 9, randomBytes(length)));
    }
    const lying = controlFrame(control_type.CONTROL_WATCH, 1, randomBytes(40));
    lying.writeUInt32LE(0xffff_ffff, control_frame.length);
    const waiting = controlFrame(control_type.CONTROL_WATCH, 1, randomBytes(40));
    waiting.writeUInt32LE(CONTROL_MAX_BODY, control_frame.length);
    frames.push(lying, waiting, Buffer.alloc(CONTROL_MAX_BODY * 4, 1));
    // A random shutdown or handover would be obeyed by an idle recorder, and rightly.
    const obeyed: readonly number[] = [control_type.CONTROL_SHUTDOWN, control_type.CONTROL_HANDOVER];
    const harmful = (frame: Buffer) => obeyed.includes(frame.readUInt16LE(4));
    for (const frame of frames.filter((each) => each.length < 6 || !harmful(each))) {
      const socket = connect(host.socketPath);
      socket.on('error', () => {});
      socket.resume();
      socket.end(frame);
      // Not once(): a peer that hangs up on nonsense may well be an EPIPE for us.
      await new Promise((resolve) => socket.once('close', resolve));
    }
    assert.ok(alive(host.client.hello.pid), await host.log());
    assert.equal((await host.client.stats()).sessions, 0);
  });

  test('clients that connect and say nothing, or never read, do not stop it', async () => {
    const silent = Array.from({ length: 29 }, () => connect(host.socketPath).on('error', () => {}));
    // Answers of 1.7 MB, none of them read: more than the socket and the recorder together will hold.
    const deaf = connect(host.socketPath).on('error', () => {});
    deaf.pause();
    const question = controlFrame(control_type.CONTROL_TOTALS, 1, randomBytes(16));
    deaf.write(Buffer.concat(Array.from({ length: 12_000 }, () => question)));
    silent.push(deaf);
    const recorder = await RecorderClient.connect({ socketPath: host.socketPath }).catch(() => host.client);
    assert.ok((await recorder.stats()).ringSize > 0);
    for (const socket of silent) socket.destroy();
    if (recorder !== host.client) recorder.close();
    await until('new clients are welcome', () =>
      RecorderClient.connect({ socketPath: host.socketPath }).then(
        (client) => {
          client.close();
          return true;
        },
        () => false,
      ),
    );
  });

  test('it does not shut down while it watches, and does when idle', async (t) => {
    const own = await KernelHost.start(4096);
    t.after(() => own.stop());
    const session = await TestSession.block(own, ['/bin/true']);
    await own.client.watch({ ...session.request, sessionId: session.id });
    await assert.rejects(own.client.shutdown(), { code: 'recorder_ebusy', kind: 'conflict' });
    session.go();
    await session.idle();
    await session.end();
    await session.remove();
    await own.client.shutdown();
    await until('the recorder has ended', () => !alive(own.client.hello.pid));
  });

  test('an idle recorder costs nothing, ends on SIGTERM and leaves no pin', async (t) => {
    const own = await KernelHost.start(4096);
    t.after(() => own.stop());
    const { pid } = own.client.hello;
    // Busy first: what a session made it do must not keep it awake.
    await own.record(t, ['/bin/true']);
    const before = cpuTicks(pid);
    const since = performance.now();
    await until('a second has passed', () => performance.now() - since > 1000);
    assert.ok(cpuTicks(pid) - before <= 2, `${cpuTicks(pid) - before} ticks in a second`);
    own.signal('SIGTERM');
    await until('the recorder has ended', () => !alive(pid), 3000);
    assert.deepEqual(await own.pins(), []);
  });

  test('this host meets every condition of pre-flight', async () => {
    const unmet = (await preflight()).filter((condition) => !condition.ok);
    assert.deepEqual(unmet, []);
  });
});

/** utime + stime of proc(5), in ticks of 10 ms. */
function cpuTicks(pid: number): number {
  // The name in parentheses may hold anything; the fields are counted from behind it.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}
