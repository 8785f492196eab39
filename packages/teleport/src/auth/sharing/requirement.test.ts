import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joinModes } from '@sallyport/contracts/api/session-trackers.ts';
import fc from 'fast-check';
import type { Role } from '../role.ts';
import type { RequirePolicy } from './policies.ts';
import { type Present, requirementOf } from './requirement.ts';

const policy = (more: Partial<RequirePolicy> = {}): RequirePolicy => ({
  name: 'four eyes',
  filter: 'contains(user.spec.roles, "auditor")',
  kinds: ['ssh'],
  modes: ['moderator'],
  count: 1,
  onLeave: 'terminate',
  ...more,
});
const role = (name: string, ...policies: RequirePolicy[]): Role => ({
  name,
  allow: { logins: [], nodeLabels: {}, requireSessionJoin: policies },
  deny: { logins: [], nodeLabels: {} },
  options: {},
});
const somebody = (user: string, more: Partial<Present> = {}): Present => ({
  user,
  roles: ['auditor'],
  traits: {},
  mode: 'moderator',
  ...more,
});
const missing = (roles: Role[], ...present: Present[]) => requirementOf('bob', roles)?.missing(present) ?? [];

test('roles that ask for nobody are no requirement', () => {
  assert.equal(requirementOf('bob', []), undefined);
  assert.equal(requirementOf('bob', [role('plain')]), undefined);
});

test('somebody counts by filter and mode, and as one however often they joined', () => {
  const roles = [role('watched', policy({ count: 2 }))];
  assert.equal(missing(roles).length, 1);
  assert.equal(missing(roles, somebody('ana'), somebody('ana')).length, 1);
  assert.equal(missing(roles, somebody('ana'), somebody('eva', { mode: 'observer' })).length, 1);
  assert.equal(missing(roles, somebody('ana'), somebody('eva', { roles: ['dev'] })).length, 1);
  assert.equal(missing(roles, somebody('ana'), somebody('eva')).length, 0);
});

test('whoever some policy accepts counts, and the shortest limit of silence is everybody’s', () => {
  const roles = [
    role('a', policy({ modes: ['observer'], silenceLimitMs: 30_000 })),
    role('b', policy({ filter: 'contains(user.spec.roles, "security")', silenceLimitMs: 2_000 })),
  ];
  const requirement = requirementOf('bob', roles);
  assert.equal(requirement?.silenceLimitMs, 2_000);
  assert.equal(requirementOf('bob', [role('c', policy())])?.silenceLimitMs, 10_000);
  const counts = (user: string, more: Partial<Present>) => requirement?.counts(somebody(user, more));
  assert.equal(counts('ana', { mode: 'observer' }), true);
  assert.equal(counts('ana', { mode: 'moderator' }), false);
  assert.equal(counts('ana', { mode: 'moderator', roles: ['security'] }), true);
  assert.equal(counts('bob', { mode: 'observer' }), false, 'the owner');
});

test('the owner never counts, whatever their roles', () => {
  assert.equal(missing([role('watched', policy({ filter: 'equals("a","a")' }))], somebody('bob')).length, 1);
});

test('one policy of a role is enough, and every role asks', () => {
  const either = role('a', policy({ filter: 'equals(user.metadata.name, "ana")' }), policy({ modes: ['*'] }));
  assert.equal(missing([either], somebody('eva', { mode: 'peer' })).length, 0);
  const second = role('b', policy({ filter: 'contains(user.spec.roles, "security")' }));
  assert.deepEqual(
    missing([either, second], somebody('eva')).map((each) => each.role),
    ['b'],
  );
});

test('a role pauses only when all of its policies would', () => {
  assert.equal(missing([role('a', policy({ onLeave: 'pause' }))])[0]?.onLeave, 'pause');
  assert.equal(missing([role('a', policy({ onLeave: 'pause' }), policy())])[0]?.onLeave, 'terminate');
});

const policies = fc.array(
  fc.record({
    name: fc.constantFrom('one', 'two'),
    filter: fc.constantFrom('contains(user.spec.roles, "auditor")', '!equals(user.metadata.name, "ana")'),
    kinds: fc.constant(['ssh'] as const),
    modes: fc.array(fc.constantFrom(...joinModes, '*' as const), { minLength: 1, maxLength: 2 }),
    count: fc.integer({ min: 1, max: 3 }),
    onLeave: fc.constantFrom('pause' as const, 'terminate' as const),
  }),
  { maxLength: 3 },
);
const roles = fc
  .uniqueArray(fc.constantFrom('a', 'b', 'c'))
  .chain((names) => fc.tuple(...names.map((name) => policies.map((all) => role(name, ...all)))))
  .map((all) => [...all]);
const people = fc.array(
  fc.record({
    user: fc.constantFrom('ana', 'eva', 'bob', 'max'),
    roles: fc.subarray(['auditor', 'dev']),
    traits: fc.constant({}),
    mode: fc.constantFrom(...joinModes),
  }),
  { maxLength: 5 },
);

test('the order of roles, policies and people means nothing', () => {
  fc.assert(
    fc.property(roles, people, (asked, present) => {
      const backwards = asked
        .toReversed()
        .map((each) => role(each.name, ...(each.allow.requireSessionJoin ?? []).toReversed()));
      assert.deepEqual(missing(backwards, ...present.toReversed()), missing(asked, ...present));
    }),
  );
});

test('more people never make anybody missing, and one role more never makes anybody less so', () => {
  fc.assert(
    fc.property(roles, people, people, policies, (asked, present, more, policiesOfMore) => {
      const before = missing(asked, ...present).map((each) => each.role);
      const after = missing(asked, ...present, ...more).map((each) => each.role);
      assert.ok(after.every((name) => before.includes(name)));
      const stricter = missing([...asked, role('z', ...policiesOfMore)], ...present).map((each) => each.role);
      assert.ok(before.every((name) => stricter.includes(name)));
    }),
  );
});
