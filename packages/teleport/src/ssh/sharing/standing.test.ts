import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Missing, Moderation, Present } from './sharing.ts';
import { firstStanding, nextStanding, type Standing, type StandingState, stepBetween } from './standing.ts';

const somebody = (user: string, mode: Present['mode'] = 'moderator'): Present => ({
  user,
  mode,
  roles: [],
  traits: {},
});

/** So many moderators for the first role; for the second, one observer. */
function demands(count: number, first: Missing['onLeave'], second?: Missing['onLeave']): Moderation {
  const lacks = (present: readonly Present[], mode: Present['mode'], least: number) =>
    new Set(present.filter((each) => each.mode === mode).map(({ user }) => user)).size < least;
  return {
    counts: () => true,
    silenceLimitMs: 10_000,
    missing: (present) => [
      ...(lacks(present, 'moderator', count) ? [{ role: 'a', needs: 'm', onLeave: first }] : []),
      ...(second && lacks(present, 'observer', 1) ? [{ role: 'b', needs: 'o', onLeave: second }] : []),
    ],
  };
}

const max = somebody('max');
const mona = somebody('mona');

/** Who is there, then who of them answers. */
type Scene = readonly [present: readonly Present[], answering?: readonly Present[]];

function play(moderation: Moderation | undefined, ...scenes: Scene[]): StandingState[] {
  let standing = firstStanding(moderation);
  const states = [standing.state];
  for (const [present, answering = present] of scenes) {
    standing = nextStanding(standing, moderation, { present, answering });
    states.push(standing.state);
  }
  return states;
}

test('a session that needs nobody runs, whoever is there', () => {
  assert.deepEqual(play(undefined, [[max]], [[max], []], [[]]), ['running', 'running', 'running', 'running']);
});

test('a held session begins with those it needs, and with nobody who says nothing', () => {
  const two = demands(2, 'pause');
  const scenes: Scene[] = [[[max]], [[max, mona], [max]], [[max, max]], [[max, mona]]];
  assert.deepEqual(play(two, ...scenes), ['pending', 'pending', 'pending', 'pending', 'running']);
});

test('silence suspends whatever the roles say, leaving is what they say, and nothing comes after the end', () => {
  const there: Scene = [[max]];
  const silent: Scene = [[max], []];
  const gone: Scene = [[]];
  assert.deepEqual(play(demands(1, 'pause'), there, silent, gone, there).slice(1), [
    'running',
    'suspended',
    'paused',
    'running',
  ]);
  assert.deepEqual(play(demands(1, 'terminate'), there, silent, there, silent, gone, there).slice(1), [
    'running',
    'suspended',
    'running',
    'suspended',
    'over',
    'over',
  ]);
});

test('of two that are needed one that leaves counts, and the strictest role that lacks somebody decides', () => {
  assert.equal(play(demands(2, 'terminate'), [[max, mona]], [[mona]]).at(-1), 'over');
  const both = demands(1, 'pause', 'terminate');
  const eve = somebody('eve', 'observer');
  assert.equal(play(both, [[max, eve]], [[eve]]).at(-1), 'paused');
  assert.equal(play(both, [[max, eve]], [[eve]], [[]]).at(-1), 'over');
  assert.equal(play(both, [[max, eve]], [[max]]).at(-1), 'over');
});

const person = fc.constantFrom(max, mona, somebody('eve', 'observer'));
const scene = fc
  .uniqueArray(person, { maxLength: 3 })
  .chain((present) => fc.subarray(present).map((answering) => ({ present, answering })));
const onLeave = fc.constantFrom('pause' as const, 'terminate' as const);
const moderation = fc
  .tuple(fc.integer({ min: 1, max: 2 }), onLeave, fc.option(onLeave, { nil: undefined }))
  .map(([count, first, second]) => demands(count, first, second));

test('whatever happens, it runs exactly while those it needs answer, and its steps keep what runs in line with it', () => {
  fc.assert(
    fc.property(moderation, fc.array(scene, { maxLength: 30 }), (asked, scenes) => {
      let standing: Standing = firstStanding(asked);
      let moves = false;
      let ended = false;
      for (const each of scenes) {
        const after = nextStanding(standing, asked, each);
        const step = stepBetween(standing, after);
        if (step === 'begin' || step === 'go') moves = true;
        if (step === 'stop' || step === 'end') moves = false;
        ended ||= step === 'end';
        standing = after;
        assert.equal(moves, after.state === 'running');
        assert.equal(moves, !ended && asked.missing(each.answering).length === 0);
        assert.equal(ended, after.state === 'over');
      }
    }),
  );
});
