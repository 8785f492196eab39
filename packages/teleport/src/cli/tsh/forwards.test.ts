import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDynamic, parseForward } from './forwards.ts';

test('a forward without a bind address is for this machine alone', () => {
  assert.deepEqual(parseForward('-L', '8080:web:80'), {
    bind: { host: 'localhost', port: 8080 },
    to: { host: 'web', port: 80 },
  });
});

test('bind addresses, brackets and empty ones are read', () => {
  assert.deepEqual(parseForward('-L', '[::]:8080:[fd00::1]:80').bind, { host: '::', port: 8080 });
  assert.deepEqual(parseForward('-L', '[::]:8080:[fd00::1]:80').to, { host: 'fd00::1', port: 80 });
  assert.equal(parseForward('-R', '*:0:localhost:22').bind.host, '*');
  assert.equal(parseForward('-R', ':9000:localhost:22').bind.host, '');
  assert.deepEqual(parseDynamic('1080').bind, { host: 'localhost', port: 1080 });
});

for (const text of [
  '',
  '80',
  '80:web',
  'web:80:x',
  '70000:web:80',
  '80:web:0',
  '80:web:70000',
  'a:b:c:d:e',
]) {
  test(`"${text}" is no forward, and the message says the form`, () => {
    assert.throws(() => parseForward('-L', text), /-L takes \[bind_address:\]port:host:hostport/);
  });
}
