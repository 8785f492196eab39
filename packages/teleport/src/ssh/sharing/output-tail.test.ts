import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { OutputTail } from './output-tail.ts';

const limit = 32 * 1024;

test('what fits is kept whole', () => {
  const tail = new OutputTail();
  assert.equal(tail.snapshot().length, 0);
  for (const text of ['a', 'bc\n', 'd'.repeat(5_000)]) tail.push(Buffer.from(text));
  assert.equal(tail.snapshot().toString(), `abc\n${'d'.repeat(5_000)}`);
});

test('of more than it holds the last is kept, from the beginning of a line', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 20 }), (sizes) => {
      const tail = new OutputTail();
      let all = '';
      for (const [index, size] of sizes.entries()) {
        const text = `${String.fromCharCode(97 + (index % 26)).repeat(size)}\n`;
        tail.push(Buffer.from(text));
        all += text;
      }
      const kept = tail.snapshot().toString();
      const end = all.slice(-limit);
      assert.equal(kept, all.length < limit ? all : end.slice(end.indexOf('\n') + 1));
    }),
  );
});

test('a screen that was cleared begins there', () => {
  const tail = new OutputTail();
  tail.push(Buffer.from('shell\r\n\x1b[?1049hvim \x1b[2J\x1b[Hscreen'));
  assert.equal(tail.snapshot().toString(), '\x1b[2J\x1b[Hscreen');
});
