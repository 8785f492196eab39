import assert from 'node:assert/strict';
import { test } from 'node:test';
import { textField, textListField } from '@sallyport/contracts/events/event.ts';
import fc from 'fast-check';
import { kernelText, kernelTexts } from './kernel-text.ts';

const anyBytes = fc
  .oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.string({ unit: 'grapheme' }).map((text) => Buffer.from(text)),
  )
  .map((bytes) => Buffer.from(bytes));

test('any bytes become the same field as by hand', () => {
  fc.assert(
    fc.property(anyBytes, fc.array(anyBytes, { maxLength: 5 }), (bytes, list) => {
      assert.deepEqual(kernelText('path', bytes), textField('path', bytes));
      assert.deepEqual(kernelTexts('argv', list), textListField('argv', list));
    }),
  );
});
