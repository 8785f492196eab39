// Nothing is lost in silence: a full ring, a stopped recorder, a killed recorder.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { KernelHost, ofType, program, skip, sum, until } from './kernel-host.fixture.ts';

describe('losses', { skip }, () => {
  const hosts: KernelHost[] = [];
  const start = async (ringBytes?: number) => {
    const host = await KernelHost.start(ringBytes);
    hosts.push(host);
    return host;
  };
  after(async () => {
    for (const host of hosts) await host.stop();
  });
  const flood = (count: number) => [program('opens'), 'flood', '/etc/passwd', String(count)];

  test('a tiny ring and a stopped recorder: what did not fit is declared, exactly', async (t) => {
    const host = await start(4096);
    const session = await host.open(t, flood(3000));
    const losses: string[] = [];
    host.client.on('loss', (id) => losses.push(id));
    host.signal('SIGSTOP');
    session.go();
    await once(session.leader, 'exit');
    host.signal('SIGCONT');
    await session.idle();
    const { events, totals } = await session.end();
    const { emitted, lost } = totals.kinds.disk;
    assert.ok(emitted >= 3000, `${emitted} emitted`);
    assert.ok(lost > 0 && lost < emitted);
    const declared = ofType(events, 'lost').filter((event) => event.kind === 'disk');
    assert.ok(declared.every((event) => event.cause === 'ring_full' && event.firstKtime <= event.lastKtime));
    await until('the loss is notified', () => losses.includes(session.id));
  });

  test('two sessions in one full ring: each declares its own', async (t) => {
    const host = await start(8192);
    const sessions = await Promise.all([host.open(t, flood(2000)), host.open(t, flood(4000))]);
    host.signal('SIGSTOP');
    for (const session of sessions) session.go();
    await Promise.all(sessions.map((session) => once(session.leader, 'exit')));
    host.signal('SIGCONT');
    for (const [i, session] of sessions.entries()) {
      await session.idle();
      const { totals } = await session.end();
      assert.ok(totals.kinds.disk.emitted >= (i + 1) * 2000);
      assert.ok(sum(totals.kinds, 'lost') > 0);
    }
  });

  test('a recorder killed in mid-session: the next one goes on, nothing twice, totals exact', async (t) => {
    const host = await start(1024 * 1024);
    const quiet = await host.open(t, ['/bin/sh', '-c', '/bin/true before; read x; /bin/true after']);
    const script = 'i=0; while [ $i -lt 60 ]; do /bin/true $i; i=$((i+1)); done';
    const busy = await host.open(t, ['/bin/sh', '-c', script]);
    busy.go();
    await until('some are spooled', async () => (await host.client.totals(busy.id)).lastSeq > 40);
    await host.kill();
    await once(busy.leader, 'exit');
    await host.connect();
    assert.equal(host.client.hello.resumedSessions, 2);
    assert.deepEqual(
      (await host.client.list()).map((each) => each.sessionId).sort(),
      [quiet.id, busy.id].sort(),
    );
    await busy.idle();
    // end() holds the spool against its totals: no number twice, emitted = recorded + declared lost.
    const { events, totals } = await busy.end();
    assert.equal(totals.kinds.command.lost, 0, 'a megabyte holds sixty commands while nobody drains');
    assert.deepEqual(
      ofType(events, 'exec')
        .filter((event) => String(event.argv[0]) === '/bin/true')
        .map((event) => Number(String(event.argv[1]))),
      Array.from({ length: 60 }, (_, i) => i),
    );
    quiet.go();
    await quiet.idle();
    await quiet.end();
  });

  test('a recorder killed over a full ring: the gap is declared', async (t) => {
    const host = await start(8192);
    const session = await host.open(t, flood(5000));
    await host.kill();
    session.go();
    await once(session.leader, 'exit');
    await host.connect();
    await session.idle();
    const { totals } = await session.end();
    assert.ok(totals.kinds.disk.emitted >= 5000);
    assert.ok(totals.kinds.disk.lost > 0);
  });

  test('killed at any moment of a flood, several times over: nothing twice, totals exact', async (t) => {
    const host = await start(256 * 1024);
    const session = await host.open(t, flood(40_000));
    session.go();
    for (let i = 0; i < 4 && session.leader.exitCode === null; i++) {
      const { lastSeq } = await host.client.totals(session.id);
      // Or the flood has ended: it may be over before so much more came.
      const isOver = () => session.leader.exitCode !== null;
      await until(
        'more comes',
        async () => isOver() || (await host.client.totals(session.id)).lastSeq >= lastSeq + 1500,
      );
      await host.kill();
      await host.connect();
    }
    await session.idle(60_000);
    const { totals } = await session.end();
    assert.ok(totals.kinds.disk.emitted >= 40_000);
  });

  test('a spool torn in its last frame by a crash is mended before it grows', async (t) => {
    const host = await start(1024 * 1024);
    const session = await host.open(t, ['/bin/sh', '-c', '/bin/true 1; /bin/true 2; read x; /bin/true 3']);
    const spool = join(host.spoolDir, `${session.id}.spool`);
    session.go();
    await until('the start is spooled', async () => (await host.client.totals(session.id)).lastSeq > 4);
    await host.kill();
    await truncate(spool, (await stat(spool)).size - 5);
    await host.connect();
    await session.idle();
    const totals = await host.client.end(session.id);
    // The torn record is gone from the disk and, by its ring position, known to be gone or written again.
    const events = await host.events(session.id);
    const seqs = events.filter((event) => event.seq > 0).map((event) => event.seq);
    assert.equal(new Set(seqs).size, seqs.length);
    for (const { emitted, recorded, lost } of Object.values(totals.kinds))
      assert.equal(emitted, recorded + lost);
    assert.equal(seqs.length, sum(totals.kinds, 'recorded'));
  });
});
