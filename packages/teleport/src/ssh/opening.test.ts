import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import { OpeningFailed, type OpeningParts, openingSteps, openSession, type StepName } from './opening.ts';

/**
 * A double that behaves as the kernel does: each step needs what the steps before it made, and `go` looks at
 * what is in place at the moment of the exec. It knows nothing of the list under test.
 */
function tracingParts(failing: Partial<Record<StepName, AppError>> = {}) {
  const done: StepName[] = [];
  const violations: string[] = [];
  const needs: Record<StepName, readonly StepName[]> = {
    journal: [],
    cgroup: ['journal'], // a directory nobody promised to remove would stay for ever
    launcher: ['journal', 'cgroup'], // the leader is born in the cgroup
    watch: ['journal', 'cgroup', 'launcher'], // wants the cgroup id, the audit session id and the leader's pid
    announce: ['journal', 'cgroup', 'launcher', 'watch'], // session.start claims that the kernel watches
    hold: ['journal', 'cgroup', 'launcher', 'watch', 'announce'], // people join a session that the log knows
    go: ['journal', 'cgroup', 'launcher', 'watch', 'announce', 'hold'],
  };
  const step = (name: StepName) => async () => {
    if (failing[name]) throw failing[name];
    for (const need of needs[name]) if (!done.includes(need)) violations.push(`${name} before ${need}`);
    done.push(name);
  };
  const parts: OpeningParts = {
    journal: step('journal'),
    cgroup: step('cgroup'),
    launcher: step('launcher'),
    watch: step('watch'),
    announce: step('announce'),
    hold: step('hold'),
    go: step('go'),
  };
  return { parts, done, violations };
}

const strict = { recordSession: 'strict', degraded: () => assert.fail('nothing is degraded') } as const;

test('a session opens in the one order that leaves no command unseen', async () => {
  const { parts, done, violations } = tracingParts();
  await openSession(parts, strict);
  assert.deepEqual(violations, []);
  assert.deepEqual(done, ['journal', 'cgroup', 'launcher', 'watch', 'announce', 'hold', 'go']);
});

for (let first = 0; first < openingSteps.length; first++) {
  for (let second = first + 1; second < openingSteps.length; second++) {
    const swapped = [...openingSteps];
    [swapped[first], swapped[second]] = [swapped[second] as never, swapped[first] as never];
    const names = `${openingSteps[first]?.name} and ${openingSteps[second]?.name}`;
    test(`swapping ${names} is noticed`, async () => {
      const { parts, violations } = tracingParts();
      await openSession(parts, strict, swapped);
      assert.notDeepEqual(violations, []);
    });
  }
}

for (const { name } of openingSteps) {
  test(`when ${name} fails, a strict session does not start and nothing after it happens`, async () => {
    const { parts, done } = tracingParts({ [name]: new AppError('unavailable', 'x.y', 'not today') });
    await assert.rejects(
      openSession(parts, strict),
      (error) => error instanceof OpeningFailed && error.step === name && error.message === 'not today',
    );
    assert.equal(done.includes('go'), false);
    assert.equal(
      done.length,
      openingSteps.findIndex((step) => step.name === name),
    );
  });
}

test('best_effort goes on without the evidence, and says which step failed', async () => {
  const { parts, done } = tracingParts({ watch: new AppError('unavailable', 'x.y', 'no recorder') });
  const degraded: string[] = [];
  await openSession(parts, { recordSession: 'best_effort', degraded: (step) => degraded.push(step) });
  assert.deepEqual(degraded, ['watch']);
  assert.equal(done.at(-1), 'go');
});

test('best_effort does not start a session that has no leader', async () => {
  const { parts } = tracingParts({ launcher: new AppError('denied', 'x.y', 'PAM said no') });
  await assert.rejects(
    openSession(parts, { recordSession: 'best_effort', degraded: () => {} }),
    OpeningFailed,
  );
});
