import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startRecorder } from './start-recorder.ts';

let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'start-test-'));
});
after(() => rm(dir, { recursive: true }));

const options = (binary: string) => ({
  binary,
  socketPath: join(dir, 'recorder.sock'),
  spoolDir: join(dir, 'spool'),
  ringBytes: 4096,
  log: join(dir, 'recorder.log'),
});

test('a missing program is named, with how to build it', async () => {
  await assert.rejects(startRecorder(options(join(dir, 'nowhere'))), {
    name: 'RecorderError',
    code: 'recorder_missing',
    hint: /make/,
  });
});

test('a program that gives up is reported with its own last words, long before the deadline', async () => {
  const binary = join(dir, 'gives-up');
  await writeFile(binary, '#!/bin/sh\necho first >&2\necho "no BTF on this kernel" >&2\nexit 3\n', {
    mode: 0o700,
  });
  const started = performance.now();
  await assert.rejects(startRecorder(options(binary)), {
    code: 'recorder_failed',
    message: /exit 3.*no BTF on this kernel/s,
  });
  assert.ok(performance.now() - started < 10_000);
});

test('a program that never listens is given up at the deadline', async () => {
  const binary = join(dir, 'never-listens');
  await writeFile(binary, '#!/bin/sh\nsleep 1\n', { mode: 0o700 });
  await assert.rejects(startRecorder({ ...options(binary), deadlineMs: 100 }), {
    code: 'recorder_failed',
    message: /in time/,
  });
});

test('a socket path longer than the kernel takes is refused at once', async () => {
  const socketPath = join(dir, 'x'.repeat(120));
  await assert.rejects(startRecorder({ ...options('/bin/true'), socketPath }), {
    code: 'recorder_socket_path',
  });
});
