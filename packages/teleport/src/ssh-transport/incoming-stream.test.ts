import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { IncomingStream } from './incoming-stream.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('every byte is read once and released once, whenever and however it is read', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(50_000), { maxLength: 30 }), fc.boolean(), async (sizes, early) => {
      let released = 0;
      const stream = new IncomingStream((bytes) => {
        released += bytes;
      });
      let read = 0;
      const count = () =>
        stream.on('data', (bytes: Buffer) => {
          read += bytes.length;
        });
      if (early) count();
      for (const size of sizes) {
        stream.receive(Buffer.alloc(size));
        if (size % 2) await turn();
      }
      stream.end();
      const ended = new Promise((resolve) => stream.once('end', resolve));
      if (!early) count();
      await ended;
      const total = sizes.reduce((sum, size) => sum + size, 0);
      assert.deepEqual([read, released], [total, total]);
    }),
    { numRuns: 60 },
  );
});

test('what nobody reads is not released, but for a little ahead', async () => {
  let released = 0;
  const stream = new IncomingStream((bytes) => {
    released += bytes;
  });
  stream.read(0); // a reader appears, and stops
  for (let n = 0; n < 64; n++) {
    stream.receive(Buffer.alloc(32 * 1024));
    await turn();
  }
  assert.ok(released <= 128 * 1024, `${released}`);
});

test('a reader that goes away lets the peer go on', () => {
  let released = 0;
  const stream = new IncomingStream((bytes) => {
    released += bytes;
  });
  stream.receive(Buffer.alloc(1000));
  stream.destroy();
  stream.receive(Buffer.alloc(500));
  stream.end();
  return turn().then(() => assert.equal(released, 1500));
});
