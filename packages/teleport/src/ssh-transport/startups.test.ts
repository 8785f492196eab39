import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Startups } from './startups.ts';

const LIMIT = { start: 10, ratePercent: 30, full: 20 };
const PLENTY = { max: 1000 };

const startupsWith = (random: () => number) => new Startups(LIMIT, PLENTY, random);
const entered = (outcome: ReturnType<Startups['enter']>) => {
  assert.equal(typeof outcome, 'function', String(outcome));
  return outcome as () => void;
};

function fill(startups: Startups, count: number): void {
  while (startups.count < count) startups.enter('192.0.2.1');
}

test('below start nobody is refused, from full on everybody is', () => {
  const unlucky = startupsWith(() => 0);
  for (let n = 0; n < 10; n++) entered(unlucky.enter('192.0.2.1'));
  assert.equal(unlucky.enter('192.0.2.1'), 'max-startups');
  const lucky = startupsWith(() => 0.9999);
  const leave = entered(lucky.enter('192.0.2.1'));
  fill(lucky, 20);
  assert.equal(lucky.enter('192.0.2.1'), 'max-startups');
  leave();
  entered(lucky.enter('192.0.2.1'));
});

test('between them the chance of refusal rises in a straight line, as in sshd', () => {
  for (const [count, percent] of [
    [10, 30],
    [15, 65],
    [19, 93],
  ] as const) {
    let draw = 0.9999;
    const startups = startupsWith(() => draw);
    fill(startups, count);
    draw = percent / 100 - 0.001;
    assert.equal(startups.enter('192.0.2.1'), 'max-startups', `${count}: just inside ${percent} %`);
    draw = percent / 100 + 0.001;
    entered(startups.enter('192.0.2.1'));
  }
});

test('a source that has its share is refused without counting, others are not, and who leaves makes room', () => {
  const startups = new Startups(LIMIT, { max: 2, ipv4Bits: 24 }, () => 0);
  const leave = entered(startups.enter('192.0.2.1'));
  entered(startups.enter('192.0.2.9'));
  for (let n = 0; n < 100; n++) assert.equal(startups.enter('192.0.2.77'), 'per-source-startups');
  assert.equal(startups.count, 2);
  entered(startups.enter('198.51.100.1'));
  leave();
  entered(startups.enter('192.0.2.77'));
  assert.equal(startups.enter('192.0.2.1'), 'per-source-startups');
});
