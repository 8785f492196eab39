// OpenSSH's client through the gateway to a node that is dialled by its address: whose connection the node sees.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { generateEd25519 } from '../ca/openssh-private-key.ts';
import { parsePublicKeyLine } from '../ca/public-key.ts';
import { KeySigner } from '../ca/signature.ts';
import { verifyUserCertificate } from '../ca/verify.ts';
import { formatAddress } from '../config/address.ts';
import { RelayJudge, relayLine } from '../membership/relay-line.ts';
import { type Refusal, type SshServer, startSshServer } from '../ssh-transport/server.ts';
import {
  jump,
  login,
  newHost,
  newUser,
  ssh,
  startTestProxy,
  type TestHost,
  type TestProxy,
  until,
} from './cluster.fixture.ts';
import { clusterName } from './identity.fixture.ts';

/** A loopback address of its own: the proxy dials the node from 127.0.0.1. */
const desk = '127.0.0.9';

let gate: TestProxy;
let host: TestHost;
let node: SshServer;
const seen: { remote: string; admitted: boolean }[] = [];
const refusals: Refusal[] = [];

/** The SSH server of a node, and its decision as far as addresses are concerned. */
function startDirectNode(): Promise<SshServer> {
  const judge = new RelayJudge({ cluster: gate.cluster, hostUuid: host.uuid, now: () => new Date() });
  return startSshServer<string>({
    listen: { host: '127.0.0.1', port: 0 },
    hostKeys: [host.key],
    relayed: async (line) => judge.judge(line),
    authenticate: async ({ blob, remote }) => {
      const verdict = verifyUserCertificate({
        blob,
        trustedCas: gate.cluster.trust.ssh_user_cas.map(parsePublicKeyLine),
        login,
        now: new Date(),
        remoteAddress: remote.host,
      });
      seen.push({ remote: formatAddress(remote), admitted: verdict.ok });
      return verdict.ok ? { ok: true, identity: verdict.identity.user } : verdict;
    },
    onConnection: () => ({
      session: ({ channel }) => ({
        exec() {
          channel.exit(7);
          void channel.close();
          return true;
        },
      }),
    }),
    onRefused: (refusal) => refusals.push(refusal),
  });
}

before(async () => {
  gate = await startTestProxy();
  host = await newHost(['node'], ['direct-1', `direct-1.${clusterName}`]);
  node = await startDirectNode();
  const document = gate.cluster.addNode(host, 'direct-1', formatAddress(node.address));
  gate.cluster.nodes = [{ ...document, spec: { ...document.spec, takes_relay_line: true } }];
});

after(async () => {
  await node.close('the test is over');
  await gate.proxy.close('the test is over');
});

const from = (address: string, key: string) => {
  const way = jump({ key }, gate.proxy.addresses.ssh.port, '[%h]:%p', ['-o', `BindAddress=${address}`]);
  return ssh({ key, options: [way] }, `${login}@direct-1`, 'true');
};

test('a node dialled by address sees the person at their own address', async () => {
  const { code, stderr } = await from(desk, await newUser('alice'));
  assert.equal(code, 7, stderr);
  assert.match(seen.at(-1)?.remote ?? '', /^127\.0\.0\.9:\d+$/);
  assert.deepEqual(refusals, []);
});

test('source-address is held against the person, not against the proxy', async () => {
  const bound = (address: string) =>
    newUser('alice', { criticalOptions: { 'source-address': `${address}/32` } });
  assert.equal((await from(desk, await bound(desk))).code, 7);
  seen.splice(0);
  // At the gateway already: its check and the node's agree on where the person is.
  assert.equal((await from(desk, await bound('127.0.0.1'))).code, 255);
  assert.deepEqual(seen, []);
});

/** Straight to the node, past the proxy. The reason of the node's refusal. */
async function refusalOf(line: string): Promise<string> {
  refusals.splice(0);
  const socket = connect({ ...node.address });
  socket.on('error', () => {}).resume();
  socket.write(`${line}SSH-2.0-x\r\n`);
  await until('the refusal', () => refusals.length > 0);
  socket.destroy();
  const [refusal] = refusals;
  assert.deepEqual([refusal?.kind, refusal?.remote.host], ['relay', '127.0.0.1']);
  return refusal?.reason ?? '';
}

test('words of others than the cluster’s proxies, and words that were used or are old, are refused with a reason', async () => {
  const key = generateEd25519();
  const signer = new KeySigner(key);
  const { publicKey } = signer;
  const as = (roles: string[], changes = {}) =>
    newHost(roles, [`proxy.${clusterName}`], { publicKey, ...changes });
  const word = async (by: Promise<TestHost>, changes = {}) =>
    relayLine({
      signer,
      certificate: (await by).certificate,
      node: host.uuid,
      remote: { host: '192.0.2.1', port: 1 },
      now: new Date(),
      ...changes,
    });
  const otherCa = new KeySigner(generateEd25519());
  assert.match(
    await refusalOf(await word(as(['proxy'], { ca: otherCa }))),
    /a CA this cluster does not trust/,
  );
  assert.match(await refusalOf(await word(as(['node']))), /not one of a proxy/);
  assert.match(await refusalOf(await word(newHost(['proxy'], [], { publicKey }))), /not for "proxy\./);
  assert.match(await refusalOf(await word(as(['proxy']), { node: gate.host.uuid })), /another host/);
  const past = new Date(Date.now() - 90_000);
  assert.match(await refusalOf(await word(as(['proxy']), { now: past })), /90 s old/);
  const good = await word(as(['proxy']));
  const socket = connect({ ...node.address });
  socket.write(`${good}SSH-2.0-x\r\n`);
  let greeting = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    greeting += text;
  });
  await until('the greeting', () => greeting.includes('curve25519'));
  refusals.splice(0);
  socket.destroy();
  await until('its end', () => refusals.length > 0);
  assert.equal(refusals[0]?.remote.host, '192.0.2.1');
  assert.match(await refusalOf(good), /was used before/);
});
