// OpenSSH's client through the gateway to OpenSSH's server: by address and through a reverse tunnel.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { generateEd25519 } from '../ca/openssh-private-key.ts';
import { KeySigner } from '../ca/signature.ts';
import { connectSsh } from '../ssh-transport/client.ts';
import {
  dialTunnel,
  folder,
  jump,
  knownHosts,
  login,
  newHost,
  newUser,
  ssh,
  startNode,
  startTestProxy,
  type TestNode,
  type TestProxy,
  until,
} from './cluster.fixture.ts';
import { clusterName } from './identity.fixture.ts';

let direct: TestNode;
let natted: TestNode;
let test1: TestProxy;
let alice: string;
const openings: unknown[] = [];

before(async () => {
  [direct, natted] = await Promise.all([startNode('direct-1'), startNode('nat-1')]);
  test1 = await startTestProxy();
  test1.cluster.addNode(direct.host, 'direct-1', `127.0.0.1:${direct.port}`);
  test1.cluster.addNode(natted.host, 'nat-1');
  await dialTunnel(test1.proxy.addresses.tunnel.port, natted.host, natted.port, openings);
  await until('the agent to be known', () => test1.proxy.agents.length === 1);
  alice = await newUser('alice');
});

after(async () => {
  direct.stop();
  natted.stop();
  await test1.proxy.close('the test is over');
});

const gateway = () => test1.proxy.addresses.ssh.port;
const through = (key: string, host: string, ...command: string[]) =>
  ssh({ key, options: [jump({ key }, gateway())] }, `${login}@${host}`, ...command);

test('ssh through the gateway reaches a node by its address, and its exit status comes back', async () => {
  const { code, stdout, stderr } = await through(alice, 'direct-1', 'echo here; exit 3');
  assert.deepEqual({ code, stdout }, { code: 3, stdout: 'here\n' }, stderr);
});

test('ssh through the gateway reaches a node that only keeps a tunnel, which learns whose stream it is', async () => {
  const { code, stdout, stderr } = await through(alice, 'nat-1', 'echo tunnel');
  assert.deepEqual({ code, stdout }, { code: 0, stdout: 'tunnel\n' }, stderr);
  assert.match(JSON.stringify(openings.at(-1)), /\{"remote":\{"host":"127\.0\.0\.1","port":\d+\}\}/);
});

test('ssh -J works with a configuration file', async () => {
  const config = `${folder}/ssh_config`;
  writeFileSync(
    config,
    `Host jump
  HostName 127.0.0.1
  Port ${gateway()}
Host *
  User ${login}
  IdentityFile ${alice}
  CertificateFile ${alice}-cert.pub
  IdentitiesOnly yes
  IdentityAgent none
  BatchMode yes
  UserKnownHostsFile ${knownHosts}
  GlobalKnownHostsFile none
`,
  );
  const { stdout, stderr } = await ssh(
    { key: alice },
    '-F',
    config,
    '-J',
    'jump',
    `direct-1.${clusterName}`,
    'echo j',
  );
  assert.equal(stdout, 'j\n', stderr);
});

test('the subsystem proxy:host:port is the same way', async () => {
  for (const target of [
    `proxy:direct-1:${direct.port}`,
    'proxy:nat-1:0',
    `proxy:nat-1:3022@${clusterName}`,
  ]) {
    const command = jump({ key: alice }, gateway(), 'x:1').replace(/-W x:1 (\S+)$/, `-s $1 ${target}`);
    const { stdout, stderr } = await ssh({ key: alice, options: [command] }, `${login}@nat-1`, 'echo sub');
    // direct-1's certificate is not for nat-1: reaching it is seen by the name it refuses.
    if (target.includes('direct')) assert.match(stderr, /direct-1|Certificate invalid|verification failed/i);
    else assert.equal(stdout, 'sub\n', stderr);
  }
});

test('megabytes cross the gateway unharmed, both ways at once', async () => {
  const { stdout, stderr } = await through(alice, 'nat-1', 'head -c 50000000 /dev/zero | sha256sum; sleep 0');
  assert.match(stdout, /^[0-9a-f]{64} /, stderr);
  const bulk = await through(alice, 'direct-1', 'head -c 50000000 /dev/zero');
  assert.equal(bulk.stdout.length, 50_000_000, bulk.stderr);
});

test('only registered nodes are reached, and the person is told why not', async () => {
  const refused = async (host: string, reason: RegExp) => {
    const { code, stderr } = await through(alice, host, 'true');
    assert.equal(code, 255);
    assert.match(stderr, reason);
  };
  await refused('unknown-1', /no node "unknown-1" is connected/);
  await refused('localhost', /no node "localhost"/);
  test1.cluster.addNode(await newHost(['node'], []), 'nat-1', '127.0.0.1:1');
  await refused('nat-1', /"nat-1" is the name of 2 nodes/);
  test1.cluster.nodes = test1.cluster.nodes.slice(0, -1);
  test1.cluster.addNode(await newHost(['node'], []), 'gone-1');
  await refused('gone-1', /gone-1 cannot be reached: it keeps no tunnel/);
  test1.cluster.addNode(await newHost(['node'], []), 'dead-1', '127.0.0.1:1');
  await refused('dead-1', /dead-1 cannot be reached: connect ECONNREFUSED/);
});

test('nobody gets a shell, a command or a forwarded port of the proxy, and is told where shells are', async () => {
  const at = ['-p', `${gateway()}`, `${login}@127.0.0.1`];
  for (const command of [[], ['id']]) {
    const { code, stdout, stderr } = await ssh({ key: alice }, ...at, ...command);
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.match(stderr, new RegExp(`SSH gateway of the cluster ${clusterName}`));
  }
  const sftp = await ssh({ key: alice }, '-s', ...at, 'sftp');
  assert.match(sftp.stderr, /"sftp" is not a subsystem of this proxy/);
  const options = ['ExitOnForwardFailure=yes'];
  const remote = await ssh({ key: alice, options }, '-N', '-R', '0:localhost:1', ...at);
  assert.equal(remote.code, 255);
});

test('each bad certificate is refused with its reason, in the log of the cluster', async () => {
  const otherCa = new KeySigner(generateEd25519());
  const past = new Date(Date.now() - 60_000);
  const bad: [string, RegExp][] = [
    [await newUser('expired', { validBefore: past }), /expired at .*the certificate says expired/],
    [await newUser('foreign', { ca: otherCa }), /CA this cluster does not trust/],
    [await newUser('option', { criticalOptions: { 'x@y': '' } }), /critical option "x@y" is unknown/],
    [
      await newUser('elsewhere', { criticalOptions: { 'source-address': '192.0.2.0/24' } }),
      /may not be used from 127/,
    ],
  ];
  for (const [key, reason] of bad) {
    test1.events.length = 0;
    const { code } = await ssh({ key }, '-p', `${gateway()}`, `${login}@127.0.0.1`);
    assert.equal(code, 255);
    await until('the event', () => test1.events.some((event) => event.code === 'T3007W'));
    const [event] = test1.events.filter(({ code }) => code === 'T3007W');
    assert.match(String(event && 'error' in event && event.error), reason);
    assert.equal(event?.cluster_name, clusterName);
  }
});

test('a locked user is refused, and thrown out of the connection they have', async () => {
  const key = await newUser('mallory');
  const child = ssh({ key, options: [jump({ key }, gateway())] }, `${login}@nat-1`, 'sleep 30');
  await until('the stream', () => (test1.proxy.agents[0]?.streams ?? 0) > 0);
  test1.events.length = 0;
  test1.cluster.lock({ user: 'mallory' }, 'ask the desk');
  assert.equal((await child).code, 255);
  assert.equal((await through(key, 'direct-1', 'true')).code, 255);
  const reasons = test1.events.map((event) => JSON.stringify(event));
  assert.ok(
    reasons.some((text) => /client\.disconnect.*user \\"mallory\\" is locked: ask the desk/.test(text)),
  );
  assert.ok(reasons.some((text) => /"auth".*user \\"mallory\\" is locked/.test(text)));
  assert.equal((await through(alice, 'direct-1', 'true')).code, 0);
});

test('a locked node is not reached', async () => {
  test1.cluster.lock({ node: 'direct-1' });
  assert.match((await through(alice, 'direct-1', 'true')).stderr, /node "direct-1" is locked/);
  test1.cluster.locks = [];
  assert.equal((await through(alice, 'direct-1', 'true')).code, 0);
});

test('the gateway is reached on the web port too', async () => {
  const { web } = test1.proxy.addresses;
  const command = `openssl s_client -quiet -verify_quiet -alpn teleport-proxy-ssh -connect 127.0.0.1:${web.port} 2>/dev/null`;
  const options = [jump({ key: alice }, 1, '[%h]:%p', ['-o', `ProxyCommand=${command}`])];
  const { stdout, stderr } = await ssh({ key: alice, options }, `${login}@direct-1`, 'echo alpn');
  assert.equal(stdout, 'alpn\n', stderr);
});

test('nobody logs in to the tunnels but nodes under their own name', async () => {
  const { port } = test1.proxy.addresses.tunnel;
  const attempt = async (host: Parameters<typeof dialTunnel>[1], reason: RegExp) => {
    test1.events.length = 0;
    await assert.rejects(dialTunnel(port, host, 1), { code: 'ssh.login_refused' });
    await until('the event', () => test1.events.length > 0);
    assert.match(JSON.stringify(test1.events), reason);
  };
  await attempt(await newHost(['proxy'], []), /not one of a node/);
  await attempt({ ...natted.host, uuid: direct.host.uuid }, /host certificate is not for/);
  // One whose principals name another host, as an operator's own CA script might make it.
  const posing = await newHost(['node'], [direct.host.uuid]);
  await attempt({ ...posing, uuid: direct.host.uuid }, /host certificate is of another host/);
  await attempt(await newHost(['node'], [], { ca: new KeySigner(generateEd25519()) }), /does not trust/);
  await attempt(await newHost(['node'], [], { validBefore: new Date(Date.now() - 60_000) }), /expired/);
});

test('the newest tunnel of a node is used, and the one before when it ends', async () => {
  const { port } = test1.proxy.addresses.tunnel;
  const newer: unknown[] = [];
  const client = await dialTunnel(port, natted.host, natted.port, newer);
  assert.equal((await through(alice, 'nat-1', 'true')).code, 0);
  assert.equal(newer.length, 1);
  client.close();
  await client.closed;
  openings.length = 0;
  assert.equal((await through(alice, 'nat-1', 'true')).code, 0);
  assert.equal(openings.length, 1);
});

test('a user holds no more connections than allowed', async (t) => {
  const limited = await startTestProxy({ limits: { maxConnectionsPerUser: 2, maxStreamsPerConnection: 3 } });
  t.after(() => limited.proxy.close('the test is over'));
  limited.cluster.addNode(direct.host, 'direct-1', `127.0.0.1:${direct.port}`);
  const { port } = limited.proxy.addresses.ssh;
  const { readFileSync } = await import('node:fs');
  const certificate = Buffer.from(readFileSync(`${alice}-cert.pub`, 'utf8').split(' ')[1] ?? '', 'base64');
  const keys = [{ privateKey: readFileSync(alice), certificate }];
  const open = () => connectSsh({ stream: connect(port, '127.0.0.1'), login, keys, verifyHost: () => true });
  const [one] = [await open(), await open()];
  const third = await open();
  assert.match(await third.closed, /too many connections/);
  const streams = await Promise.all([1, 2, 3].map(() => one.directTcpip({ host: 'direct-1', port: 3022 })));
  await assert.rejects(one.directTcpip({ host: 'direct-1', port: 3022 }), { code: /ssh\./ });
  for (const stream of streams) stream.destroy();
});
