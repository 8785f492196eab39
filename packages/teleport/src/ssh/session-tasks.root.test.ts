// What runs in a session that somebody must see, stopped and ended against its will: by real processes in real cgroups.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { SessionCgroup } from './cgroup.ts';
import { DeadMan } from './dead-man.ts';
import { facts } from './facts.fixture.ts';
import { cannotLaunch, cgroupPath, eventually, request, rootPath } from './host.fixture.ts';
import { type LaunchedSession, launch } from './launch.ts';
import { SessionGround } from './session-ground.ts';
import { SessionTasks } from './session-tasks.ts';

const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

let made = 0;

/** A session whose processes write, each into a file of its own. Gone with the test. */
async function session(t: TestContext, ...writers: string[]) {
  const folder = mkdtempSync('/tmp/sallyport-tasks-');
  t.after(() => rmSync(folder, { recursive: true }));
  made += 1;
  const cgroup = await SessionCgroup.create(cgroupPath, rootPath, `k${process.pid}-${made}`, {
    nested: true,
  });
  const writes = (name: string) =>
    `(while :; do echo x >> ${folder}/${name}; sleep 0.01; done) & echo $! > ${folder}/${name}.pid`;
  const command = `${writers.map(writes).join('; ')}; exec sleep 300`;
  const launched: LaunchedSession = await launch(request('root', { command, cgroupDir: cgroup.home }));
  const tasks = new SessionTasks({ cgroup: () => cgroup, marks: () => launched, log });
  t.after(async () => {
    await tasks.kill();
    await launched.closed;
    await cgroup.remove();
  });
  await launched.go();
  const size = (name: string) => {
    try {
      return readFileSync(join(folder, name)).length;
    } catch {
      return 0;
    }
  };
  const moves = async (name: string) => {
    const before = size(name);
    await eventually(`${name} writes`, () => size(name) > before + 4);
  };
  for (const name of writers) await moves(name);
  const pidOf = (name: string) => Number(readFileSync(join(folder, `${name}.pid`), 'utf8'));
  return { cgroup, launched, tasks, size, moves, pidOf };
}

/** Does it stand still for so long, ms? */
async function isStill(size: () => number, ms: number): Promise<boolean> {
  const before = size();
  await new Promise((resolve) => setTimeout(resolve, ms));
  return size() === before;
}

const frozen = (dir: string, value: '0' | '1') => writeFileSync(join(dir, 'cgroup.freeze'), value);

describe('what runs in a session', { skip: cannotLaunch() }, () => {
  test('cannot be stopped without a cgroup, and says so', async () => {
    const tasks = new SessionTasks({ cgroup: () => undefined, marks: () => undefined, log });
    await assert.rejects(tasks.stop(), { code: 'session.cannot_stop' });
    await tasks.go();
  });

  test('has a cgroup where nothing is recorded if somebody must see it; without one it is refused', async () => {
    const ground = (attended: boolean, at: string) =>
      new SessionGround({
        facts: { ...facts, attended },
        host: { unrecorded: { cgroupPath: at, rootPath: `${rootPath}/unrecorded-${process.pid}` }, log },
        watch: undefined,
        launched: () => undefined,
      });
    const plain = ground(false, cgroupPath);
    await plain.makeCgroup();
    assert.equal(plain.cgroupDir, undefined);
    const seen = ground(true, cgroupPath);
    await seen.makeCgroup();
    assert.match(seen.cgroupDir ?? '', new RegExp(facts.sid));
    await seen.tasks.stop();
    await seen.leave();
    assert.equal(existsSync(seen.cgroupDir ?? ''), false);
    rmdirSync(join(cgroupPath, rootPath, `unrecorded-${process.pid}`));
    const nowhere = ground(true, '/dev/null/nowhere');
    await nowhere.makeCgroup();
    await nowhere.guard(() => assert.fail('nothing is guarded'));
    await assert.rejects(nowhere.tasks.stop(), { code: 'session.cannot_stop' });
    await nowhere.leave();
  });

  test('is stopped whatever a recorder does to its own cgroup, and soon again where root lets it go', async (t) => {
    const { cgroup, tasks, size, moves } = await session(t, 'writer');
    const writer = () => size('writer');
    await tasks.stop();
    assert.equal(await isStill(writer, 100), true);
    frozen(cgroup.home, '1');
    frozen(cgroup.home, '0');
    assert.equal(await isStill(writer, 200), true, 'a recorder thaws the inner one');
    frozen(cgroup.dir, '0');
    await eventually('it is stopped again', () => isStill(writer, 100));
    await tasks.go();
    await moves('writer');
    assert.equal(await isStill(writer, 600), false, 'nobody stops it anew');
  });

  test('is stopped and let go in the order that was asked for', async (t) => {
    const { tasks, size, moves } = await session(t, 'writer');
    await Promise.all([tasks.stop(), tasks.go(), tasks.stop(), tasks.go()]);
    await moves('writer');
    await Promise.all([tasks.go(), tasks.stop()]);
    assert.equal(await isStill(() => size('writer'), 400), true);
  });

  test('is followed where it went: another cgroup, another parent; what its supervisor runs is left alone', async (t) => {
    const { cgroup, launched, tasks, size, moves, pidOf } = await session(t, 'astray', 'writer');
    if (launched.auditSessionId === undefined) return t.skip('this host has no audit session ids');
    const elsewhere = join(cgroupPath, rootPath, `elsewhere-${process.pid}`);
    mkdirSync(elsewhere);
    t.after(() => rmdirSync(elsewhere));
    writeFileSync(join(elsewhere, 'cgroup.procs'), String(pidOf('astray')));
    await moves('astray');
    assert.equal((await cgroup.procs()).includes(launched.supervisorPid), false);
    await tasks.stop();
    assert.equal(await isStill(() => size('astray') + size('writer'), 100), true);
    assert.equal((await cgroup.procs()).includes(pidOf('astray')), true);
    assert.equal((await cgroup.procs()).includes(launched.supervisorPid), false);
    await tasks.go();
    writeFileSync(join(elsewhere, 'cgroup.procs'), String(pidOf('astray')));
    await moves('astray');
    await tasks.kill();
    assert.equal(await isStill(() => size('astray'), 100), true, 'killed, too');
    await launched.closed;
  });

  test('is killed while it is stopped, and stays dead', async (t) => {
    const { cgroup, launched, tasks } = await session(t, 'writer');
    await tasks.stop();
    await tasks.kill();
    assert.equal(await cgroup.populated(), false);
    await launched.closed;
  });

  for (const stopped of [true, false])
    test(`ends with the daemon that is killed, ${stopped ? 'stopped' : 'running'}`, async (t) => {
      const { cgroup, launched, tasks, size } = await session(t, 'writer');
      if (stopped) await tasks.stop();
      const daemon = await watchingDaemon(t, cgroup.dir);
      assert.equal(await cgroup.populated(), true);
      daemon.kill('SIGKILL');
      await eventually('nothing lives', async () => !(await cgroup.populated()));
      assert.equal(await isStill(() => size('writer'), 50), true);
      await launched.closed;
    });

  test('is left alone by a dead man who was dismissed', async (t) => {
    const { cgroup, moves } = await session(t, 'writer');
    let gone = 0;
    (await DeadMan.watchOver(cgroup.dir, () => gone++)).dismiss();
    await moves('writer');
    await moves('writer');
    assert.equal(gone, 0);
  });

  test('is told when its dead man is killed', async (t) => {
    const { cgroup, moves } = await session(t, 'writer');
    let gone = 0;
    await DeadMan.watchOver(cgroup.dir, () => gone++);
    const pid = execFileSync('pgrep', ['--full', `sallyport-dead-man ${cgroup.dir}/`], { encoding: 'utf8' });
    process.kill(Number(pid), 'SIGKILL');
    await eventually('it is told', () => gone === 1);
    await moves('writer');
  });
});

/** Another process that watches over the cgroup, to be killed. */
async function watchingDaemon(t: TestContext, dir: string): Promise<ChildProcess> {
  const script = `import { DeadMan } from ${JSON.stringify(join(import.meta.dirname, 'dead-man.ts'))};
await DeadMan.watchOver(${JSON.stringify(dir)}, () => {}); console.log('watches'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await new Promise((resolve, reject) => {
    child.stdout?.once('data', resolve);
    child.once('exit', reject);
  });
  return child;
}
