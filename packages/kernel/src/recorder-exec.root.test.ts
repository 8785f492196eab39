// Commands of a session, seen by the real recorder on the real kernel.
import assert from 'node:assert/strict';
import { realpathSync } from 'node:fs';
import { chmod, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ExecEvent, KernelEvent } from './kernel-event.ts';
import { KernelHost, ofType, program, skip } from './kernel-host.fixture.ts';

const sh = realpathSync('/bin/sh');

/** argv of every exec, one string each. */
const commands = (events: readonly KernelEvent[]) =>
  ofType(events, 'exec').map((event) => event.argv.map((a) => a.toString('latin1')).join(' '));
const execOf = (events: readonly KernelEvent[], argv: string): ExecEvent => {
  const found = ofType(events, 'exec').find((event) => event.argv.join(' ') === argv);
  assert.ok(found, `no exec of ${argv} in ${commands(events).join(' | ')}`);
  return found;
};

describe('commands', { skip }, () => {
  let host: KernelHost;
  let dir = '';
  before(async () => {
    host = await KernelHost.start();
    dir = realpathSync(await mkdtemp(join(tmpdir(), 'exec-root-')));
  });
  after(async () => {
    await host?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  test('the leader’s own exec comes first, with argv, exe, cwd and ids', async (t) => {
    const { events, session } = await host.record(t, ['/bin/sh', '-c', 'true "$@"', 'x', 'a b', ''], {
      cwd: '/usr/lib',
    });
    const first = events.find((event) => event.seq > 0);
    assert.ok(first?.type === 'exec');
    assert.deepEqual(first.argv.map(String), ['/bin/sh', '-c', 'true "$@"', 'x', 'a b', '']);
    assert.equal(String(first.path), '/bin/sh');
    assert.equal(String(first.exe), sh);
    assert.equal(String(first.cwd), '/usr/lib');
    assert.equal(first.seq, 1);
    assert.equal(first.pid, session.request.leaderPid);
    assert.equal(first.ppid, process.pid);
    assert.equal(first.uid, 0);
    assert.equal(first.auditSessionId, session.request.auditSessionId);
    assert.equal(first.cgroupId, session.request.cgroupId);
    assert.equal(first.argvState, 'exact');
    assert.equal(String(first.comm), 'sh');
  });

  test('the watch tells how to turn kernel time into wall time', async (t) => {
    const begun = BigInt(Date.now()) * 1_000_000n;
    const { events } = await host.record(t, ['/bin/true']);
    const [watch] = ofType(events, 'watch');
    const [exec] = ofType(events, 'exec');
    assert.ok(watch && exec);
    const at = exec.ktime + watch.realtimeOffsetNs;
    assert.ok(at > begun - 50_000_000n && at < begun + 10_000_000_000n, `${at} is not near ${begun}`);
  });

  test('what base64 hides is seen as it runs', async (t) => {
    const hidden = Buffer.from('/bin/echo found me').toString('base64');
    const { events, stdout } = await host.record(t, ['/bin/sh', '-c', `echo ${hidden} | base64 -d | sh`]);
    assert.equal(stdout, 'found me\n');
    assert.deepEqual(
      commands(events)
        .filter((c) => /base64 -d|^sh$|echo found/.test(c) && !c.startsWith('/bin/sh'))
        .sort(),
      ['/bin/echo found me', 'base64 -d', 'sh'],
    );
  });

  test('a script is recorded with its interpreter, and its inner commands too', async (t) => {
    const script = join(dir, 'script');
    await writeFile(script, '#!/bin/sh -u\n/bin/true inner one\n/bin/false inner two\n');
    await chmod(script, 0o755);
    const { events } = await host.record(t, [script, 'argument']);
    const run = execOf(events, `/bin/sh -u ${script} argument`);
    assert.equal(String(run.path), script);
    assert.equal(String(run.interpreter), '/bin/sh');
    assert.equal(String(run.exe), sh);
    execOf(events, '/bin/true inner one');
    execOf(events, '/bin/false inner two');
  });

  test('arguments keep their bytes: newline, escape, invalid UTF-8', async (t) => {
    const { events } = await host.record(t, [
      '/bin/sh',
      '-c',
      `/bin/true "$(printf 'a\\nb\\033[2J\\377\\376')"`,
    ]);
    const inner = ofType(events, 'exec').find((event) => String(event.exe).endsWith('/true'));
    assert.equal(inner?.argv[1]?.toString('latin1'), 'a\nb\x1b[2J\xff\xfe');
  });

  test('a long argv is exact up to its limit and says n of m beyond', async (t) => {
    const exact = await host.record(t, [
      '/bin/sh',
      '-c',
      '/bin/true "$(head -c 100000 /dev/zero | tr "\\0" x)"',
    ]);
    const whole = ofType(exact.events, 'exec').find((event) => String(event.argv[0]) === '/bin/true');
    assert.equal(whole?.argvState, 'exact');
    assert.equal(whole?.argv[1]?.length, 100_000);

    const many = '/bin/true $(seq -f %.0f0000000000 1 30000)';
    const cut = await host.record(t, ['/bin/sh', '-c', many]);
    const truncated = ofType(cut.events, 'exec').find((event) => String(event.argv[0]) === '/bin/true');
    assert.equal(truncated?.argvState, 'truncated');
    assert.equal(truncated?.argc, 30_001);
    assert.ok(truncated && truncated.argv.length < 30_001 && truncated.argv.length > 5000);
    assert.equal(String(truncated?.argv[1]), '10000000000');
    assert.ok((truncated?.argvSize ?? 0) > 400_000);
  });

  test('a forged argv[0] does not hide the program', async (t) => {
    const { events } = await host.record(t, ['/bin/bash', '-c', 'exec -a sshd /bin/true x']);
    const forged = execOf(events, 'sshd x');
    assert.equal(String(forged.exe), realpathSync('/bin/true'));
  });

  test('environment: the allow-listed keys and no other', async (t) => {
    const env = { PATH: '/usr/bin:/bin', LD_PRELOAD: '', SECRET: 'hush', LD_LIBRARY_PATH: '/nowhere' };
    const { events } = await host.record(t, ['/bin/true'], { env });
    const [exec] = ofType(events, 'exec');
    assert.deepEqual(exec?.env.map(String).sort(), ['LD_LIBRARY_PATH=/nowhere', 'LD_PRELOAD=']);
  });

  test('exits carry the status or the signal, of every process', async (t) => {
    const script = '/bin/true; sh -c "exit 37"; sh -c "kill -9 \\$\\$"; sh -c "kill -TERM \\$\\$"; exit 5';
    const { events, session } = await host.record(t, ['/bin/sh', '-c', script]);
    const ends = ofType(events, 'exit');
    const byPid = new Map(ends.map((event) => [event.pid, event]));
    assert.equal(byPid.size, ends.length, 'one exit a process');
    assert.equal(byPid.get(session.request.leaderPid)?.status, 5);
    const endOf = (argv: string) => byPid.get(execOf(events, argv).pid);
    assert.equal(endOf('/bin/true')?.status, 0);
    assert.equal(endOf('sh -c exit 37')?.status, 37);
    assert.deepEqual([endOf('sh -c kill -9 $$')?.signal, endOf('sh -c kill -9 $$')?.status], [9, undefined]);
    assert.equal(endOf('sh -c kill -TERM $$')?.signal, 15);
    for (const end of ends) assert.ok(end.durationNs > 0n && end.durationNs < 20_000_000_000n);
  });

  test('an exec that failed has its errno; a search through PATH is folded into what it found', async (t) => {
    const noexec = join(dir, 'not-executable');
    await writeFile(noexec, 'x');
    const garbage = join(dir, 'garbage');
    await writeFile(garbage, '\x00\x01\x02garbage');
    await chmod(garbage, 0o755);
    const { events } = await host.record(
      t,
      ['/bin/bash', '-c', `${noexec}; ${garbage}; /nowhere/at/all; env true folded; exit 0`],
      { env: { PATH: '/nowhere/a:/nowhere/b:/usr/bin:/bin' } },
    );
    const failed = ofType(events, 'exec_failed').map((event) => [String(event.path), event.error]);
    assert.ok(
      failed.some(([path, error]) => path === garbage && error === 8),
      JSON.stringify(failed),
    );
    const { pid } = execOf(events, 'true folded');
    assert.equal(ofType(events, 'exec_failed').filter((event) => event.pid === pid).length, 0);
  });

  test('failed tries of a name that never succeeds stand in one record with their number', async (t) => {
    const { events } = await host.record(t, [program('exec-ways'), 'missing', '/nowhere/tool', '5']);
    const tries = ofType(events, 'exec_failed').filter((event) => String(event.path) === '/nowhere/tool');
    assert.equal(
      tries.reduce((n, event) => n + event.folded, 0),
      5,
    );
    assert.ok(tries.every((event) => event.error === 2));
  });

  test('a program in memory, one without a link and one on tmpfs are marked', async (t) => {
    const memfd = await host.record(t, [program('exec-ways'), 'memfd', '/bin/true', 'from-memory']);
    const hidden = execOf(memfd.events, '/bin/true from-memory');
    assert.deepEqual([hidden.memfd, hidden.deleted], [true, hidden.deleted]);
    assert.match(String(hidden.exe), /memfd:hidden/);

    const copy = join(dir, 'copy');
    const deleted = await host.record(t, [program('exec-ways'), 'deleted', '/bin/true', copy, 'gone']);
    const unlinked = execOf(deleted.events, `${copy} gone`);
    assert.deepEqual([unlinked.deleted, unlinked.memfd], [true, false]);

    const shm = `/dev/shm/${host.dir.split('/').at(-1)}-true`;
    await copyFile('/bin/true', shm);
    t.after(() => rm(shm, { force: true }));
    const volatile = await host.record(t, [shm]);
    assert.equal(execOf(volatile.events, shm).shm, true);
    const plain = await host.record(t, ['/bin/true']);
    const usual = execOf(plain.events, '/bin/true');
    assert.deepEqual(
      [usual.memfd, usual.deleted, usual.shm, usual.ldExec, usual.setuid, usual.compat32],
      [false, false, false, false, false, false],
    );
  });

  test('a program run through the dynamic loader is marked', {
    skip: process.arch !== 'x64' && 'amd64 only',
  }, async (t) => {
    const { events } = await host.record(t, ['/lib64/ld-linux-x86-64.so.2', '/bin/true', 'through-ld']);
    assert.equal(execOf(events, '/lib64/ld-linux-x86-64.so.2 /bin/true through-ld').ldExec, true);
  });

  test('a thread that executes has the process’s id, and the process one exit', async (t) => {
    const { events, session } = await host.record(t, [
      program('threads'),
      'exec',
      '/bin/true',
      'by a thread',
    ]);
    const { leaderPid } = session.request;
    const exec = execOf(events, '/bin/true by a thread');
    assert.deepEqual([exec.pid, exec.tid], [leaderPid, leaderPid]);
    assert.deepEqual(
      ofType(events, 'exit').map((event) => [event.pid, event.status]),
      [[leaderPid, 0]],
    );
  });

  test('a process ends with its last thread, with the status its parent gets', async (t) => {
    const outlived = await host.record(t, [program('threads'), 'leader-first']);
    assert.deepEqual(
      ofType(outlived.events, 'exit').map((event) => event.status),
      [23],
    );
    const crowd = await host.record(t, [program('threads'), 'crowd', '60']);
    assert.equal(ofType(crowd.events, 'exit').length, 1);
    const opened = ofType(crowd.events, 'open').filter((event) => String(event.path) === '/etc/hostname');
    assert.equal(opened.length, 60);
    assert.ok(opened.every((event) => event.pid === crowd.session.request.leaderPid));
    assert.ok(opened.some((event) => event.pathSource === 'fd_shared'));
  });

  test('a thousand short-lived children each have their own exit', async (t) => {
    const { events, session } = await host.record(t, [program('threads'), 'forks', '1000']);
    const ends = ofType(events, 'exit').filter((event) => event.pid !== session.request.leaderPid);
    assert.deepEqual(
      ends.map((event) => event.status),
      Array.from({ length: 1000 }, (_, i) => i % 200),
    );
    assert.ok(ends.every((event) => event.ppid === session.request.leaderPid));
  });

  test('ids are those of the process, and a setuid bit that took effect is marked', async (t) => {
    await chmod(dir, 0o755);
    const suid = join(dir, 'suid-true');
    await copyFile('/bin/true', suid);
    await chmod(suid, 0o4755);
    const become = ['/usr/bin/setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const { events } = await host.record(t, [...become, '/bin/sh', '-c', `/bin/true as nobody; ${suid} up`]);
    const plain = execOf(events, '/bin/true as nobody');
    assert.deepEqual([plain.uid, plain.gid, plain.setuid], [65534, 65534, false]);
    const raised = execOf(events, `${suid} up`);
    assert.deepEqual([raised.uid, raised.setuid], [0, true]);
  });

  test('a chroot and foreign namespaces are marked, and the path is whole beyond them', async (t) => {
    const programs = realpathSync(program('.'));
    const rooted = await host.record(t, ['/usr/sbin/chroot', programs, '/threads', 'forks', '0']);
    const inside = execOf(rooted.events, '/threads forks 0');
    assert.deepEqual([String(inside.exe), inside.chroot], [join(programs, 'threads'), true]);
    const mounts = await host.record(t, ['/usr/bin/unshare', '-m', '/bin/true', 'own mounts']);
    const elsewhere = execOf(mounts.events, '/bin/true own mounts');
    assert.deepEqual([elsewhere.foreignMountNamespace, elsewhere.userNamespace], [true, false]);
    assert.equal(String(elsewhere.exe), realpathSync('/bin/true'));
    const users = await host.record(t, ['/usr/bin/unshare', '-U', '/bin/true', 'own users']);
    assert.equal(execOf(users.events, '/bin/true own users').userNamespace, true);
  });

  const amd64 = { skip: process.arch !== 'x64' && 'amd64 only' };

  // The kernel forgets which call it was when the new program is a 64-bit one (set_personality_64bit).
  test('an execve by int 0x80 is seen, and one that fails is marked as 32-bit', amd64, async (t) => {
    const { events } = await host.record(t, [program('exec-ways'), 'int80', '/bin/true', 'low']);
    assert.equal(String(execOf(events, '/bin/true low').exe), realpathSync('/bin/true'));
    const failing = await host.record(t, [program('exec-ways'), 'int80', '/etc/passwd', 'low']);
    const [failed] = ofType(failing.events, 'exec_failed').filter((event) => event.compat32);
    assert.deepEqual([String(failed?.path), failed?.error], ['/etc/passwd', 13]);
  });

  test('a 32-bit program is marked', amd64, async (t) => {
    const path = join(dir, 'elf32');
    await writeFile(path, exit7In32Bits(), { mode: 0o755 });
    const { events, session } = await host.record(t, [path, 'x']);
    const status = ofType(events, 'exit').find((event) => event.pid === session.request.leaderPid)?.status;
    if (status !== 7) return t.skip('this kernel runs no 32-bit programs');
    assert.equal(execOf(events, `${path} x`).compat32, true);
  });
});

/** The smallest i386 ELF there is: mov $1, %eax; mov $7, %ebx; int $0x80. */
function exit7In32Bits(): Buffer {
  const base = 0x0804_8000;
  const header = 52 + 32;
  const code = Buffer.from('b801000000bb07000000cd80', 'hex');
  const elf = Buffer.alloc(header + code.length);
  elf.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  // ET_EXEC, EM_386, version, entry, program headers at 52.
  for (const [at, value] of [
    [16, 0x0003_0002],
    [20, 1],
    [24, base + header],
    [28, 52],
    [40, 0x0020_0034],
    [44, 1],
    // PT_LOAD, readable and executable.
    [52, 1],
    [60, base],
    [64, base],
    [68, elf.length],
    [72, elf.length],
    [76, 5],
    [80, 0x1000],
  ] as const) {
    elf.writeUInt32LE(value, at);
  }
  code.copy(elf, header);
  return elf;
}
