// A node that a proxy dials by its address: what the audit log has of the person, and of who only poses as a proxy.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { identityExtensions } from '../../ca/identity.ts';
import { issueCertificate } from '../../ca/issue.ts';
import { generateEd25519 } from '../../ca/openssh-private-key.ts';
import { KeySigner } from '../../ca/signature.ts';
import type { Signer } from '../../ca/signer.ts';
import { loadConfig } from '../../config/load-config.ts';
import { relayLine } from '../../membership/relay-line.ts';
import { joinStreams } from '../../ssh-transport/join-streams.ts';
import { openAuthorities } from '../auth-core.ts';
import { OneNode, until } from './one-node.fixture.ts';

const skip = process.getuid?.() === 0 ? false : 'starts sessions: needs root';
const person = { host: '198.51.100.7', port: 40_022 };
const signer = new KeySigner(generateEd25519());

let node: OneNode;
let direct: number;

before(async () => {
  if (skip) return;
  node = await OneNode.start({ enhanced: false });
  direct = node.port;
});
after(() => node?.remove());

/** As a proxy: for each connection a word of its own, by a certificate of this authority. */
async function startRelay(ca: Signer) {
  const certificate = await issueCertificate(ca, {
    type: 'host',
    publicKey: signer.publicKey,
    keyId: '7b1f6a52-7f0f-4f4e-9d5a-000000000002',
    principals: ['proxy.demo'],
    validAfter: new Date(Date.now() - 60_000),
    validBefore: new Date(Date.now() + 60_000),
    extensions: { [identityExtensions.roles]: JSON.stringify(['proxy']) },
  });
  const server = createServer({ allowHalfOpen: true }, async (near) => {
    const uuid = node.service?.hostUuid ?? '';
    const far = connect({ port: direct, host: '127.0.0.1', allowHalfOpen: true });
    far.write(await relayLine({ signer, certificate, node: uuid, remote: person, now: new Date() }));
    joinStreams(near, far);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  node.listensOn(typeof address === 'object' && address ? address.port : 0);
  return server;
}

const authority = async () =>
  (await openAuthorities(loadConfig(node.yaml()).config, false)).active('host').ssh;

test('the events of a session through a proxy name the person’s address', {
  skip,
}, async () => {
  const relay = await startRelay(await authority());
  const { ran, events } = await node.session('true');
  relay.close();
  assert.equal(ran.status, 0, ran.stderr);
  const told = events.filter((event) => 'addr.remote' in event);
  assert.ok(told.length >= 2);
  for (const event of told) assert.equal(event['addr.remote'], `${person.host}:${person.port}`);
});

test('who poses as a proxy gets no session, and the audit log tells from where and why', {
  skip,
}, async () => {
  const relay = await startRelay(new KeySigner(generateEd25519()));
  const { status } = await node.ssh('true');
  relay.close();
  assert.equal(status, 255);
  const event = await until('the event', async () =>
    (await node.events()).find(({ code }) => code === 'T3007W'),
  );
  assert.match(String(event['error']), /the relay is not believed: .*CA this cluster does not trust/);
  assert.match(String(event['addr.remote']), /^127\.0\.0\.1:/);
  assert.equal(event['success'], false);
});
