import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Startups } from './startups.ts';

const LIMIT = { start: 10, ratePercent: 30, full: 20 };

function fill(startups: Startups, count: number): void {
  while (startups.count < count) startups.enter();
}

test('below start nobody is refused, from full on everybody is', () => {
  const unlucky = new Startups(LIMIT, () => 0);
  for (let n = 0; n < 10; n++) assert.equal(unlucky.enter(), true);
  assert.equal(unlucky.enter(), false);
  const lucky = new Startups(LIMIT, () => 0.9999);
  fill(lucky, 20);
  assert.equal(lucky.enter(), false);
  lucky.left();
  assert.equal(lucky.enter(), true);
});

test('between them the chance of refusal rises in a straight line, as in sshd', () => {
  for (const [count, percent] of [
    [10, 30],
    [15, 65],
    [19, 93],
  ] as const) {
    let draw = 0.9999;
    const startups = new Startups(LIMIT, () => draw);
    fill(startups, count);
    draw = percent / 100 - 0.001;
    assert.equal(startups.enter(), false, `${count}: just inside ${percent} %`);
    draw = percent / 100 + 0.001;
    assert.equal(startups.enter(), true, `${count}: just outside ${percent} %`);
  }
});
