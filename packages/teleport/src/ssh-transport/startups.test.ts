import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type StartupPlace, Startups } from './startups.ts';

const LIMIT = { start: 10, ratePercent: 30, full: 20 };
const PLENTY = { max: 1000 };

const startupsWith = (random: () => number) => new Startups(LIMIT, PLENTY, random);
const entered = (outcome: ReturnType<Startups['enter']>) => {
  assert.equal(typeof outcome, 'object', String(outcome));
  return outcome as StartupPlace;
};

function fill(startups: Startups, count: number): void {
  while (startups.count < count) startups.enter('192.0.2.1');
}

test('below start nobody is refused, from full on everybody is', () => {
  const unlucky = startupsWith(() => 0);
  for (let n = 0; n < 10; n++) entered(unlucky.enter('192.0.2.1'));
  assert.equal(unlucky.enter('192.0.2.1'), 'max-startups');
  const lucky = startupsWith(() => 0.9999);
  const place = entered(lucky.enter('192.0.2.1'));
  fill(lucky, 20);
  assert.equal(lucky.enter('192.0.2.1'), 'max-startups');
  place.leave();
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
  const place = entered(startups.enter('192.0.2.1'));
  entered(startups.enter('192.0.2.9'));
  for (let n = 0; n < 100; n++) assert.equal(startups.enter('192.0.2.77'), 'per-source-startups');
  assert.equal(startups.count, 2);
  entered(startups.enter('198.51.100.1'));
  place.leave();
  entered(startups.enter('192.0.2.77'));
  assert.equal(startups.enter('192.0.2.1'), 'per-source-startups');
});

test('who is moved counts at the new source only, and is refused where that has its share', () => {
  const startups = new Startups(LIMIT, { max: 2 }, () => 0);
  const [one, two] = [1, 2].map(() => entered(startups.enter('192.0.2.1')));
  assert.equal(one?.move('198.51.100.1'), undefined);
  entered(startups.enter('192.0.2.1'));
  entered(startups.enter('198.51.100.1'));
  assert.equal(two?.move('198.51.100.1'), 'per-source-startups');
  assert.equal(startups.count, 4);
  one?.leave();
  one?.leave();
  assert.equal(startups.count, 3);
  assert.equal(two?.move('198.51.100.1'), undefined);
});

test('on trial nobody takes a place; who passes is drawn like any other', () => {
  let draw = 0.9999;
  const startups = new Startups(LIMIT, { max: 1 }, () => draw);
  entered(startups.enter('192.0.2.1'));
  const trials = Array.from({ length: 4 }, () => entered(startups.enter('192.0.2.1', { relays: true })));
  assert.equal(startups.enter('192.0.2.1', { relays: true }), 'per-source-startups');
  assert.equal(startups.count, 1);
  assert.ok(trials.every(({ onTrial }) => onTrial));
  assert.equal(trials[0]?.move('192.0.2.1'), 'per-source-startups', 'the relay speaks for itself');
  assert.equal(trials[1]?.move('198.51.100.1'), undefined);
  assert.deepEqual([startups.count, trials[1]?.onTrial], [2, false]);
  for (let n = 10; startups.count < 12; n++) entered(startups.enter(`203.0.113.${n}`));
  draw = 0;
  assert.equal(trials[2]?.move('198.51.100.2'), 'max-startups');
  for (const trial of trials) trial.leave();
  assert.equal(startups.count, 11);
});
