import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { network } from './attempts.ts';
import { Challenges } from './challenge.ts';

test('an address counts for its network: one IPv4 address, one IPv6 customer', () => {
  const same = (...forms: string[]) => assert.equal(new Set(forms.map(network)).size, 1, forms.join(' '));
  same('192.0.2.1', '192.0.2.1:4711', '::ffff:192.0.2.1', '[::ffff:192.0.2.1]:22');
  same('2001:db8::1', '2001:db8:0:0:ffff::', '[2001:DB8::2]:99', '2001:0db8::3');
  same('fe80::1%eth0', 'fe80::2');
  assert.notEqual(network('2001:db8::1'), network('2001:db8:0:1::1'));
  assert.notEqual(network('192.0.2.1'), network('192.0.2.2'));
  assert.equal(network(''), 'unknown');
});

test('any text is some address', () => {
  fc.assert(fc.property(fc.string(), (text) => network(text).length > 0));
  fc.assert(
    fc.property(fc.ipV6(), (text) => network(text).endsWith('::/64') || !network(text).includes('::/64')),
  );
});

test('a challenge is good as it is, for what it was made for, and for nothing else', () => {
  const challenges = new Challenges(Buffer.alloc(32, 1), () => new Date(0));
  const other = new Challenges(Buffer.alloc(32, 2), () => new Date(0));
  const made = challenges.make({ purpose: 'join', ttlMs: 1 });
  assert.equal(challenges.check(made, 'join'), 'good');
  assert.equal(challenges.check(made, 'log-in'), 'foreign');
  assert.equal(other.check(made, 'join'), 'foreign');
  fc.assert(
    fc.property(fc.nat({ max: made.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bent = Buffer.from(made);
      bent[at] = (bent[at] ?? 0) ^ flip;
      assert.equal(challenges.check(bent, 'join'), 'foreign');
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      assert.equal(challenges.check(Buffer.from(bytes), 'join'), 'foreign');
    }),
  );
});
