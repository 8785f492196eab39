import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { constants, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { BulkBuffers, giveBack } from './bulk-buffers.ts';
import { HostOutput } from './host-output.ts';

/** What `script` writes to its standard output, which is a real pipe. */
function outputOf(t: TestContext, script: string, files: Readonly<Record<string, Buffer>> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-pipe-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const child = spawn('/bin/sh', ['-c', `exec > pipe; ${script}`], { cwd: folder, stdio: 'ignore' });
  const exited = new Promise<string>((done) =>
    child.once('exit', (code, signal) => done(signal ?? `exit ${code}`)),
  );
  const output = HostOutput.ofPipe(openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK));
  t.after(() => output.destroy());
  return { output, exited };
}

const bulk = 256 * 1024;
const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

test('a program’s output arrives whole, small pieces and bulk in any order', async (t) => {
  const [large, small] = [randomBytes(9_000_001), randomBytes(777)];
  const { output } = outputOf(t, 'cat small; sleep 0.1; cat large; sleep 0.1; cat small large small', {
    large,
    small,
  });
  const chunks: Buffer[] = [];
  for await (const chunk of output as AsyncIterable<Buffer>) {
    chunks.push(Buffer.from(chunk));
    giveBack(chunk);
  }
  assert.equal(digest(Buffer.concat(chunks)), digest(Buffer.concat([small, large, small, large, small])));
  assert.ok(
    chunks.some(({ length }) => length > 32 * 1024 && length <= bulk),
    'bulk is read in bulk',
  );
});

test('chunks that are kept stay as they are, however much follows', async (t) => {
  const large = randomBytes(5_000_000);
  const { output } = outputOf(t, 'cat large', { large });
  const chunks: Buffer[] = [];
  for await (const chunk of output as AsyncIterable<Buffer>) chunks.push(chunk);
  assert.equal(digest(Buffer.concat(chunks)), digest(large));
});

test('a reader that waits stops the program', async (t) => {
  const { output, exited } = outputOf(t, 'head -c 50000000 /dev/zero');
  const [first] = await Array.fromAsync(take(output, 1));
  assert.ok(first);
  assert.equal(await Promise.race([exited, delay(300, 'it waits')]), 'it waits');
  assert.ok(output.readableLength <= 2, `${output.readableLength} chunks wait here`);
});

test('who stops reading lets the program know', async (t) => {
  const { output, exited } = outputOf(t, 'exec cat /dev/zero');
  await Array.fromAsync(take(output, 4));
  output.destroy();
  assert.equal(await exited, 'SIGPIPE');
});

test('a buffer given back is used again, once, and by nobody else', () => {
  const [ours, theirs] = [new BulkBuffers(bulk), new BulkBuffers(bulk)];
  const one = ours.take();
  giveBack(Buffer.alloc(bulk));
  assert.deepEqual([ours.kept, theirs.kept], [0, 0]);
  giveBack(one.subarray(5, 10));
  giveBack(one);
  assert.deepEqual([ours.kept, theirs.kept], [1, 0]);
  assert.notEqual(theirs.take().buffer, one.buffer);
  const again = ours.take();
  assert.equal(again.buffer, one.buffer);
  assert.equal(again.length, bulk);
  assert.notEqual(ours.take().buffer, one.buffer);
});

test('no more buffers are kept than can be of use', () => {
  const buffers = new BulkBuffers(bulk);
  for (const buffer of Array.from({ length: 100 }, () => buffers.take())) giveBack(buffer);
  assert.ok(buffers.kept * bulk <= 2 * 2 ** 20);
});

async function* take(output: HostOutput, count: number): AsyncGenerator<Buffer> {
  for (let left = count; left > 0; left--) {
    for (let chunk = output.read() as Buffer | null; ; chunk = output.read() as Buffer | null) {
      if (chunk !== null) {
        yield chunk;
        break;
      }
      await new Promise((done) => output.once('readable', done));
    }
  }
}
