import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Lock, lockOn, lockTargets } from '@sallyport/contracts/api/lock.ts';
import fc from 'fast-check';
import { lossPolicies, recordedKinds } from '../ca/identity.ts';
import { type AccessQuestion, allowedLogins, decideAccess } from './access.ts';
import { decideRule } from './access-rules.ts';
import { presetRoles } from './preset-roles.ts';
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
const now = new Date('2026-03-01T12:00:00Z');
const decide = (question: Omit<AccessQuestion, 'user' | 'locks' | 'now'> & Partial<AccessQuestion>) =>
  decideAccess({ user: 'ana', locks: [], now, ...question });
const rule = fc.record({
  resources: fc.array(fc.constantFrom('user' as const, 'node' as const, '*' as const), {
    minLength: 1,
    maxLength: 2,
  }),
  verbs: fc.array(fc.constantFrom('read' as const, 'create' as const, '*' as const), {
    minLength: 1,
    maxLength: 2,
  }),
});
const ruled = fc.record({
  logins: fc.constant([]),
  nodeLabels: fc.constant({}),
  rules: fc.array(rule, { maxLength: 2 }),
});
const ruledRoles = fc.array(
  fc.record({ name: fc.constantFrom('a', 'b', 'c'), allow: ruled, deny: ruled, options: fc.constant({}) }),
  { maxLength: 3 },
);
const resource = fc.constantFrom('user' as const, 'node' as const, 'event' as const);
const verb = fc.constantFrom('read' as const, 'create' as const, 'delete' as const);
const lock: fc.Arbitrary<Lock> = fc.record({
  name: fc.constantFrom('l1', 'l2', 'l3'),
  target: fc.record({
    kind: fc.constantFrom(...lockTargets),
    value: fc.constantFrom('ana', 'a', 'root', 'web-1', 'x'),
  }),
  expires: fc.constantFrom(undefined, new Date(now.getTime() + 1), now, new Date(0)),
});
const anything = { logins: [], nodeLabels: {} };

test('without roles there is no access', () => {
  fc.assert(
    fc.property(traits, word, node, (t, login, n) => !decide({ roles: [], traits: t, login, node: n }).ok),
  );
});

test('the order of roles changes nothing', () => {
  fc.assert(
    fc.property(roles, traits, word, node, fc.nat(), (given, t, login, n, seed) => {
      const shuffled = given
        .map((each, i) => ({ each, key: (i * 7919 + seed) % 13 }))
        .sort((a, b) => a.key - b.key);
      const ask = (list: readonly Role[]) => decide({ roles: list, traits: t, login, node: n });
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
      return !decide({ roles: [...given, accessRole, deny], traits: t, login, node: n }).ok;
    }),
  );
});

test('adding a role that only denies never opens anything', () => {
  fc.assert(
    fc.property(roles, conditions, traits, word, node, (given, denied, t, login, n) => {
      const ask = (list: readonly Role[]) => decide({ roles: list, traits: t, login, node: n }).ok;
      const denier: Role = { name: 'd', allow: anything, deny: denied, options: {} };
      return !ask([...given, denier]) || ask(given);
    }),
  );
});

test('adding a role that denies nothing never closes anything', () => {
  fc.assert(
    fc.property(roles, conditions, traits, word, node, (given, allow, t, login, n) => {
      const ask = (list: readonly Role[]) => decide({ roles: list, traits: t, login, node: n }).ok;
      return !ask(given) || ask([...given, { name: 'more', allow, deny: anything, options: {} }]);
    }),
  );
});

test('kinds are the union over all roles, command and network where none says', () => {
  fc.assert(
    fc.property(roles, traits, word, node, (given, t, login, n) => {
      const decision = decide({ roles: given, traits: t, login, node: n });
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
    decide({
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
    decide({ roles: [rootOnDev, wwwOnProd], traits: {}, login, node: { labels: { env } } });
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
    assert.equal(decide({ roles: [star], traits: {}, login, node: { labels: {} } }).ok, false);
  assert.equal(
    decide({ roles: [accessRole], traits: { logins: ['*'] }, login: '*', node: { labels: {} } }).ok,
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
              decide({
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

test('a lock only ever closes, whatever the roles say, and only while it is in force', () => {
  fc.assert(
    fc.property(roles, traits, word, node, fc.array(lock, { maxLength: 3 }), (given, t, login, n, locks) => {
      const question = { roles: given, traits: t, login, node: { ...n, hostname: 'web-1' } };
      const free = decide(question);
      const held = decide({ ...question, locks });
      const standing = locks.filter(({ expires }) => expires === undefined || expires > now);
      const subject = { user: 'ana', roles: given.map(({ name }) => name), login, hostname: 'web-1' };
      const hit = lockOn(subject, standing, now);
      if (hit === undefined) assert.deepEqual(held, free);
      else assert.deepEqual([held.ok, 'reason' in held && held.reason.includes('is locked')], [false, true]);
    }),
  );
});

test('each kind of lock stops exactly those it names', () => {
  const question = {
    roles: [accessRole],
    traits: { logins: ['root'] },
    login: 'root',
    node: { labels: {}, hostUuid: 'u-1', hostname: 'web-1' },
    mfaDevice: 'd-1',
  };
  const ask = (kind: Lock['target']['kind'], value: string, message?: string) =>
    decide({ ...question, locks: [{ name: 'l', target: { kind, value }, message }] });
  for (const [kind, value] of [
    ['user', 'ana'],
    ['role', 'access'],
    ['login', 'root'],
    ['node', 'u-1'],
    ['node', 'web-1'],
    ['mfa_device', 'd-1'],
  ] as const) {
    assert.deepEqual(ask(kind, value, 'go home'), {
      ok: false,
      reason: `${kind} "${value}" is locked: go home`,
    });
    assert.equal(ask(kind, `${value}x`).ok, true);
  }
});

test('a lock on old certificates leaves those made since, and hits those of which nobody knows the age', () => {
  const issuedBefore = new Date('2026-03-01T12:00:00Z');
  const locks: Lock[] = [{ name: 'l', target: { kind: 'user', value: 'ana' }, issuedBefore }];
  const question = { roles: [accessRole], traits: { logins: ['root'] }, login: 'root', node: { labels: {} } };
  const ask = (issued: Date | undefined) => decide({ ...question, locks, issued }).ok;
  assert.equal(ask(new Date(issuedBefore.getTime() - 1)), false);
  assert.equal(ask(issuedBefore), true);
  assert.equal(ask(undefined), false);
});

test('rules: no role, no right; deny wins; order never matters; another deny never grants', () => {
  fc.assert(
    fc.property(ruledRoles, ruled, resource, verb, (given, denied, what, how) => {
      const ask = (list: readonly Role[]) => decideRule(list, what, how).ok;
      assert.equal(ask([]), false);
      assert.equal(ask([...given].reverse()), ask(given));
      assert.ok(ask(given) || !ask([...given, { name: 'd', allow: anything, deny: denied, options: {} }]));
      const denyIt: Role = {
        name: 'd',
        allow: anything,
        deny: { ...anything, rules: [{ resources: [what], verbs: [how] }] },
        options: {},
      };
      assert.equal(ask([...presetRoles, ...given, denyIt]), false);
    }),
  );
});

test('of the preset roles access gives no rights, editor administers, auditor looks', () => {
  const may = (
    name: string,
    ...[what, how]: [Parameters<typeof decideRule>[1], Parameters<typeof decideRule>[2]]
  ) =>
    decideRule(
      presetRoles.filter((each) => each.name === name),
      what,
      how,
    );
  assert.deepEqual(may('access', 'user', 'list'), {
    ok: false,
    reason: 'no role allows to list user (roles: access)',
  });
  assert.equal(may('editor', 'user', 'update').ok, true);
  assert.equal(may('editor', 'event', 'list').ok, false);
  assert.equal(may('auditor', 'event', 'list').ok, true);
  assert.equal(may('auditor', 'role', 'create').ok, false);
});

test('what is off by default needs one role, what is on by default one that forbids it; limits join to the smallest', () => {
  const of = (...list: Role['options'][]) =>
    decide({
      roles: list.map((each, i) => ({ ...accessRole, name: `r${i}`, options: each })),
      traits: { logins: ['root'] },
      login: 'root',
      node: { labels: {} },
    });
  const pick = (decision: ReturnType<typeof of>) => {
    assert.ok(decision.ok);
    const { maxSessions, clientIdleTimeoutMs, disconnectExpiredCert } = decision;
    const { forwardAgent, x11Forwarding, sshFileCopy, portForwarding } = decision;
    const flags = [portForwarding, forwardAgent, x11Forwarding, sshFileCopy];
    return [maxSessions, clientIdleTimeoutMs, disconnectExpiredCert, ...flags];
  };
  assert.deepEqual(pick(of({})), [undefined, undefined, undefined, false, false, false, true]);
  assert.deepEqual(
    pick(
      of(
        { maxSessions: 3, forwardAgent: true, disconnectExpiredCert: false, sshFileCopy: true },
        { maxSessions: 2, clientIdleTimeoutMs: 5, sshFileCopy: false, forwardAgent: false },
        { disconnectExpiredCert: true, x11Forwarding: true, portForwarding: true },
      ),
    ),
    [2, 5, true, true, true, true, false],
  );
});

test('a label without a value gives nobody access and keeps nobody’s denial away', () => {
  const labels = { env: 'error: exit status 1', team: 'red' };
  const node = { labels, unknownLabels: new Set(['env']) };
  const none = { logins: [], nodeLabels: {} };
  const allow = (nodeLabels: Role['allow']['nodeLabels']): Role => ({
    ...{ name: 'a', allow: { logins: ['root'], nodeLabels }, deny: none, options: {} },
  });
  const denyProd: Role = {
    ...{ name: 'b', allow: none, deny: { logins: [], nodeLabels: { env: ['prod'] } }, options: {} },
  };
  const ok = (roles: readonly Role[], on = node) => decide({ roles, traits: {}, login: 'root', node: on }).ok;
  assert.equal(ok([allow({ env: ['*'] })]), false);
  assert.equal(ok([allow({ env: ['error: exit status 1'] })]), false);
  assert.equal(ok([allow({ team: ['red'] })]), true);
  assert.equal(ok([allow({ '*': ['*'] })]), true);
  assert.equal(ok([allow({ team: ['red'] }), denyProd]), false);
  assert.equal(
    ok([allow({ team: ['red'] }), denyProd], { labels: { env: 'dev', team: 'red' } } as typeof node),
    true,
  );
});

test('where a role or the cluster asks for the second factor at each session, only a certificate for this very session opens it', () => {
  const asking: Role = { ...accessRole, name: 'careful', options: { requireSessionMfa: true } };
  const here = { labels: {}, hostUuid: 'u-1' };
  const question = { traits: { logins: ['root', 'ubuntu'] }, login: 'root', node: here };
  const missing = { ok: false, needsMfa: true };
  const plain = decide({ ...question, roles: [asking] });
  assert.deepEqual({ ...plain, reason: '' }, { ...missing, reason: '' });
  assert.match('reason' in plain ? plain.reason : '', /role careful asks for the second factor/);
  const cluster = decide({ ...question, roles: [accessRole], requireSessionMfa: true });
  assert.match('reason' in cluster ? cluster.reason : '', /the cluster asks/);
  const sessionMfa = { node: 'u-1', login: 'root' };
  assert.equal(decide({ ...question, roles: [asking], sessionMfa }).ok, true);
  assert.equal(
    decide({ ...question, roles: [asking, accessRole] }).ok,
    false,
    'one role that asks is enough',
  );
  for (const roles of [[asking], [accessRole]]) {
    for (const changes of [
      { login: 'ubuntu' },
      { node: { labels: {}, hostUuid: 'u-2' } },
      { node: { labels: {} } },
    ]) {
      const elsewhere = decide({ ...question, roles, sessionMfa, ...changes });
      assert.match('reason' in elsewhere ? elsewhere.reason : '', /one session of another node or login/);
    }
  }
  const denied = decide({ ...question, roles: [asking], login: 'nobody' });
  assert.equal('needsMfa' in denied, false, 'a factor gives no login');
});

test('what a trait holds that is no login gives none', () => {
  const odd = { logins: ['-oProxyCommand=x', '*', 'a b', 'root\n', '', 'ok'] };
  assert.deepEqual(allowedLogins([accessRole], odd), ['ok']);
});

test('an account is made as the roles of this node say together', () => {
  const none = { logins: [], nodeLabels: {} };
  const here = (name: string, options: Role['options'], allow: Partial<Role['allow']> = {}): Role => ({
    ...{ name, deny: none, options },
    allow: { logins: ['ada'], nodeLabels: { env: ['prod'] }, ...allow },
  });
  const traits = { teams: ['red', 'blue'] };
  const granted = (...roles: Role[]) => {
    const decision = decide({ roles, traits, login: 'ada', node: { labels: { env: 'prod' } } });
    return decision.ok ? decision.hostUser : assert.fail(decision.reason);
  };
  assert.equal(granted(here('a', {})), undefined);
  const drop = here(
    'drop',
    { createHostUserMode: 'insecure-drop' },
    { hostGroups: ['{{external.teams}}', 'dev'] },
  );
  const keep = here('keep', { createHostUserMode: 'keep', createHostUserDefaultShell: '/bin/zsh' });
  const sudo = here('sudo', {}, { hostSudoers: ['ALL=(ALL) ALL'], hostGroups: ['dev'] });
  const expected = { mode: 'insecure-drop', groups: ['red', 'blue', 'dev'], sudoers: [], shell: undefined };
  assert.deepEqual(granted(drop), expected);
  assert.deepEqual(granted(keep, drop, sudo), {
    ...expected,
    ...{ mode: 'keep', sudoers: ['ALL=(ALL) ALL'], shell: '/bin/zsh' },
  });
  assert.equal(granted(drop, here('off', { createHostUserMode: 'off' })), undefined);
  const elsewhere = here('off', { createHostUserMode: 'off' }, { nodeLabels: { env: ['dev'] } });
  assert.deepEqual(granted(drop, elsewhere), expected);
  const denies: Role = { ...here('d', {}), deny: { ...none, hostGroups: ['blue'], hostSudoers: ['*'] } };
  assert.deepEqual(granted(drop, sudo, denies)?.groups, ['red', 'dev']);
  assert.deepEqual(granted(drop, sudo, denies)?.sudoers, []);
});
