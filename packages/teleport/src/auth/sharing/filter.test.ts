import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import fc from 'fast-check';
import { type FilterUser, parseFilter } from './filter.ts';

const ana: FilterUser = {
  name: 'ana',
  roles: ['auditor', 'dev'],
  traits: { team: ['blue'], logins: ['root', 'ana'], 'two-words': ['x'] },
};

const holds: readonly (readonly [text: string, expected: boolean])[] = [
  ['contains(user.spec.roles, "auditor")', true],
  ["contains(user.spec.roles, 'auditor')", true],
  ['contains(user.spec.roles, "audit")', false],
  ['equals(user.metadata.name, "ana")', true],
  ['!equals(user.metadata.name, "ana")', false],
  ['equals(user.spec.traits.team, "blue")', true],
  ['contains(user.spec.traits["two-words"], "x")', true],
  ['contains(user.spec.traits.two-words, "x")', true],
  ['contains(user.spec.traits.nothing, "x")', false],
  ['contains(user.spec.traits["constructor"], "x")', false],
  ['contains(user.spec.roles, user.spec.traits.nothing)', false],
  ['contains(user.spec.traits.logins, user.metadata.name)', true],
  ['equals(user.spec.roles, user.spec.roles)', true],
  ['equals("a\\"b", \'a"b\')', true],
  // && binds tighter than ||, ! tighter than both.
  ['equals("a","a") || equals("a","b") && equals("a","b")', true],
  ['(equals("a","a") || equals("a","b")) && equals("a","b")', false],
  ['!equals("a","b") && !(!equals("a","a"))', true],
];

for (const [text, expected] of holds) {
  test(`${text} is ${expected}`, () => assert.equal(parseFilter(text)(ana), expected));
}

const mistakes: readonly (readonly [text: string, column: number, words: RegExp])[] = [
  ['', 1, /expected contains/],
  ['contains(user.spec.roles "a")', 26, /expected ,/],
  ['contains(user.spec.roles, "a"', 30, /expected \), found the end/],
  ['contains(user.spec.role, "a")', 10, /"user.spec.role" is not known/],
  ['has(user.spec.roles, "a")', 1, /"has" is not a function/],
  ['equals("a", "b") & equals("a", "b")', 18, /write &&/],
  ['equals("a", "b) ', 13, /no closing quote/],
  ['equals("ü", "b") ü', 18, /means nothing here/],
  ['equals("a","a") equals("a","a")', 17, /expected && or \|\|/],
  ['equals(user.metadata.name == "a")', 27, /write equals/],
];

for (const [text, column, words] of mistakes) {
  test(`${JSON.stringify(text)} is refused at column ${column}`, () => {
    assert.throws(
      () => parseFilter(text),
      (error) =>
        error instanceof AppError &&
        error.code === 'auth.bad_filter' &&
        error.message.startsWith(`column ${column}: `) &&
        words.test(error.message),
    );
  });
}

test('a filter is bounded in length and in depth', () => {
  assert.throws(() => parseFilter(' '.repeat(1_025)), /at most 1024/);
  const deep = (levels: number) => `${'('.repeat(levels)}equals("a","a")${')'.repeat(levels)}`;
  assert.equal(parseFilter(deep(20))(ana), true);
  assert.throws(() => parseFilter(deep(40)), /deeper than 32 levels/);
  assert.throws(() => parseFilter(`${'!'.repeat(40)}equals("a","a")`), /deeper than 32 levels/);
});

test('whatever the text, it is a filter or refused with a column', () => {
  const words = fc.constantFrom(
    ...[
      'contains',
      'equals',
      '(',
      ')',
      ',',
      '&&',
      '||',
      '!',
      '"a"',
      "'b'",
      'user.spec.roles',
      ' ',
      '[',
      '\\',
      'ü',
    ],
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ maxLength: 60 }),
        fc.array(words).map((all) => all.join('')),
      ),
      (text) => {
        try {
          assert.equal(typeof parseFilter(text)(ana), 'boolean');
        } catch (error) {
          assert.ok(error instanceof AppError && /^column \d+: /.test(error.message), String(error));
        }
      },
    ),
  );
});
