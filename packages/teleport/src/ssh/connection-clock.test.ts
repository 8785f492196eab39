import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { ConnectionClock } from './connection-clock.ts';
import type { ConnectionLimits } from './grant.ts';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] }));
afterEach(() => mock.timers.reset());

function clock(limits: Partial<ConnectionLimits>, activity: () => number = () => 0) {
  const reasons: string[] = [];
  const options = { limits: { idleMs: undefined, until: undefined, ...limits }, activity };
  const running = new ConnectionClock({ ...options, due: (reason) => reasons.push(reason.message) });
  return { running, reasons };
}

test('ends a connection with its certificate, also one that lives longer than a timer can count', () => {
  const days = 40 * 86_400_000;
  const { reasons } = clock({ until: new Date(days) });
  mock.timers.tick(days - 1);
  assert.deepEqual(reasons, []);
  mock.timers.tick(1);
  assert.deepEqual(reasons, ['The certificate has expired.']);
});

test('ends a connection at once whose certificate is over already, and only once', () => {
  const { reasons } = clock({ until: new Date(0), idleMs: 10 });
  mock.timers.tick(1_000);
  assert.deepEqual(reasons, ['The certificate has expired.']);
});

test('never ends a connection without limits, nor one that was stopped', () => {
  const { reasons } = clock({});
  const stopped = clock({ until: new Date(1_000), idleMs: 1_000 });
  stopped.running.stop();
  mock.timers.tick(10_000_000);
  assert.deepEqual([reasons, stopped.reasons], [[], []]);
});
