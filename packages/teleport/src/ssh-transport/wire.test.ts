import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteQueue } from './byte-queue.ts';
import { encode, fixedWidth, toMpint, WireReader } from './wire.ts';

test('what was encoded is read back, and nothing is left', () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(), fc.boolean(), fc.uint8Array(), (text, n, flag, bytes) => {
      const utf8 = Buffer.from(text).toString();
      const reader = new WireReader(encode({ byte: n & 255 }, utf8, { uint32: n }, flag, Buffer.from(bytes)));
      assert.deepEqual(
        [reader.byte(), reader.text(), reader.uint32(), reader.boolean()],
        [n & 255, utf8, n, flag],
      );
      assert.deepEqual(reader.string(), Buffer.from(bytes));
      assert.ok(reader.done);
    }),
  );
});

test('a reader of cut or random bytes never throws and never forgets', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 64 }),
      fc.array(fc.constantFrom('byte', 'uint32', 'string', 'text')),
      (bytes, reads) => {
        const reader = new WireReader(Buffer.from(bytes));
        let failed = false;
        for (const read of reads as ('byte' | 'uint32' | 'string' | 'text')[]) {
          reader[read]();
          if (failed) assert.equal(reader.ok, false);
          failed ||= !reader.ok;
        }
        assert.ok(reader.position <= bytes.length);
      },
    ),
  );
});

test('a number keeps its value as an mpint, and only fits where it fits', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (bytes) => {
      const padded = Buffer.concat([Buffer.alloc(40 - bytes.length), Buffer.from(bytes)]);
      assert.deepEqual(fixedWidth(toMpint(Buffer.from(bytes)), 40), padded);
    }),
  );
  assert.equal(fixedWidth(Buffer.from([1, 0]), 1), undefined);
  assert.equal(fixedWidth(Buffer.from([0x80]), 4), undefined, 'negative');
});

test('a byte queue gives back what it was given, in order, in few pieces', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 20_000 }), { maxLength: 20 }),
      fc.nat(20),
      (pieces, readsBetween) => {
        const queue = new ByteQueue();
        const out: Buffer[] = [];
        for (const piece of pieces) {
          queue.push(Buffer.from(piece));
          for (let n = readsBetween % 3; n > 0; n--) out.push(queue.shift() ?? Buffer.alloc(0));
        }
        for (let block = queue.shift(); block; block = queue.shift()) out.push(block);
        assert.deepEqual(Buffer.concat(out), Buffer.concat(pieces));
        assert.equal(queue.length, 0);
      },
    ),
  );
});

test('a million single bytes wait in some thirty buffers', () => {
  const queue = new ByteQueue();
  const byte = Buffer.from('x');
  for (let n = 0; n < 1_000_000; n++) queue.push(byte);
  let blocks = 0;
  while (queue.shift()) blocks++;
  assert.equal(blocks, Math.ceil(1_000_000 / 32_768));
});
