import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sourceBlock } from './source-block.ts';

const same = (a: string, b: string, sizes = {}) => sourceBlock(a, sizes) === sourceBlock(b, sizes);

test('an IPv4 address is a source of its own, however it is written', () => {
  assert.ok(same('192.0.2.1', '::ffff:192.0.2.1'));
  assert.ok(!same('192.0.2.1', '192.0.2.2'));
  assert.ok(same('192.0.2.1', '192.0.2.254', { ipv4Bits: 24 }));
  assert.ok(!same('192.0.2.1', '192.0.3.1', { ipv4Bits: 24 }));
  assert.ok(same('10.0.0.1', '200.0.0.1', { ipv4Bits: 0 }));
});

test('IPv6 addresses of one /64 are one source', () => {
  assert.ok(same('2001:db8::1', '2001:db8:0:0:ffff:ffff:ffff:ffff'));
  assert.ok(!same('2001:db8::1', '2001:db8:0:1::1'));
  assert.ok(same('2001:db8::1', '2001:db8:ffff::', { ipv6Bits: 32 }));
  assert.ok(!same('2001:db8::1', '2001:db8::2', { ipv6Bits: 128 }));
  assert.ok(same('fe80::1%eth0', 'fe80::2%eth1'));
  assert.ok(!same('::1', '1::'));
});

test('an IPv6 address is no IPv4 one with the same bits, and other words stand for themselves', () => {
  assert.ok(!same('1.2.3.4', '102:304::'));
  assert.ok(same('', ''));
  assert.ok(!same('', 'unix'));
});
