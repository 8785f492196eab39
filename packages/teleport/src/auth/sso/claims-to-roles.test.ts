import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bounded, toAttributes, traitBounds } from './attributes.ts';
import { type ClaimMapping, checkMappings, claimsToRoles } from './claims-to-roles.ts';

const word = fc.constantFrom('admins', 'dev', 'eng-core', 'eng-web', 'a*b', '');
const attributes = fc.dictionary(
  fc.constantFrom('groups', 'team', 'email'),
  fc.array(word, { maxLength: 4 }),
);
const mapping: fc.Arbitrary<ClaimMapping> = fc.record({
  claim: fc.constantFrom('groups', 'team', 'email', 'absent', 'constructor', '__proto__'),
  value: fc.constantFrom('admins', 'dev', 'eng-*', '*', '*-core', '^eng-(.+)$', '^.*$', ''),
  roles: fc.array(fc.constantFrom('editor', 'access', 'team-x'), { minLength: 1, maxLength: 2 }),
});
const mappings = fc.array(mapping, { maxLength: 5 });
const roles = (value: string, given: string, to = ['r']) =>
  claimsToRoles({ groups: [given] }, [{ claim: 'groups', value, roles: to }]);

test('roles come from mappings only, each once, sorted, whatever the order', () => {
  fc.assert(
    fc.property(attributes, mappings, (held, list) => {
      const given = claimsToRoles(held, list);
      assert.deepEqual(given, [...new Set(given)].sort());
      assert.ok(given.every((role) => list.some((each) => each.roles.includes(role))));
      assert.deepEqual(claimsToRoles(held, [...list].reverse()), given);
    }),
  );
});

test('more mappings and more values never take a role away', () => {
  fc.assert(
    fc.property(attributes, mappings, mapping, word, (held, list, more, value) => {
      const before = claimsToRoles(held, list);
      const after = claimsToRoles({ ...held, groups: [...(held['groups'] ?? []), value] }, [...list, more]);
      assert.ok(before.every((role) => after.includes(role)));
    }),
  );
});

test('a mapping whose claim the provider does not send gives nothing', () => {
  fc.assert(
    fc.property(attributes, mappings, (held, list) => {
      const absent = list.filter(({ claim }) => !Object.hasOwn(held, claim));
      assert.deepEqual(claimsToRoles(held, absent), []);
    }),
  );
});

test('a value without signs is exactly itself; a star is any letters; ^…$ is a pattern of the whole', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 20 }), fc.string({ maxLength: 20 }), (wanted, given) => {
      fc.pre(!wanted.includes('*') && !(wanted.startsWith('^') && wanted.endsWith('$')));
      assert.equal(roles(wanted, given).length === 1, wanted === given);
    }),
  );
  const matches = (value: string, given: string) => roles(value, given).length === 1;
  for (const [value, given] of [
    ['eng-*', 'eng-'],
    ['eng-*', 'eng-web'],
    ['*', ''],
    ['a*b*c', 'aXbYbZc'],
    ['**', 'x'],
    ['a*a', 'aa'],
    ['^eng-\\w+$', 'eng-web'],
  ] as const)
    assert.ok(matches(value, given), `${value} ${given}`);
  for (const [value, given] of [
    ['eng-*', 'xeng-web'],
    ['a*a', 'a'],
    ['a*b*c', 'acb'],
    ['eng.web', 'eng-web'],
    ['^eng$', 'eng-web'],
    ['^(a|ab)$', 'abc'],
    ['dev', 'Dev'],
  ] as const)
    assert.ok(!matches(value, given), `${value} ${given}`);
});

test('a glob matches what the same pattern as a regular expression does', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 6 });
  fc.assert(
    fc.property(letters, fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 }), (glob, given) => {
      fc.pre(glob.includes('*'));
      const pattern = new RegExp(`^${glob.replaceAll('*', '.*')}$`, 'u');
      assert.equal(roles(glob, given).length === 1, pattern.test(given), `${glob} ${given}`);
    }),
  );
});

test('what a pattern caught is filled in where it makes a name of a role, and nowhere else', () => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the braces are the connector's, not JavaScript's
  assert.deepEqual(roles('^team-(\\w+)$', 'team-red', ['access-$1', '${1}']), ['access-red', 'red']);
  assert.deepEqual(roles('^team-(.*)$', 'team-', ['$1']), []);
  assert.deepEqual(roles('^team-(.*)$', 'team-a/../b c', ['$1', 'x-$1']), []);
  assert.deepEqual(roles('^(a)?b$', 'b', ['x$1']), ['x']);
});

test('patterns that are none and groups without a pattern are refused when the connector is written', () => {
  const bad = (value: string, to: string[]) =>
    assert.throws(() => checkMappings([{ claim: 'groups', value, roles: to }]), {
      code: 'auth.bad_resource',
    });
  bad('^(unclosed$', ['r']);
  bad('dev', ['$1']);
  checkMappings([{ claim: 'groups', value: '^x(.)$', roles: ['$1'] }]);
});

test('attributes are texts of bounded number and length, whatever the provider sends', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (claims) => {
      const read = toAttributes(claims as Record<string, unknown>);
      const kept = bounded(read, traitBounds, ['groups']);
      const values = Object.values(kept).flat();
      assert.ok(Object.keys(kept).length <= traitBounds.names);
      assert.ok(values.every((text) => text.length > 0 && text.length <= traitBounds.length));
      assert.ok(values.every((text) => !/\p{Cc}/u.test(text)));
      assert.ok(values.join('').length <= traitBounds.total);
    }),
  );
  const huge = { groups: Array.from({ length: 5_000 }, (_, i) => `group-${i}`), a: 'x'.repeat(5_000) };
  const kept = bounded(toAttributes(huge), traitBounds, ['groups']);
  assert.equal(kept['groups']?.length, traitBounds.values);
  assert.equal(kept['a'], undefined, 'what is too long is left out whole');
  assert.deepEqual(
    toAttributes({ n: 7, yes: true, deep: { x: 1 }, list: ['a', 1, null], nonce: 'x', exp: 1 }),
    {
      n: ['7'],
      yes: ['true'],
      list: ['a', '1'],
    },
  );
});
