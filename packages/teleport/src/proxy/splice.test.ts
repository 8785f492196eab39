import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { splice } from './splice.ts';

/** Two ends of a TCP connection. */
async function pair(): Promise<{ near: Socket; far: Socket }> {
  const server = createServer({ allowHalfOpen: true, noDelay: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const near = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  const [far] = (await once(server, 'connection')) as [Socket];
  server.close();
  return { near, far };
}

/** left ⇄ (spliced) ⇄ right */
async function joined(options?: Parameters<typeof splice>[2]) {
  const [one, two] = [await pair(), await pair()];
  return { left: one.near, right: two.near, result: splice(one.far, two.far, options) };
}

test('bytes cross both ways, and the end of one direction leaves the other open', async () => {
  const { left, right, result } = await joined();
  left.end('question');
  assert.equal(String(await buffer(right)), 'question');
  right.end('answer after the end of the question');
  assert.equal(String(await buffer(left)), 'answer after the end of the question');
  assert.deepEqual(await result, { bytesAToB: 8, bytesBToA: 36, reason: 'ended' });
});

test('whoever does not read is not buffered for', async () => {
  const { left, right, result } = await joined();
  right.pause();
  const piece = Buffer.alloc(65_536);
  let sent = 0;
  // Until the writer has been told to wait and nothing moved on for a while: kernel buffers are full then.
  for (let quiet = 0; quiet < 20; ) {
    if (left.writableLength < 1_000_000) {
      left.write(piece);
      sent += piece.length;
      quiet = 0;
    } else quiet++;
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.ok(sent < 64 * 2 ** 20, 'the splice swallowed 64 MiB nobody read');
  }
  left.end();
  assert.equal((await buffer(right)).length, sent);
  right.end();
  left.resume();
  assert.equal((await result).reason, 'ended');
});

test('a side that breaks takes the other along', async () => {
  const { left, right, result } = await joined();
  left.write('x');
  await once(right, 'data');
  left.resetAndDestroy();
  right.on('error', () => {});
  if (!right.readableEnded) await once(right, 'end');
  right.end();
  assert.equal((await result).reason, 'closed');
});

test('bytes sent just before closing arrive', async () => {
  const { left, right, result } = await joined();
  const last = Buffer.alloc(3_000_000, 7);
  left.end(last);
  left.resume();
  assert.equal((await buffer(right)).length, last.length);
  right.destroy();
  await result;
});

test('an idle splice ends when asked to, a busy one does not', async () => {
  const { left, right, result } = await joined({ idleMs: 50 });
  right.resume();
  const started = performance.now();
  while (performance.now() - started < 200) {
    left.write('.');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(left.destroyed, false);
  left.resume();
  assert.equal((await result).reason, 'idle');
});

test('a stream that is already gone ends the splice at once', async () => {
  const [one, two] = [await pair(), await pair()];
  one.far.destroy();
  await once(one.far, 'close');
  two.near.resume();
  const result = splice(one.far, two.far);
  two.near.end();
  assert.equal((await result).reason, 'closed');
});
