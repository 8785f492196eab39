import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EscapeReader } from './escape.ts';

const read = (...chunks: string[]) => {
  const reader = new EscapeReader();
  const seen = chunks.map((chunk) => reader.read(Buffer.from(chunk)));
  return {
    pass: seen.map(({ pass }) => pass.toString()).join(''),
    leaves: seen.some(({ leaves }) => leaves),
  };
};

test('tilde and dot after enter leave, also in two chunks', () => {
  assert.deepEqual(read('ls\r~.rest'), { pass: 'ls\r', leaves: true });
  assert.deepEqual(read('ls\r~', '.'), { pass: 'ls\r', leaves: true });
});

test('tilde and dot at the very beginning leave', () => {
  assert.equal(read('~.').leaves, true);
});

test('a tilde within a line is a tilde', () => {
  assert.deepEqual(read('cd ~.\r'), { pass: 'cd ~.\r', leaves: false });
});

test('two tildes type one, and what follows is no escape', () => {
  assert.deepEqual(read('~~.\r'), { pass: '~.\r', leaves: false });
});

test('a tilde before anything else is typed with it', () => {
  assert.deepEqual(read('~user\r'), { pass: '~user\r', leaves: false });
});
