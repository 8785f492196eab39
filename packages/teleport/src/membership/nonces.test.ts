import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Nonces } from './nonces.ts';

const lifeMs = 1_000;

test('a nonce is taken once within its life, whenever that begins', () => {
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 900 }), fc.nat(9)), { maxLength: 200 });
  fc.assert(
    fc.property(steps, (taken) => {
      const nonces = new Nonces(lifeMs);
      const takenMs = new Map<number, number>();
      let nowMs = 1e12;
      for (const [passedMs, nonce] of taken) {
        nowMs += passedMs;
        const before = takenMs.get(nonce);
        const said = nonces.take(`${nonce}`, nowMs);
        if (before !== undefined && nowMs - before < lifeMs) assert.equal(said, 'seen');
        if (before === undefined || nowMs - before >= 3 * lifeMs) assert.equal(said, 'new');
        if (said === 'new') takenMs.set(nonce, nowMs);
      }
    }),
  );
});

test('too many in one life are refused, not remembered; the next life has room again', () => {
  const nonces = new Nonces(lifeMs);
  for (let n = 0; n < 100_000; n++) nonces.take(`${n}`, 0);
  assert.equal(nonces.take('one more', 0), 'full');
  assert.equal(nonces.take('7', 0), 'seen');
  assert.equal(nonces.take('one more', lifeMs), 'new');
  assert.equal(nonces.take('7', lifeMs), 'seen');
});
