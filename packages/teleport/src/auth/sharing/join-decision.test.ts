import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type JoinMode, joinModes } from '@sallyport/contracts/api/session-trackers.ts';
import fc from 'fast-check';
import type { Role, RoleConditions } from '../role.ts';
import { decideJoin, joinableModes } from './join-decision.ts';
import type { JoinPolicy } from './policies.ts';

const nothing: RoleConditions = { logins: [], nodeLabels: {} };
const policy = (roles: string[], modes: (JoinMode | '*')[]): JoinPolicy => ({
  name: 'p',
  roles,
  kinds: ['ssh'],
  modes,
});
const role = (name: string, allow: JoinPolicy[] = [], deny: JoinPolicy[] = []): Role => ({
  name,
  allow: { ...nothing, joinSessions: allow },
  deny: { ...nothing, joinSessions: deny },
  options: {},
});
const ofBob = (...ownerRoles: string[]) => ({ owner: 'bob', ownerRoles });
const ask = (roles: Role[], mode: JoinMode, session = ofBob('dev'), user = 'ana') =>
  decideJoin({ user, roles, session }, mode);

test('nobody joins without a role that says so', () => {
  assert.equal(ask([], 'observer').ok, false);
  const verdict = ask([role('plain')], 'observer');
  assert.match(
    verdict.ok ? '' : verdict.reason,
    /no role allows to join as observer .* dev \(roles: plain\)/,
  );
});

test('a role gives the modes it names, for sessions of the roles it names', () => {
  const roles = [role('helper', [policy(['dev'], ['peer'])])];
  assert.equal(ask(roles, 'peer').ok, true);
  assert.equal(ask(roles, 'observer').ok, false);
  assert.equal(ask(roles, 'peer', ofBob('ops')).ok, false);
  assert.equal(ask(roles, 'peer', ofBob()).ok, false);
});

test('* stands for every mode, and in a role’s name for any text', () => {
  assert.deepEqual(
    joinableModes({ user: 'ana', roles: [role('x', [policy(['*'], ['*'])])], session: ofBob('dev') }),
    [...joinModes],
  );
  const named = (pattern: string, owner: string) =>
    ask([role('x', [policy([pattern], ['*'])])], 'peer', ofBob(owner)).ok;
  assert.equal(named('dev-*', 'dev-eu'), true);
  assert.equal(named('*-eu', 'dev-eu'), true);
  assert.equal(named('d*-e*', 'dev-eu'), true);
  assert.equal(named('dev-*', 'dev'), false);
  assert.equal(named('a*a', 'a'), false);
  assert.equal(named('d.v', 'dev'), false);
});

test('one’s own session may be seen and typed into, and moderated by a role only', () => {
  assert.equal(ask([], 'peer', ofBob('dev'), 'bob').ok, true);
  assert.equal(ask([], 'moderator', ofBob('dev'), 'bob').ok, false);
  assert.equal(ask([role('no', [], [policy(['dev'], ['peer'])])], 'peer', ofBob('dev'), 'bob').ok, false);
});

const names = fc.constantFrom('dev', 'ops', 'dev-eu');
const policies = fc.array(
  fc.record({
    name: fc.constant('p'),
    roles: fc.array(fc.constantFrom('dev', 'ops', '*', 'dev*'), { minLength: 1, maxLength: 2 }),
    kinds: fc.constant(['ssh'] as const),
    modes: fc.array(fc.constantFrom(...joinModes, '*' as const), { minLength: 1, maxLength: 2 }),
  }),
  { maxLength: 3 },
);
const someRoles = fc.array(
  fc.record({ allow: policies, deny: policies }).map(({ allow, deny }) => role('r', allow, deny)),
  { maxLength: 4 },
);
const questions = fc.record({
  user: fc.constantFrom('ana', 'bob'),
  roles: someRoles,
  session: fc.array(names, { maxLength: 3 }).map((ownerRoles) => ofBob(...ownerRoles)),
});

test('the order of roles and policies means nothing', () => {
  fc.assert(
    fc.property(questions, (question) => {
      const backwards = question.roles.toReversed().map((each) => ({
        ...each,
        allow: { ...each.allow, joinSessions: each.allow.joinSessions?.toReversed() },
        deny: { ...each.deny, joinSessions: each.deny.joinSessions?.toReversed() },
      }));
      assert.deepEqual(joinableModes({ ...question, roles: backwards }), joinableModes(question));
    }),
  );
});

test('deny wins: a role that denies a mode takes it, whatever the others allow', () => {
  fc.assert(
    fc.property(questions, fc.constantFrom(...joinModes), (question, mode) => {
      const deny = role('deny', [], [policy(['*'], [mode])]);
      const session = ofBob('dev', ...question.session.ownerRoles);
      const modes = joinableModes({ ...question, session, roles: [...question.roles, deny] });
      assert.equal(modes.includes(mode), false);
    }),
  );
});

test('more roles that deny nothing never take a mode away', () => {
  fc.assert(
    fc.property(questions, policies, (question, more) => {
      const before = joinableModes(question);
      const after = joinableModes({ ...question, roles: [...question.roles, role('more', more)] });
      assert.ok(before.every((mode) => after.includes(mode)));
    }),
  );
});
