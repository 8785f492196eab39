import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KernelClock } from './kernel-clock.ts';

const clock = new KernelClock(BigInt(Date.parse('2026-11-21T00:00:00Z')) * 1_000_000n);

test('kernel time is printed with all its nanoseconds', () => {
  assert.equal(clock.rfc3339Nanos(1n), '2026-11-21T00:00:00.000000001Z');
  assert.equal(clock.rfc3339Nanos(61_000_000_000n), '2026-11-21T00:01:01.000000000Z');
});

test('milliseconds are rounded down', () => {
  assert.equal(new Date(clock.wallMs(1_999_999n)).toISOString(), '2026-11-21T00:00:00.001Z');
});

test('a time is printed the same whatever was printed before it', () => {
  const times = [0n, 999_999_999n, 1_000_000_000n, 500_000n, 86_400_000_000_001n, 1_999_999n];
  for (const ktime of times) {
    const fresh = new KernelClock(BigInt(Date.parse('2026-11-21T00:00:00Z')) * 1_000_000n);
    assert.equal(clock.rfc3339Nanos(ktime), fresh.rfc3339Nanos(ktime));
    assert.equal(clock.rfc3339Millis(ktime), new Date(clock.wallMs(ktime)).toISOString());
  }
});
