import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { lossPolicies, recordedKinds } from '../ca/identity.ts';
import { allowedLogins, decideAccess } from './access.ts';
import { accessRole, type Role } from './role.ts';

const word = fc.constantFrom('root', 'ubuntu', 'www');
const selector = fc.dictionary(
  fc.constantFrom('env', 'team', '*'),
  fc.array(fc.constantFrom('prod', 'dev', '*'), { maxLength: 2 }),
  { maxKeys: 2 },
);
const conditions = fc.record({
  logins: fc.array(fc.oneof(word, fc.constant('{{internal.logins}}')), { maxLength: 3 }),
  nodeLabels: selector,
});
const options = fc.record(
  {
    enhancedRecording: fc.subarray([...recordedKinds]),
    lossPolicy: fc.constantFrom(...lossPolicies),
    recordSession: fc.constantFrom('best_effort' as const, 'strict' as const),
    maxSessionTtlMs: fc.integer({ min: 1, max: 1000 }),
  },
  { requiredKeys: [] },
);
const role: fc.Arbitrary<Role> = fc.record({
  name: fc.constantFrom('a', 'b', 'c'),
  allow: conditions,
  deny: conditions,
  options,
});
const roles = fc.array(role, { maxLength: 4 });
const traits = fc.record({ logins: fc.array(word, { maxLength: 2 }) });
const node = fc.record({
  labels: fc.dictionary(fc.constantFrom('env', 'team'), fc.constantFrom('prod', 'dev')),
});
const anything = { logins: [], nodeLabels: {} };

test('without roles there is no access', () => {
  fc.assert(
    fc.property(
      traits,
      word,
      node,
      (t, login, n) => !decideAccess({ roles: [], traits: t, login, node: n }).ok,
    ),
  );
});

test('the order of roles changes nothing', () => {
  fc.assert(
    fc.property(roles, traits, word, node, fc.nat(), (given, t, login, n, seed) => {
      const shuffled = given
        .map((each, i) => ({ each, key: (i * 7919 + seed) % 13 }))
        .sort((a, b) => a.key - b.key);
      const ask = (list: readonly Role[]) => decideAccess({ roles: list, traits: t, login, node: n });
      assert.deepEqual(ask(shuffled.map(({ each }) => each)), ask(given));
    }),
  );
});

test('a role that denies the login wins over whatever allows it', () => {
  fc.assert(
    fc.property(roles, traits, word, node, (given, t, login, n) => {
      const deny: Role = {
        name: 'deny',
        allow: anything,
        deny: { logins: [login], nodeLabels: {} },
        options: {},
      };
      return !decideAccess({ roles: [...given, accessRole, deny], traits: t, login, node: n }).ok;
    }),
  );
});

test('adding a role that only denies never opens anything', () => {
  fc.assert(
    fc.property(roles, conditions, traits, word, node, (given, denied, t, login, n) => {
      const ask = (list: readonly Role[]) => decideAccess({ roles: list, traits: t, login, node: n }).ok;
      const denier: Role = { name: 'd', allow: anything, deny: denied, options: {} };
      return !ask([...given, denier]) || ask(given);
    }),
  );
});

test('adding a role that denies nothing never closes anything', () => {
  fc.assert(
    fc.property(roles, conditions, traits, word, node, (given, allow, t, login, n) => {
      const ask = (list: readonly Role[]) => decideAccess({ roles: list, traits: t, login, node: n }).ok;
      return !ask(given) || ask([...given, { name: 'more', allow, deny: anything, options: {} }]);
    }),
  );
});

test('kinds are the union over all roles, command and network where none says', () => {
  fc.assert(
    fc.property(roles, traits, word, node, (given, t, login, n) => {
      const decision = decideAccess({ roles: given, traits: t, login, node: n });
      if (!decision.ok) return;
      const said = given.filter((each) => each.options.enhancedRecording !== undefined);
      const union = new Set(said.flatMap((each) => each.options.enhancedRecording ?? []));
      const expected =
        said.length === 0 ? ['command', 'network'] : recordedKinds.filter((kind) => union.has(kind));
      assert.deepEqual(decision.kinds, expected);
    }),
  );
});

test('the strictest recording option and the shortest life win', () => {
  const of = (...list: Role['options'][]) =>
    decideAccess({
      roles: list.map((each, i) => ({ ...accessRole, name: `r${i}`, options: each })),
      traits: { logins: ['root'] },
      login: 'root',
      node: { labels: {} },
    });
  const plain = of({});
  assert.ok(plain.ok);
  assert.deepEqual(
    [plain.lossPolicy, plain.recordSession, plain.maxSessionTtlMs],
    ['best_effort', 'strict', undefined],
  );
  const joined = of(
    { lossPolicy: 'throttle', recordSession: 'best_effort', maxSessionTtlMs: 9 },
    { lossPolicy: 'best_effort', maxSessionTtlMs: 5 },
  );
  assert.ok(joined.ok);
  assert.deepEqual(
    [joined.lossPolicy, joined.recordSession, joined.maxSessionTtlMs],
    ['throttle', 'best_effort', 5],
  );
  const strict = of(
    { lossPolicy: 'strict', recordSession: 'best_effort' },
    { lossPolicy: 'best_effort', recordSession: 'strict' },
  );
  assert.ok(strict.ok);
  assert.deepEqual([strict.lossPolicy, strict.recordSession], ['strict', 'strict']);
});

test('login and labels must be allowed by the same role', () => {
  const rootOnDev: Role = {
    name: 'dev',
    allow: { logins: ['root'], nodeLabels: { env: ['dev'] } },
    deny: anything,
    options: {},
  };
  const wwwOnProd: Role = {
    name: 'prod',
    allow: { logins: ['www'], nodeLabels: { env: ['prod'] } },
    deny: anything,
    options: {},
  };
  const ask = (login: string, env: string) =>
    decideAccess({ roles: [rootOnDev, wwwOnProd], traits: {}, login, node: { labels: { env } } });
  assert.equal(ask('root', 'dev').ok, true);
  assert.equal(ask('www', 'prod').ok, true);
  assert.deepEqual(ask('root', 'prod'), {
    ok: false,
    reason: 'no role allows login "root" on this node (roles: dev, prod)',
  });
  assert.deepEqual(ask('eve', 'dev'), { ok: false, reason: 'no role allows login "eve" (roles: dev, prod)' });
});

test('a star among the allowed logins or in a trait gives nothing', () => {
  const star: Role = {
    name: 'star',
    allow: { logins: ['*'], nodeLabels: { '*': ['*'] } },
    deny: anything,
    options: {},
  };
  for (const login of ['root', '*'])
    assert.equal(decideAccess({ roles: [star], traits: {}, login, node: { labels: {} } }).ok, false);
  assert.equal(
    decideAccess({ roles: [accessRole], traits: { logins: ['*'] }, login: '*', node: { labels: {} } }).ok,
    false,
  );
  assert.deepEqual(allowedLogins([star, accessRole], { logins: ['*', 'www'] }), ['www']);
});

test("every login a certificate carries is one some node's decision can grant", () => {
  fc.assert(
    fc.property(roles, traits, (given, t) => {
      for (const login of allowedLogins(given, t)) {
        assert.ok(
          given.some(
            (each) =>
              decideAccess({
                roles: [{ ...each, deny: anything, allow: { ...each.allow, nodeLabels: { '*': ['*'] } } }],
                traits: t,
                login,
                node: { labels: {} },
              }).ok,
          ),
        );
      }
    }),
  );
});
