import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serialize } from '@sallyport/contracts/events/event.ts';
import fc from 'fast-check';
import { commandEvent } from './event.fixture.ts';
import { eventFilter } from './event-filter.ts';
import { bitsOf, digestOf } from './text-digest.ts';

function admits(digest: Buffer, text: string): boolean {
  return bitsOf(text).every((bit) => {
    const at = bit % (8 * digest.length);
    return ((digest[at >> 3] ?? 0) & (1 << (at & 7))) !== 0;
  });
}

test('what a search would find in a line is never ruled out, whatever the letters', () => {
  const letter = fc.constantFrom('a', 'K', '\u212a', '\u0130', 'ß', '"', '\\', '/', ' ', '😀', '\0', 'é');
  const word = fc.string({ unit: letter, maxLength: 40 });
  const words = fc.array(word, { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(words, fc.nat(), fc.nat(), fc.boolean(), (argv, a, b, upper) => {
      const lines = argv.map((arg, ei) => serialize(commandEvent(ei, { argv: [arg] })));
      const whole = argv[a % argv.length] ?? '';
      const ends = [a % (whole.length + 1), b % (whole.length + 1)].sort((x, y) => x - y);
      const part = whole.slice(...ends);
      const text = upper ? part.toUpperCase() : part;
      const found = lines.some((line) => typeof eventFilter({ text })(line) === 'object');
      if (found) assert.ok(admits(digestOf(lines), text), JSON.stringify(text));
    }),
    { numRuns: 300 },
  );
});

test('a text that is in no line is nearly always ruled out', () => {
  const lines = Array.from({ length: 256 }, (_, n) => {
    const change = { uid: crypto.randomUUID(), sid: crypto.randomUUID(), path: `/srv/${n}/app-${n * 7919}` };
    return serialize(commandEvent(n, change));
  });
  const digest = digestOf(lines);
  assert.ok(digest.length <= 16_384, `${digest.length} bytes`);
  const absent = Array.from({ length: 1_000 }, (_, n) => `/opt/none-${n * 31}`);
  const kept = absent.filter((text) => admits(digest, text));
  assert.ok(kept.length < 20, `${kept.length} of 1000`);
});

test('of a text that is too short, or of other scripts, nothing is said', () => {
  for (const text of ['', 'abc', 'üüüüüü', 'ab\u0101cd']) assert.deepEqual(bitsOf(text), []);
});
