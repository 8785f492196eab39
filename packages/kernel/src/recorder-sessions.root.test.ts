// Who is in a session, and who is not: isolation, background work, kinds, the three keys.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { checkSpool, KernelHost, ofType, program, skip, TestSession, until } from './kernel-host.fixture.ts';
import { SpoolReader } from './spool.ts';

describe('sessions', { skip }, () => {
  let host: KernelHost;
  let dir = '';
  before(async () => {
    host = await KernelHost.start();
    dir = await mkdtemp(join(tmpdir(), 'sessions-root-'));
  });
  after(async () => {
    await host?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  const execArgs = (events: Parameters<typeof ofType>[0]) =>
    ofType(events, 'exec').map((event) => event.argv.join(' '));

  test('nothing of the leader before its watch is recorded, and nothing after it is missing', async (t) => {
    const { events, session } = await host.record(t, ['/bin/true', 'only']);
    assert.deepEqual(execArgs(events), ['/bin/true only']);
    assert.deepEqual(
      ofType(events, 'exit').map((event) => [event.pid, event.status]),
      [[session.request.leaderPid, 0]],
    );
  });

  test('ten sessions at once: each has its own events and no other’s', async (t) => {
    const script =
      'for i in 1 2 3 4 5 6 7 8 9 10; do /bin/true "$0" $i; done; sh -c "/bin/echo \\$0 >/dev/null" "$0"';
    const names = Array.from({ length: 10 }, (_, i) => `session-${i}`);
    const sessions = await Promise.all(names.map((name) => host.open(t, ['/bin/sh', '-c', script, name])));
    for (const session of sessions) session.go();
    const recordings = await Promise.all(
      sessions.map(async (session) => {
        await session.idle();
        return session.end();
      }),
    );
    for (const [i, { events }] of recordings.entries()) {
      const own = execArgs(events);
      assert.ok(
        own.every((argv) => argv.includes(`session-${i}`)),
        own.join(' | '),
      );
      const inner = own.filter((argv) => argv.startsWith(`/bin/true session-${i} `));
      assert.deepEqual(
        inner,
        Array.from({ length: 10 }, (_, n) => `/bin/true session-${i} ${n + 1}`),
      );
    }
  });

  test('what runs beside a session produces nothing, in its spool and in the kernel’s counters', async (t) => {
    const session = await host.open(t, ['/bin/sleep', '30']);
    const before = await host.client.totals(session.id);
    const drained = (await host.client.stats()).drainedRecords;
    for (let i = 0; i < 20; i++)
      execFileSync('/bin/sh', ['-c', '/bin/cat /etc/passwd >/dev/null; /bin/false || :']);
    const afterwards = await host.client.totals(session.id);
    const stats = await host.client.stats();
    assert.equal(afterwards.lastSeq, before.lastSeq);
    assert.equal(stats.drainedRecords, drained);
    assert.equal(stats.orphanRecords, 0);
    assert.ok(stats.outsideTasks > 0);
    session.leader.kill('SIGKILL');
    await session.idle();
  });

  test('what is left in the background keeps the session live until it ends, then it is idle', async (t) => {
    const fifo = join(dir, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const script = `(setsid sh -c "read x <${fifo}; /bin/true in the background" >/dev/null 2>&1 &) ; exit 0`;
    const session = await host.open(t, ['/bin/sh', '-c', script]);
    const idle: string[] = [];
    const onIdle = (id: string) => idle.push(id);
    host.client.on('idle', onIdle);
    t.after(() => host.client.off('idle', onIdle));
    session.go();
    await once(session.leader, 'exit');
    assert.ok((await host.client.totals(session.id)).liveTasks > 0);
    assert.ok(!idle.includes(session.id));
    // The FIFO's reader blocks in open until now.
    await writeFile(fifo, 'go\n');
    await until('the idle notification', () => idle.includes(session.id));
    const { events } = await session.end();
    assert.ok(execArgs(events).includes('/bin/true in the background'));
    assert.equal(idle.filter((id) => id === session.id).length, 1);
  });

  test('a kind that is off is not recorded, and not counted', async (t) => {
    const argv = [
      '/bin/sh',
      '-c',
      `${program('opens')} open /etc/passwd; ${program('connects')} udp 127.0.0.1 9`,
    ];
    const kindsSeen = async (kinds: ('command' | 'disk' | 'network')[]) => {
      const { events, totals } = await host.record(t, argv, { kinds });
      const emitted = Object.entries(totals.kinds).filter(([, { emitted }]) => emitted > 0);
      const seen = new Set(events.filter((event) => event.seq > 0).map((event) => event.kind));
      assert.deepEqual([...seen].sort(), emitted.map(([kind]) => kind).sort());
      return [...seen].filter((kind) => kind !== 'meta').sort();
    };
    assert.deepEqual(await kindsSeen(['command']), ['command']);
    assert.deepEqual(await kindsSeen(['disk']), ['disk']);
    assert.deepEqual(await kindsSeen(['network']), ['network']);
    assert.deepEqual(await kindsSeen(['command', 'network']), ['command', 'network']);
    assert.deepEqual(await kindsSeen(['command', 'disk', 'network']), ['command', 'disk', 'network']);
    assert.deepEqual(await kindsSeen([]), []);
  });

  test('threads and double forks stay in the session', async (t) => {
    const { events } = await host.record(t, [
      '/bin/sh',
      '-c',
      '(setsid sh -c "(setsid sh -c \\"sh -c \\\\\\"/bin/true deep\\\\\\"\\" &)" &); wait',
    ]);
    assert.ok(execArgs(events).includes('/bin/true deep'), execArgs(events).join(' | '));
  });

  test('a task that root moves to another cgroup stays in its session, and the move is told', async (t) => {
    const elsewhere = await host.makeCgroup();
    const script = `echo $$ >${elsewhere.dir}/cgroup.procs; /bin/true after the move`;
    const { events, session } = await host.record(t, ['/bin/sh', '-c', script]);
    const [moved] = ofType(events, 'attribution').filter((event) => event.reason === 'cgroup_moved');
    assert.ok(moved);
    assert.deepEqual(
      [moved.oldValue, moved.newValue, moved.kind],
      [session.request.cgroupId, elsewhere.id, 'meta'],
    );
    const after = ofType(events, 'exec').find((event) => event.argv.join(' ') === '/bin/true after the move');
    assert.equal(after?.cgroupId, elsewhere.id);
  });

  test('a task that root moves into another session’s cgroup stays in its own, and that is told', async (t) => {
    const victim = await host.open(t, ['/bin/sleep', '30']);
    const intruder = await host.record(t, [
      '/bin/sh',
      '-c',
      `echo $$ >${victim.cgroupDir}/cgroup.procs; /bin/true intruding`,
    ]);
    assert.ok(execArgs(intruder.events).includes('/bin/true intruding'));
    const told = ofType(intruder.events, 'attribution');
    assert.ok(
      told.some((e) => e.reason === 'cgroup_foreign' && e.newValue === victim.request.cgroupId),
      JSON.stringify(told.map((e) => e.reason)),
    );
    victim.leader.kill('SIGKILL');
    await victim.idle();
    const { events } = await victim.end();
    assert.ok(!execArgs(events).includes('/bin/true intruding'));
  });

  test('a task that root gives a new audit id stays in its session, and the change is told', async (t) => {
    const { events, session } = await host.record(t, [
      '/bin/sh',
      '-c',
      'echo 4294967295 >/proc/self/loginuid; echo 1 >/proc/self/loginuid; read -r id </proc/self/sessionid; echo $id; /bin/true relabelled',
    ]);
    const changes = ofType(events, 'attribution').filter((event) => event.reason === 'audit_id_changed');
    assert.ok(changes.length > 0);
    assert.equal(changes[0]?.oldValue, BigInt(session.request.auditSessionId ?? -1));
    assert.equal(changes.at(-1)?.newValue, BigInt(session.output.trim()));
    assert.ok(execArgs(events).includes('/bin/true relabelled'));
  });

  test('a stranger that enters the session’s cgroup is adopted, and that is told', async (t) => {
    const session = await host.open(t, ['/bin/sleep', '30']);
    session.go();
    const stranger = spawn('/bin/sh', [
      '-c',
      `echo $$ >${session.cgroupDir}/cgroup.procs; /bin/true from a stranger; exit 0`,
    ]);
    await once(stranger, 'exit');
    session.leader.kill('SIGKILL');
    await session.idle();
    const { events } = await session.end();
    assert.ok(execArgs(events).includes('/bin/true from a stranger'), execArgs(events).join(' | '));
    assert.ok(ofType(events, 'attribution').some((event) => event.reason === 'adopted_cgroup'));
  });

  test('a stranger that was found to be nobody’s is looked at again when its cgroup becomes a session’s', async (t) => {
    const stop = join(dir, 'stop-stranger');
    const other = await host.open(t, ['/bin/sleep', '30']);
    other.go();
    const session = await TestSession.block(host, ['/bin/sleep', '30']);
    t.after(() => session.remove());
    const flood = `echo $$ >${session.cgroupDir}/cgroup.procs; exec ${program('opens')} until ${stop} /etc/passwd`;
    const stranger = spawn('/bin/sh', ['-c', flood], { stdio: 'ignore' });
    const seen = (await host.client.stats()).outsideTasks;
    await until('it opens', async () => (await host.client.stats()).outsideTasks > seen + 2_000);
    await host.client.watch({ ...session.request, sessionId: session.id });
    session.go();
    await until(
      'it is adopted',
      async () => (await host.client.totals(session.id)).kinds.disk.recorded > 1_000,
    );
    await writeFile(stop, '');
    await once(stranger, 'exit');
    session.leader.kill('SIGKILL');
    await session.idle();
    const { events } = await session.end();
    const reasons = ofType(events, 'attribution').map(({ pid, reason }) => ({ pid, reason }));
    assert.deepEqual(reasons, [{ pid: stranger.pid, reason: 'adopted_cgroup' }]);
  });

  test('a stranger with the session’s audit id alone is adopted, and that is told', async (t) => {
    // Blocks with the same audit id as the leader, in no cgroup of a session, before the watch begins.
    const session = await TestSession.block(host, ['/bin/sh', '-c', 'exec sleep 30']);
    t.after(() => session.remove());
    if (session.request.auditSessionId === undefined) return t.skip('this host has no audit ids');
    const second = await TestSession.block(host, ['/bin/true', 'same audit id']);
    t.after(() => second.remove());
    // Watched under the second one's audit id, so that the second one is known by that alone.
    await host.client.watch({
      ...session.request,
      auditSessionId: second.request.auditSessionId,
      sessionId: session.id,
    });
    session.go();
    second.go();
    await once(second.leader, 'exit');
    session.leader.kill('SIGKILL');
    await session.idle();
    const { events } = await session.end();
    assert.ok(execArgs(events).includes('/bin/true same audit id'), execArgs(events).join(' | '));
    assert.ok(ofType(events, 'attribution').some((event) => event.reason === 'adopted_audit'));
  });

  test('the supervisor and its helpers share the audit id and are not of the session', async (t) => {
    const supervisor = await TestSession.block(host, [
      '/bin/sh',
      '-c',
      '/bin/true the supervisor’s helper; exit 0',
    ]);
    t.after(() => supervisor.remove());
    if (supervisor.request.auditSessionId === undefined) return t.skip('this host has no audit ids');
    const session = await TestSession.block(host, ['/bin/true', 'the leader’s']);
    t.after(() => session.remove());
    await host.client.watch({
      ...session.request,
      auditSessionId: supervisor.request.auditSessionId,
      supervisorPid: supervisor.request.leaderPid,
      sessionId: session.id,
    });
    supervisor.go();
    await once(supervisor.leader, 'exit');
    session.go();
    await session.idle();
    const { events } = await session.end();
    assert.deepEqual(execArgs(events), ['/bin/true the leader’s']);
  });

  test('an ended session leaves nothing behind in the kernel', async (t) => {
    const before = await host.client.stats();
    const recordings = [];
    for (let i = 0; i < 5; i++)
      recordings.push(await host.record(t, ['/bin/sh', '-c', '/bin/true; /bin/true']));
    const stats = await host.client.stats();
    assert.equal(stats.sessions, before.sessions);
    assert.equal(stats.lineageEntries, before.lineageEntries);
    for (const { events, totals } of recordings) checkSpool(events, totals);
  });

  test('a stranger in a cgroup below the session’s is adopted too', async (t) => {
    const session = await host.open(t, ['/bin/sleep', '30']);
    const below = join(session.cgroupDir, 'a', 'b');
    await mkdir(below, { recursive: true });
    const stranger = spawn('/bin/sh', ['-c', `echo $$ >${below}/cgroup.procs; /bin/true from below; exit 0`]);
    await once(stranger, 'exit');
    await rmdir(below);
    await rmdir(join(session.cgroupDir, 'a'));
    session.leader.kill('SIGKILL');
    await session.idle();
    const { events } = await session.end();
    assert.ok(execArgs(events).includes('/bin/true from below'), execArgs(events).join(' | '));
  });

  test('a reader that follows the progress sees every event once, while the session runs', async (t) => {
    const session = await host.open(t, [
      '/bin/sh',
      '-c',
      'i=0; while [ $i -lt 200 ]; do /bin/true $i; i=$((i+1)); done',
    ]);
    let known = 0;
    const onProgress = (id: string, length: number) => {
      if (id === session.id) known = length;
    };
    host.client.on('progress', onProgress);
    t.after(() => host.client.off('progress', onProgress));
    const reader = await SpoolReader.open(join(host.spoolDir, `${session.id}.spool`));
    t.after(() => reader.close());
    const seen: number[] = [];
    let offset = reader.firstOffset;
    const readOn = async (to: number) => {
      for await (const item of reader.read(offset, to)) {
        assert.ok(item.type === 'event');
        if (item.event.seq > 0) seen.push(item.event.seq);
        offset = item.nextOffset;
      }
      assert.equal(offset, Math.max(offset, to), 'what was announced is whole');
    };
    session.go();
    let reads = 0;
    await until('the session is idle', async () => {
      if (known > offset) {
        reads++;
        await readOn(known);
      }
      return (await host.client.totals(session.id)).liveTasks === 0;
    });
    assert.ok(reads > 1, 'events came while the session ran');
    const { totals } = await session.end();
    await readOn(totals.spoolLength);
    assert.deepEqual(
      seen,
      Array.from({ length: totals.lastSeq }, (_, i) => i + 1),
    );
  });

  test('a throttled session in a small ring is thawed again and its totals are exact', async (t) => {
    const small = await KernelHost.start(64 * 1024);
    t.after(() => small.stop());
    const flood = [program('opens'), 'flood', '/etc/passwd', '20000'];
    const { totals } = await small.record(t, flood, { policy: 'throttle' });
    assert.ok(totals.kinds.disk.emitted >= 20_000);
  });
});
