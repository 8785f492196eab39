import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFile, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pinProgram } from './pinned-program.ts';

test('a program that was replaced or removed is still started as it was', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'sp-pin-'));
  t.after(() => rm(dir, { recursive: true }));
  const path = join(dir, 'program');
  await copyFile('/bin/echo', path);
  const pinned = pinProgram(path);
  assert.equal(pinProgram(path), pinned, 'once is enough');
  await copyFile('/bin/false', `${path}.next`);
  await rename(`${path}.next`, path);
  assert.equal(String(execFileSync(pinned, ['still', 'the', 'old', 'one'])), 'still the old one\n');
  await rm(path);
  assert.equal(spawnSync(pinned, ['gone']).status, 0);
});

test('a program that is not there is left to whoever starts it', () => {
  assert.equal(pinProgram('/nonexistent/program'), '/nonexistent/program');
});
