import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { ensureCgroupMount, SessionCgroup } from './cgroup.ts';
import { cannotLaunch, cgroupPath, eventually, request, rootPath, testCgroup } from './host.fixture.ts';
import { launch } from './launch.ts';

/** A session that starts two processes, one of them in a cgroup below its own, and stays. */
async function populated(cgroup: SessionCgroup): Promise<void> {
  mkdirSync(join(cgroup.dir, 'below'));
  const command = `sleep 300 & echo $! > ${cgroup.dir}/below/cgroup.procs; exec sleep 300`;
  const session = await launch(request('root', { command, cgroupDir: cgroup.dir }));
  await session.go();
  await eventually('two processes', async () => (await cgroup.procs()).length === 2);
}

describe('the cgroup of a session', { skip: cannotLaunch() }, () => {
  test('is a directory whose inode is its id', async () => {
    const cgroup = await testCgroup();
    assert.match(execFileSync('stat', ['-c', '%i', cgroup.dir]).toString(), new RegExp(`^${cgroup.id}\n$`));
    assert.deepEqual(await cgroup.procs(), []);
    await cgroup.remove();
  });

  test('is refused when it exists, or when its name is a path', async () => {
    const cgroup = await testCgroup();
    const again = SessionCgroup.create(cgroupPath, rootPath, basename(cgroup.dir));
    await assert.rejects(again, { kind: 'conflict' });
    await assert.rejects(SessionCgroup.create(cgroupPath, rootPath, '../x'), { kind: 'bad_input' });
    await cgroup.remove();
  });

  test('is found again after a restart, and its name is listed', async () => {
    const cgroup = await testCgroup();
    const sid = basename(cgroup.dir);
    assert.ok((await SessionCgroup.list(cgroupPath, rootPath)).includes(sid));
    assert.equal((await SessionCgroup.reopen(cgroupPath, rootPath, sid))?.id, cgroup.id);
    await cgroup.remove();
    assert.equal(await SessionCgroup.reopen(cgroupPath, rootPath, sid), undefined);
  });

  test('kill ends everything, below it too, and it can be removed then, not before', async () => {
    const cgroup = await testCgroup();
    await populated(cgroup);
    await assert.rejects(cgroup.remove(), { code: 'cgroup.busy' });
    await cgroup.kill();
    assert.equal(await cgroup.populated(), false);
    await cgroup.remove();
    assert.equal(existsSync(cgroup.dir), false);
  });

  test('a frozen cgroup stands still and goes on when let go', async () => {
    const cgroup = await testCgroup();
    const session = await launch(request('root', { command: 'exec yes > /dev/null', cgroupDir: cgroup.dir }));
    await session.go();
    await cgroup.freeze(true);
    const frozen = cpuTicks(session.leaderPid);
    await new Promise((resolve) => setTimeout(resolve, 60));
    assert.equal(cpuTicks(session.leaderPid), frozen);
    await cgroup.freeze(false);
    await eventually('it runs again', () => cpuTicks(session.leaderPid) > frozen);
    await cgroup.kill();
    await cgroup.remove();
  });

  test('a path where nothing can be made is refused, not tried for ever', async () => {
    await assert.rejects(ensureCgroupMount('/proc/nowhere/at/all'), { code: 'cgroup.mount' });
  });

  test('a path that is no cgroup2 mount becomes one', async () => {
    const path = mkdtempSync('/tmp/sallyport-cgroup-');
    await ensureCgroupMount(path);
    await ensureCgroupMount(path);
    try {
      const cgroup = await SessionCgroup.create(path, rootPath, 'mounted');
      assert.ok(
        existsSync(join(cgroupPath, rootPath, 'mounted/cgroup.procs')),
        'the hierarchy is the host’s',
      );
      await cgroup.remove();
    } finally {
      execFileSync('umount', [path]);
      rmdirSync(path);
    }
  });
});

/** utime + stime, fields 14 and 15 of stat. */
function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}
