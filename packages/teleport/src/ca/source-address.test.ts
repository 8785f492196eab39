import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressAllowed } from './source-address.ts';

const cases: [list: string, address: string, expected: boolean | undefined][] = [
  ['10.0.0.0/8', '10.1.2.3', true],
  ['10.0.0.0/8', '11.1.2.3', false],
  ['10.0.0.0/8', '::ffff:10.1.2.3', true],
  ['192.0.2.7', '192.0.2.7', true],
  ['192.0.2.7', '192.0.2.8', false],
  ['2001:db8::/32', '2001:db8:1::1', true],
  ['2001:db8::/32', '10.0.0.1', false],
  ['fe80::/10', 'fe80::1%eth0', true],
  ['10.0.0.0/8,2001:db8::/32', '2001:db8::9', true],
  ['0.0.0.0/0', '203.0.113.9', true],
  ['0.0.0.0/0', '2001:db8::1', false],
  ['', '10.0.0.1', undefined],
  ['10.0.0.0/33', '10.0.0.1', undefined],
  ['10.0.0.0/8/8', '10.0.0.1', undefined],
  ['10.0.0.0/8,nonsense', '10.0.0.1', undefined],
  ['10.0.0.0/8', 'not an address', false],
];

for (const [list, address, expected] of cases) {
  const verdict = expected === undefined ? 'is malformed' : expected ? 'admits' : 'keeps out';
  test(`"${list}" ${verdict} ${address}`, () => assert.equal(addressAllowed(list, address), expected));
}
