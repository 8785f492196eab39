import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

const script = join(import.meta.dirname, 'apply-patches.ts');
const OLD = 'one\ntwo\nthree\nfour\n';
const NEW = 'zero\none\n2\nthree\nfour\n4.5\n';
const HUNKS = '@@ -0,0 +1 @@\n+zero\n@@ -2 +3 @@\n-two\n+2\n@@ -4,0 +6 @@\n+4.5\n';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-patches-'));
  mkdirSync(join(folder, 'patches'));
  mkdirSync(join(folder, 'modules', 'thing', 'lib'), { recursive: true });
  file = join(folder, 'modules', 'thing', 'lib', 'a.js');
  writeFileSync(file, OLD);
  writeFileSync(join(folder, 'modules', 'thing', 'package.json'), '{"version":"1.2.3"}');
});
afterEach(() => rmSync(folder, { recursive: true }));

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

function writePatch(hunks: string, after = NEW, version = '1.2.3'): void {
  const head = `# why\n# file: lib/a.js ${sha256(OLD)} ${sha256(after)}\n--- a/lib/a.js\n+++ b/lib/a.js\n`;
  writeFileSync(join(folder, 'patches', `thing@${version}.patch`), head + hunks);
}

function apply(...folders: string[]) {
  return spawnSync(process.execPath, [script, ...folders], { encoding: 'utf8' });
}
const applyHere = () => apply(join(folder, 'patches'), join(folder, 'modules'));

function refuses(expected: RegExp): void {
  const run = applyHere();
  assert.equal(run.status, 1);
  assert.match(run.stderr, expected);
}

test('a patch is applied once, however often it is asked for', () => {
  writePatch(HUNKS);
  assert.match(applyHere().stdout, /1 of 1 files changed/);
  assert.equal(readFileSync(file, 'utf8'), NEW);
  assert.match(applyHere().stdout, /0 of 1 files changed/);
  assert.equal(readFileSync(file, 'utf8'), NEW);
});

test('another version of the package stops the build', () => {
  writePatch(HUNKS, NEW, '1.2.4');
  refuses(/thing is 1\.2\.3, the patch is for 1\.2\.4/);
  assert.equal(readFileSync(file, 'utf8'), OLD);
});

test('a file somebody else has changed stops the build', () => {
  writePatch(HUNKS);
  writeFileSync(file, `${OLD}// mine\n`);
  refuses(/neither as published nor as patched/);
});

test('a patch that gives something else than it promises changes nothing', () => {
  writePatch(HUNKS, 'something else');
  refuses(/does not give what its header promises/);
  assert.equal(readFileSync(file, 'utf8'), OLD);
});

test('a hunk with context is refused: it would carry foreign code', () => {
  writePatch('@@ -1,2 +1,2 @@\n one\n-two\n+2\n');
  refuses(/has context/);
});

test('the installed packages are patched', () => {
  const run = apply();
  assert.equal(run.status, 0, run.stderr);
  assert.match(run.stdout, /ssh2@1\.17\.0: 0 of 3 files changed/, 'run: node tools/apply-patches.ts');
});
