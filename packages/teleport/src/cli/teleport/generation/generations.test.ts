import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Generations } from './generations.ts';

describe('the daemons of a data directory', () => {
  let dir = '';
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sp-gen-'));
  });
  after(() => rm(dir, { recursive: true, force: true }));

  test('know of each other while they live', async () => {
    const one = await Generations.enter(dir, '1.0.0');
    const two = await Generations.enter(dir, '1.0.1');
    assert.deepEqual(
      (await two.others()).map(({ version }) => version),
      ['1.0.0'],
    );
    assert.ok(two.isLiving(one.id));
    await one.leave();
    assert.equal(two.isLiving(one.id), false);
    assert.deepEqual(await two.others(), []);
    await two.leave();
  });

  test('do not take a process that was killed for a living one, nor a new one with its number', async () => {
    const program = `import { Generations } from ${JSON.stringify(new URL('generations.ts', import.meta.url).href)};
const own = await Generations.enter(${JSON.stringify(dir)}, '2.0.0');
process.stdout.write(own.id);
setInterval(() => {}, 1e6);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [id] = (await once(child.stdout, 'data')).map(String) as [string];
    const own = await Generations.enter(dir, '2.0.1');
    assert.ok(own.isLiving(id));
    const [bootPart, pid, start] = id.split('-');
    assert.equal(
      own.isLiving(`${bootPart}-${pid}-${Number(start) - 1}-1`),
      false,
      'an older process of that number',
    );
    assert.equal(own.isLiving(`00000000-${pid}-${start}-1`), false, 'a process of another boot');
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    assert.equal(own.isLiving(id), false);
    assert.deepEqual(await own.others(), []);
    assert.deepEqual(
      await readdir(join(dir, 'generations')),
      [`${own.id}.json`],
      'its file was cleared away',
    );
    await own.leave();
  });

  test('are nobody where nobody was named', async () => {
    const own = await Generations.enter(dir, '3.0.0');
    assert.equal(own.isLiving(undefined), false);
    assert.equal(own.isLiving('nonsense'), false);
    await own.leave();
  });
});
