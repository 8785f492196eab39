import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addressKey, TokenBuckets } from './token-buckets.ts';

describe('TokenBuckets', () => {
  it('never gives more than the burst and what has dripped in since', () => {
    const steps = fc.array(fc.integer({ min: 0, max: 3_000 }), { maxLength: 200 });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 50 }),
        steps,
        (burst, perSecond, gaps) => {
          const buckets = new TokenBuckets({ burst, perSecond });
          let nowMs = 0;
          let taken = 0;
          for (const gap of gaps) {
            nowMs += gap;
            if (buckets.take('a', nowMs) === 0) taken++;
          }
          assert.ok(taken <= burst + (nowMs * perSecond) / 1000 + 1e-6);
        },
      ),
    );
  });

  it('says truly how long the next token takes', () => {
    const buckets = new TokenBuckets({ burst: 1, perSecond: 2 });
    assert.equal(buckets.take('a', 0), 0);
    assert.equal(buckets.take('a', 100), 400);
    assert.equal(buckets.take('a', 499), 1);
    assert.equal(buckets.take('a', 500), 0);
  });

  it('forgets who was quiet for longest when there are too many', () => {
    const buckets = new TokenBuckets({ burst: 1, perSecond: 0.001 }, 3);
    for (const key of ['a', 'b', 'c']) buckets.take(key, 0);
    buckets.take('a', 1);
    buckets.take('d', 2); // b goes
    assert.notEqual(buckets.take('a', 3), 0);
    assert.equal(buckets.take('b', 4), 0);
  });

  it('counts a /64 as one address, and IPv4 in IPv6 form as IPv4', () => {
    assert.equal(addressKey('::ffff:192.0.2.1'), '192.0.2.1');
    assert.equal(addressKey('2001:db8::1'), addressKey('2001:0DB8:0:0:ffff::2%eth0'));
    assert.notEqual(addressKey('2001:db8:0:1::1'), addressKey('2001:db8::1'));
    assert.equal(addressKey('::1'), '0:0:0:0');
    assert.equal(addressKey('fe80::1:2:3:4:5'), 'fe80:0:0:1');
    assert.equal(addressKey(''), '');
  });
});
