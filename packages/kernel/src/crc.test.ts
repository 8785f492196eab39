import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { crcOf } from './crc.ts';

test('the sum of any range is zlib’s', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 700 }), fc.nat(40), (bytes, from) => {
      const buffer = Buffer.from(bytes);
      const start = Math.min(from, buffer.length);
      assert.equal(crcOf(buffer, start, buffer.length), crc32(buffer.subarray(start)));
    }),
    { numRuns: 500 },
  );
});
