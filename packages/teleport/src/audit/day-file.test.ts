import assert from 'node:assert/strict';
import { appendFile, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DayFile } from './day-file.ts';

describe('a day file that two processes append to', () => {
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sp-day-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const whole = async (path: string) =>
    (await readFile(path, 'utf8')).split('\n').flatMap((line) => {
      try {
        return [(JSON.parse(line) as { n: number }).n];
      } catch {
        return [];
      }
    });
  const line = (n: number) => Buffer.from(`${JSON.stringify({ n })}\n`);

  test('keeps each line of either, also behind the half line of one that was killed', async () => {
    const path = join(folder, 'half.log');
    const one = await DayFile.open(path, 0);
    const two = await DayFile.openBeside(path);
    await one.append(line(1), true);
    await two.append(line(2), true);
    await appendFile(path, '{"n":99,"cut'); // a third one died in its write
    await one.append(line(3), true);
    await two.append(line(4), true);
    assert.deepEqual(await whole(path), [1, 2, 3, 4]);
    await one.close();
    await two.close();
  });

  test('writes its first line again when the half line came between its look and its write', async () => {
    const path = join(folder, 'between.log');
    const beside = await open(path, 'a');
    const file = await DayFile.open(path, 0);
    const rounds = 60;
    for (let n = 0; n < rounds; n++) {
      // Which of them the kernel takes first is chance: over the rounds each order comes.
      const appended = file.append(Buffer.concat([line(2 * n), line(2 * n + 1)]), false);
      await Promise.all([appended, beside.write('{"n":-1,"cu')]);
    }
    const kept = (await whole(path)).sort((a, b) => a - b);
    assert.deepEqual(
      kept,
      Array.from({ length: 2 * rounds }, (_, n) => n),
    );
    await beside.close();
    await file.close();
  });
});
