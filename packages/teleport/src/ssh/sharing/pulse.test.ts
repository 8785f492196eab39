import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Pulse } from './pulse.ts';

/** A line whose answers the test gives; time is the test's, too. */
async function withLine(
  limitMs: number,
  use: (line: {
    readonly told: string[];
    answer(count?: number): Promise<void>;
    pass(ms: number): Promise<void>;
    asked(): number;
    pulse: Pulse;
  }) => Promise<void>,
): Promise<void> {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const told: string[] = [];
  const waiting: ((ms: number | undefined) => void)[] = [];
  let asked = 0;
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const pulse = new Pulse({
    ping: () => {
      asked += 1;
      return new Promise((resolve) => waiting.push(resolve));
    },
    silent: (silent) => told.push(silent ? 'silent' : 'back'),
    dead: () => told.push('dead'),
    limitMs,
  });
  const pass = async (ms: number) => {
    for (let at = 0; at < ms; at += 50) {
      mock.timers.tick(50);
      await turn();
    }
  };
  const answer = async (count = 1) => {
    for (const resolve of waiting.splice(0, count)) resolve(1);
    await turn();
  };
  try {
    await use({ told, answer, pass, asked: () => asked, pulse });
  } finally {
    pulse.stop();
    mock.timers.reset();
  }
}

test('silence is told within a second, its end at once, and silence beyond the limit is the end, once', () =>
  withLine(10_000, async ({ told, answer, pass }) => {
    for (let n = 0; n < 5; n++) {
      await pass(450);
      await answer();
    }
    assert.deepEqual(told, [], 'slow answers are answers');
    await pass(700);
    assert.deepEqual(told, ['silent']);
    await pass(5_000);
    await answer();
    assert.deepEqual(told, ['silent', 'back']);
    await pass(9_900);
    assert.deepEqual(told, ['silent', 'back', 'silent']);
    await pass(200);
    await answer();
    await pass(60_000);
    assert.deepEqual(told, ['silent', 'back', 'silent', 'dead']);
  }));

test('a long delay is no silence: questions do not wait for answers', () =>
  withLine(10_000, async ({ told, answer, pass, asked }) => {
    await pass(400);
    // Each answer comes two seconds behind its question, but as often as is asked.
    for (let n = 0; n < 50; n++) {
      await answer();
      await pass(200);
    }
    assert.deepEqual(told, []);
    assert.ok(asked() >= 50);
  }));

test('a limit below what can be noticed makes silence the end at once', () =>
  withLine(0, async ({ told, pass }) => {
    await pass(700);
    assert.deepEqual(told, ['dead']);
  }));

test('nobody is asked without bound, and nobody after the end', () =>
  withLine(60_000, async ({ told, answer, pass, asked, pulse }) => {
    await pass(30_000);
    assert.equal(asked(), 16);
    await answer(16);
    assert.deepEqual(told, ['silent', 'back']);
    pulse.stop();
    await pass(60_000);
    assert.deepEqual([asked(), told.length], [16, 2]);
  }));
