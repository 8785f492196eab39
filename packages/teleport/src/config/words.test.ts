// The small readers of configuration words: durations, addresses, the nearest key.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAddress, parseAddress } from './address.ts';
import { formatDuration, parseDuration } from './duration.ts';
import { editDistance, nearestKey } from './nearest-key.ts';

test('durations are read in every documented unit', () => {
  const cases: [string, number | undefined][] = [
    ['30s', 30_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['1.5h', 5_400_000],
    ['250ms', 250],
    ['7d', 604_800_000],
    ['0s', 0],
    ['', undefined],
    ['5', undefined],
    ['-5m', undefined],
    ['5 m', undefined],
    ['1h30', undefined],
  ];
  for (const [text, ms] of cases) assert.equal(parseDuration(text), ms, text);
});

test('a duration that is printed reads back the same', () => {
  fc.assert(fc.property(fc.nat(), (ms) => parseDuration(formatDuration(ms)) === ms));
});

test('addresses are read with and without port, and IPv6 in brackets', () => {
  assert.deepEqual(parseAddress('node', 3022), { host: 'node', port: 3022 });
  assert.deepEqual(parseAddress('[::1]:22', 3022), { host: '::1', port: 22 });
  assert.deepEqual(parseAddress(':22', 3022), { host: '0.0.0.0', port: 22 });
  for (const bad of ['', '::1', 'a b', 'a:b', 'a:1:2', 'a:65536', 'https://a'])
    assert.equal(parseAddress(bad, 1), undefined, bad);
  for (const text of ['[::1]:22', 'node:1'])
    assert.equal(formatAddress(parseAddress(text, 1) ?? { host: '', port: 0 }), text);
});

test('the nearest key is the intended one, and nothing when nothing is near', () => {
  const keys = ['enabled', 'listen_addr', 'labels', 'commands', 'enhanced_recording'];
  assert.equal(nearestKey('enalbed', keys), 'enabled');
  assert.equal(nearestKey('listen_address', keys), 'listen_addr');
  assert.equal(nearestKey('Labels', keys), 'labels');
  assert.equal(nearestKey('kubernetes', keys), undefined);
});

test('the edit distance is a distance: zero only for equals, and symmetric', () => {
  const word = fc.string({ maxLength: 12, unit: fc.constantFrom('a', 'b', 'c') });
  fc.assert(
    fc.property(
      word,
      word,
      (a, b) => editDistance(a, b) === editDistance(b, a) && (editDistance(a, b) === 0) === (a === b),
    ),
  );
});
