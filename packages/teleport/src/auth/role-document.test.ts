import assert from 'node:assert/strict';
import { test } from 'node:test';
import { roleDocument } from '@sallyport/contracts/api/resources.ts';
import { joinModes } from '@sallyport/contracts/api/session-trackers.ts';
import fc from 'fast-check';
import { lossPolicies, recordedKinds } from '../ca/identity.ts';
import { presetRoles } from './preset-roles.ts';
import type { Role } from './role.ts';
import { toRole, toRoleDocument } from './role-document.ts';

const selector = fc.dictionary(
  fc.constantFrom('env', 'team', '*'),
  fc.array(fc.constantFrom('prod', '*', '8'), { maxLength: 2 }),
  { maxKeys: 2 },
);
const rules = fc.array(
  fc.record({
    resources: fc.subarray(['user', 'event', '*'] as const, { minLength: 1 }),
    verbs: fc.subarray(['read', 'list', '*'] as const, { minLength: 1 }),
  }),
  { minLength: 1, maxLength: 2 },
);
const modes = fc.subarray([...joinModes, '*' as const], { minLength: 1 });
const joinSessions = fc.array(
  fc.record({
    name: fc.constantFrom('a', 'b'),
    roles: fc.subarray(['dev', '*'], { minLength: 1 }),
    kinds: fc.subarray(['ssh' as const, '*' as const], { minLength: 1 }),
    modes,
  }),
  { maxLength: 2 },
);
const requireSessionJoin = fc.array(
  fc.record({
    name: fc.constant('a'),
    filter: fc.constant('contains(user.spec.roles, "a")'),
    kinds: fc.constant(['ssh' as const]),
    modes,
    count: fc.integer({ min: 1, max: 16 }),
    onLeave: fc.constantFrom('pause' as const, 'terminate' as const),
    silenceLimitMs: fc.constantFrom(0, 2_000),
  }),
  { maxLength: 2 },
);
const conditions = fc.record(
  {
    logins: fc.array(fc.constantFrom('root', '{{internal.logins}}'), { maxLength: 2 }),
    nodeLabels: selector,
    rules,
    hostGroups: fc.array(fc.constantFrom('docker', '{{external.groups}}'), { maxLength: 2 }),
    hostSudoers: fc.array(fc.constantFrom('ALL=(ALL) ALL', '*'), { maxLength: 2 }),
    joinSessions,
  },
  { requiredKeys: ['logins', 'nodeLabels'] },
);
const options = fc.record(
  {
    maxSessionTtlMs: fc.integer({ min: 60_000, max: 10 ** 9 }),
    enhancedRecording: fc.subarray([...recordedKinds]),
    recordSession: fc.constantFrom('best_effort' as const, 'strict' as const),
    lossPolicy: fc.constantFrom(...lossPolicies),
    portForwarding: fc.boolean(),
    forwardAgent: fc.boolean(),
    x11Forwarding: fc.boolean(),
    sshFileCopy: fc.boolean(),
    maxSessions: fc.integer({ min: 1, max: 99 }),
    clientIdleTimeoutMs: fc.integer({ min: 1000, max: 10 ** 9 }),
    disconnectExpiredCert: fc.boolean(),
    createHostUserMode: fc.constantFrom('off' as const, 'keep' as const, 'insecure-drop' as const),
    createHostUserDefaultShell: fc.constantFrom('/bin/bash', '/usr/bin/zsh'),
  },
  { requiredKeys: [] },
);
const role: fc.Arbitrary<Role> = fc.record({
  name: fc.constantFrom('ops', 'a.b@c'),
  allow: fc
    .tuple(conditions, requireSessionJoin)
    .map(([all, required]) => ({ ...all, requireSessionJoin: required })),
  deny: conditions,
  options,
});
const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

test('a role that is written as a document reads back as the same role', () => {
  fc.assert(
    fc.property(role, (each) => {
      const document = roleDocument.parse(plain(toRoleDocument(each)));
      assert.deepEqual(plain(toRole(document)), plain(each));
    }),
  );
  for (const each of presetRoles)
    assert.deepEqual(plain(toRole(roleDocument.parse(plain(toRoleDocument(each))))), plain(each));
});

test('the older spelling of making accounts is read, and loses to the newer', () => {
  const modeOf = (options: object) => {
    const document = { kind: 'role', metadata: { name: 'ops' }, spec: { options } };
    return toRole(roleDocument.parse(document)).options.createHostUserMode;
  };
  assert.equal(modeOf({}), undefined);
  assert.equal(modeOf({ create_host_user: true }), 'insecure-drop');
  assert.equal(modeOf({ create_host_user: false }), 'off');
  assert.equal(modeOf({ create_host_user: false, create_host_user_mode: 'keep' }), 'keep');
});

test('a line of sudoers that would be two, and a group that would be an option, are refused', () => {
  const read = (allow: object) =>
    roleDocument.safeParse({ kind: 'role', metadata: { name: 'ops' }, spec: { allow } }).success;
  assert.ok(read({ host_sudoers: ['ALL=(ALL) NOPASSWD: ALL'], host_groups: ['docker'] }));
  for (const line of ['ALL\nroot ALL=ALL', 'ALL=ALL \\', ''])
    assert.equal(read({ host_sudoers: [line] }), false);
  for (const group of ['-r', 'a,b', 'A', '']) assert.equal(read({ host_groups: [group] }), false);
});

test('a document that is written by hand may leave everything out but its name', () => {
  const read = toRole(roleDocument.parse({ kind: 'role', metadata: { name: 'ops' } }));
  assert.deepEqual([read.allow.logins, read.allow.nodeLabels, read.deny.logins], [[], {}, []]);
  const labels = { cores: 8, env: 'prod', zones: ['a', 'b'] };
  const loose = { kind: 'role', metadata: { name: 'ops' }, spec: { allow: { node_labels: labels } } };
  assert.deepEqual(toRole(roleDocument.parse(loose)).allow.nodeLabels, {
    cores: ['8'],
    env: ['prod'],
    zones: ['a', 'b'],
  });
});
