// What a command loads is what a person waits for: libraries it does not need must not creep in.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const main = join(import.meta.dirname, 'main.ts');
const tell = `import { registerHooks } from 'node:module';
registerHooks({ load(url, context, next) { process.stderr.write('loads ' + url + '\\n'); return next(url, context); } });`;

/** Every module of a command of somebody who is not logged in: by then all of its code is there. */
function modulesOf(...args: string[]): Promise<string[]> {
  const hooks = `data:text/javascript,${encodeURIComponent(tell)}`;
  const { PATH, NODE_COMPILE_CACHE } = process.env;
  const env = { PATH, ...(NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE }), TELEPORT_HOME: '/nonexistent' };
  return new Promise((done) =>
    execFile(process.execPath, ['--import', hooks, main, ...args], { env }, (_error, _stdout, stderr) =>
      done(stderr.split('\n').filter((line) => line.startsWith('loads '))),
    ),
  );
}

const has = (modules: readonly string[], name: string) =>
  modules.some((line) => line.includes(`/node_modules/${name}/`));

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
