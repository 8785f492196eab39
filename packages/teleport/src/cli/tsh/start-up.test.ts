// What a command loads is what a person waits for: libraries it does not need must not creep in.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { has, start } from '../loaded-modules.fixture.ts';

const main = join(import.meta.dirname, 'main.ts');
/** Of somebody who is not logged in: by then all of a command's code is there. */
const modulesOf = async (...args: string[]) => (await start(main, ...args)).modules;

test('help, status and sessions load no schemas and no YAML', async () => {
  for (const args of [
    ['--help'],
    ['status'],
    ['ssh', 'node'],
    ['config'],
    ['proxy', 'ssh', 'node'],
    ['logout'],
  ]) {
    const modules = await modulesOf(...args);
    assert.ok(has(modules, 'commander'), 'the modules are told');
    for (const library of ['zod', 'yaml']) assert.equal(has(modules, library), false, `${args}: ${library}`);
  }
});

test('ls loads the schemas of the API, but no YAML, SSH or X.509 library', async () => {
  const modules = await modulesOf('ls');
  assert.ok(has(modules, 'zod'));
  for (const library of ['yaml', 'ssh2', '@peculiar/x509'])
    assert.equal(has(modules, library), false, library);
});

test('help loads the command tree and no action', async () => {
  const modules = await modulesOf('--help');
  const ours = modules.filter((line) => line.includes('/cli/tsh/'));
  assert.deepEqual(ours, [`loads file://${main}`]);
  assert.ok(modules.length < 40, `${modules.length} modules`);
});
