import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeDocument } from '@sallyport/contracts/api/resources.ts';
import fc from 'fast-check';
import { resolveNode } from './node-directory.ts';

const node = (name: string, hostname: string, addr?: string): NodeDocument => ({
  kind: 'node',
  metadata: { name },
  spec: { hostname, ...(addr && { addr }), tunnel: addr === undefined, labels: {}, version: '1.0.0' },
});
const web = node('uuid-web', 'web-1', '10.0.0.5:3022');
const nat = node('uuid-nat', 'nat-1');
const twinA = node('uuid-a', 'twin', '10.0.0.6:3022');
const twinB = node('uuid-b', 'twin', '10.0.0.6:4022');
const nodes = [web, nat, twinA, twinB];

function resolve(host: string, port = 0): NodeDocument | string {
  const resolution = resolveNode({ host, port }, nodes, 'example.com');
  return resolution.ok ? resolution.node : resolution.text;
}

test('a node is found by name, uuid and address, also with the name of the cluster behind', () => {
  for (const host of ['web-1', 'WEB-1', 'uuid-web', '10.0.0.5', 'web-1.example.com']) {
    assert.equal(resolve(host), web);
    assert.equal(resolve(host, 22), web);
    assert.equal(resolve(host, 3022), web);
  }
  assert.equal(resolve('nat-1', 4711), nat);
});

test('what is not registered is not found, whatever it is the address of', () => {
  assert.match(String(resolve('10.0.0.7')), /no node "10\.0\.0\.7"/);
  assert.match(String(resolve('localhost')), /no node "localhost"/);
  assert.match(String(resolve('web-1', 80)), /no node/);
  assert.match(String(resolve('')), /no node/);
});

test('a name of two nodes is an error that names both, and a port can tell them apart', () => {
  const text = String(resolve('twin'));
  assert.match(text, /"twin" is the name of 2 nodes; use one of uuid-a \(10\.0\.0\.6:3022\), uuid-b/);
  assert.equal(resolve('twin', 4022), twinB);
  assert.equal(resolve('twin', 3022), twinA);
  assert.equal(resolve('uuid-b'), twinB);
});

test('whatever is asked for, the answer is a registered node or a refusal', () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(65_535), (host, port) => {
      const found = resolve(host, port);
      assert.ok(typeof found === 'string' || nodes.includes(found));
    }),
  );
});
