import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cannotLaunch, cgroupPath, eventually } from './host.fixture.ts';
import { claimRootPath } from './root-path-claim.ts';

const registry = '/run/sallyport/root-paths';
const inUse = { kind: 'conflict', code: 'start.root_path_in_use' };

describe('a root_path has one owner', { skip: cannotLaunch() }, () => {
  const rootPath = `/sallyport-test-claim-${process.pid}`;
  let dirs: string[];
  before(() => {
    dirs = ['a', 'b'].map((name) => mkdtempSync(`/tmp/sallyport-claim-${name}-`));
  });
  after(() => {
    for (const dir of dirs) rmSync(dir, { recursive: true });
    for (const path of claimsOf('/tmp/sallyport-claim-')) rmSync(path, { force: true });
    for (const below of ['/sub', '-other', '']) {
      try {
        rmdirSync(join(cgroupPath, rootPath + below));
      } catch {}
    }
  });
  const claim = (which: number, path = rootPath) => claimRootPath(cgroupPath, path, dirs[which] ?? '');

  test('the same twice is refused, with both named, and so is one inside the other', async () => {
    const release = await claim(0);
    const message = new RegExp(`${rootPath} is another teleport's \\(data_dir ${dirs[0]}, process \\d+\\)`);
    await assert.rejects(claim(1), { ...inUse, message });
    await assert.rejects(claim(1, `${rootPath}/sub`), { ...inUse, message: /overlaps/ });
    await (await claim(1, `${rootPath}-other`))();
    await release();
    await (await claim(1))();
  });

  test('an agent takes its own again', async () => {
    await claim(0);
    const release = await claim(0);
    await release();
  });

  test('after its daemon’s death it is held by what still lives in it, and then by nobody', async () => {
    const release = await claim(0);
    const [path = ''] = claimsOf(dirs[0] ?? '');
    const record = JSON.parse(readFileSync(path, 'utf8'));
    // What a daemon that was killed leaves: its pid, with the time of another process.
    writeFileSync(path, JSON.stringify({ ...record, startTime: '1' }));
    const dir = join(cgroupPath, rootPath);
    const child = spawn('sleep', ['100']);
    writeFileSync(join(dir, 'cgroup.procs'), String(child.pid));
    await assert.rejects(claim(1), inUse);
    child.kill('SIGKILL');
    await eventually('the cgroup is empty', () =>
      readFileSync(join(dir, 'cgroup.events'), 'utf8').includes('populated 0'),
    );
    await (await claim(1))();
    await release();
  });
});

/** Other tests have claims here, too, which come and go. */
function claimsOf(dataDir: string): string[] {
  return readdirSync(registry)
    .map((name) => join(registry, name))
    .filter((path) => {
      try {
        return readFileSync(path, 'utf8').includes(dataDir);
      } catch {
        return false;
      }
    });
}
