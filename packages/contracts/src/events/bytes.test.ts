import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeBase64,
  decodeUtf8,
  encodeBase64,
  encodeUtf8,
  fieldBytes,
  textField,
  textListField,
} from './bytes.ts';

const bytes = fc.uint8Array({ maxLength: 60 });
/** Bytes that are often nearly UTF-8: where decoders go wrong. */
const nearlyUtf8 = fc
  .array(
    fc.constantFrom(
      0x41,
      0x80,
      0xbf,
      0xc0,
      0xc2,
      0xe0,
      0xa0,
      0x9f,
      0xed,
      0xef,
      0xf0,
      0x90,
      0x8f,
      0xf4,
      0xf5,
      0xff,
    ),
    { maxLength: 12 },
  )
  .map((list) => Uint8Array.from(list));

describe('bytes in events', () => {
  it('are decoded as the platform decodes UTF-8, and validity is told', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          bytes,
          nearlyUtf8,
          fc.string({ unit: 'binary' }).map((s) => new TextEncoder().encode(s)),
        ),
        (input) => {
          const { text, valid } = decodeUtf8(input);
          assert.equal(text, new TextDecoder('utf-8', { ignoreBOM: true }).decode(input));
          let strict = true;
          try {
            new TextDecoder('utf-8', { fatal: true }).decode(input);
          } catch {
            strict = false;
          }
          assert.equal(valid, strict);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('are encoded as the platform encodes text and base64', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), bytes, (text, input) => {
        assert.deepEqual(encodeUtf8(text), new TextEncoder().encode(text));
        assert.equal(encodeBase64(input), Buffer.from(input).toString('base64'));
        assert.deepEqual(decodeBase64(encodeBase64(input)), input);
      }),
    );
  });

  it('come back exactly, whatever they are', () => {
    fc.assert(
      fc.property(fc.oneof(bytes, nearlyUtf8), (input) => {
        const field = textField('path', input);
        assert.deepEqual(fieldBytes(field.path, field.path_bytes), input);
      }),
    );
  });

  it('have a sibling only where the text would lie', () => {
    assert.deepEqual(textField('path', Buffer.from('/tmp/café')), { path: '/tmp/café' });
    assert.deepEqual(textField('path', Buffer.from('/tmp/caf\xff', 'latin1')), {
      path: '/tmp/caf\ufffd',
      path_bytes: 'L3RtcC9jYWb/',
    });
    // U+FFFD itself is valid UTF-8.
    assert.deepEqual(textField('path', Buffer.from('\ufffd')), { path: '\ufffd' });
  });

  it('of a list are given for all of it when one entry needs them', () => {
    assert.deepEqual(textListField('argv', [Buffer.from('-x'), Buffer.from([0xc3])]), {
      argv: ['-x', '\ufffd'],
      argv_bytes: ['LXg=', 'ww=='],
    });
    assert.deepEqual(textListField('argv', []), { argv: [] });
  });

  it('of a long argument do not overflow the stack', () => {
    const long = Buffer.alloc(500_000, 'a');
    assert.equal(decodeUtf8(long).text.length, 500_000);
  });
});
