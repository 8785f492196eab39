import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Pulse } from './pulse.ts';

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('silence is told within a second, its end at once, and long silence is the end', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const told: string[] = [];
    let answer = () => {};
    const pulse = new Pulse({
      ping: () =>
        new Promise((resolve) => {
          answer = () => resolve(1);
        }),
      silent: (silent) => told.push(silent ? 'silent' : 'back'),
      dead: () => told.push('dead'),
    });
    for (let n = 0; n < 5; n++) {
      mock.timers.tick(400);
      answer();
      await settled();
      mock.timers.tick(200);
      await settled();
    }
    assert.deepEqual(told, [], 'slow answers are answers');
    mock.timers.tick(500);
    assert.deepEqual(told, ['silent']);
    mock.timers.tick(5_000);
    answer();
    await settled();
    assert.deepEqual(told, ['silent', 'back']);
    mock.timers.tick(200);
    await settled();
    mock.timers.tick(10_000);
    assert.deepEqual(told, ['silent', 'back', 'silent', 'dead']);
    pulse.stop();
    answer();
    await settled();
    mock.timers.tick(60_000);
    assert.equal(told.length, 4);
  } finally {
    mock.timers.reset();
  }
});
