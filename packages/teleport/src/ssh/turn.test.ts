import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turn } from './turn.ts';

/** Work that goes on until it is told to end. */
function held(log: string[], name: string) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const work = async () => {
    log.push(`${name} begins`);
    await promise;
    log.push(`${name} ends`);
  };
  return { work, end: resolve };
}

test('one has the turn at a time, and they have it in the order they came', async () => {
  const log: string[] = [];
  const turn = new Turn();
  const works = ['a', 'b', 'c'].map((name) => held(log, name));
  const done = works.map(({ work }) => turn.run(work));
  for (const { end } of works.toReversed()) end(); // who is ready first does not matter
  await Promise.all(done);
  assert.deepEqual(log, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
});

test('work that fails hands the turn on', async () => {
  const turn = new Turn();
  await assert.rejects(turn.run(() => Promise.reject(new Error('no'))));
  assert.equal(await turn.run(async () => 'next'), 'next');
});

test('whoever gives up waiting is left out, and nobody behind it waits for ever', async () => {
  const log: string[] = [];
  const turn = new Turn();
  const first = held(log, 'first');
  const stop = new AbortController();
  const running = turn.run(first.work);
  const givenUp = turn.run(async () => assert.fail('it gave up'), stop.signal);
  const last = turn.run(async () => log.push('last'));
  stop.abort(new Error('stopped'));
  await assert.rejects(givenUp, /stopped/);
  first.end();
  await Promise.all([running, last]);
  assert.deepEqual(log, ['first begins', 'first ends', 'last']);
  await assert.rejects(
    turn.run(async () => {}, stop.signal),
    /stopped/,
  );
});
