import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { TestTimes } from './test-times.ts';

test('files never seen come first, then the longest of the last run', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-times-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'not/yet/there.json');
  const first = new TestTimes(path);
  assert.deepEqual(first.longestFirst(['b', 'a']), ['a', 'b']);
  for (const [file, ms] of [
    ['quick', 10],
    ['slow', 900.4],
    ['middle', 50],
  ] as const)
    first.note(file, ms);
  first.save();
  const order = new TestTimes(path).longestFirst(['middle', 'new', 'quick', 'slow']);
  assert.deepEqual(order, ['new', 'slow', 'middle', 'quick']);
});

test('a record that is none is as good as no record', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-times-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const text of ['', '{"a": 1', 'null', '[3]', '{"a": "long"}']) {
    const path = join(folder, 'times.json');
    writeFileSync(path, text);
    assert.deepEqual(new TestTimes(path).longestFirst(['b', 'a']), ['a', 'b'], text);
  }
});
