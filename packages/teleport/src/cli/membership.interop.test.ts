// The rooms of the cluster with each other, in one process but over real sockets: an auth service behind its API, a
// proxy that joined it, and a node that joined through the proxy and is reached through its tunnel.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { after, before, test } from 'node:test';
import { type AuthRoutes, authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type Client, createClient } from '@sallyport/contracts/api/client.ts';
import type { NodeDocument, ProxyDocument } from '@sallyport/contracts/api/resources.ts';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { FileLog } from '../audit/file-log.ts';
import { Outbox } from '../audit/outbox.ts';
import { drainOutbox } from '../audit/outbox-drain.ts';
import { PagedSearch } from '../audit/search-page.ts';
import { EventStamp } from '../audit/session-emitter.ts';
import { type ApiServer, startApiServer } from '../auth/api/api-server.ts';
import { certificateCaller } from '../auth/api/caller-of.ts';
import { EventIntake } from '../auth/api/event-intake.ts';
import { searchEventsHandler } from '../auth/api/search-events.ts';
import { auditSink } from '../auth/audit-sink.ts';
import type { AuthService } from '../auth/auth-service.ts';
import { createAuthService } from '../auth/create-auth-service.ts';
import { SqliteStore } from '../auth/store/sqlite-store.ts';
import { Authorities } from '../ca/authorities.ts';
import { openHostKeys } from '../ca/host-keys.ts';
import { generateEd25519, writePrivateKey } from '../ca/openssh-private-key.ts';
import { publicKeyBlob } from '../ca/public-key.ts';
import { serverTlsOptions } from '../ca/tls-options.ts';
import type { Address } from '../config/config.ts';
import { loadConfig } from '../config/load-config.ts';
import { becomeMember, type JoinOptions } from '../membership/join-cluster.ts';
import { type Membership, startMembership } from '../membership/membership.ts';
import { socketTransport, tlsTransport } from '../membership/transport.ts';
import type { RunningProxy } from '../proxy/proxy.ts';
import { startProxy } from '../proxy/start-proxy.ts';
import { connectSsh } from '../ssh-transport/client.ts';
import { until } from '../until.fixture.ts';

const version = '1.2.3';
const clusterName = 'interop.example';
const now = () => new Date();
const log = { debug() {}, info() {}, warn() {}, error() {} };
const local = (port: number): Address => ({ host: '127.0.0.1', port });

/** Last made, first closed. */
const closing: (() => unknown)[] = [];
let dir: string;
let authorities: Authorities;
let service: AuthService;
let api: ApiServer;
let admin: Client<AuthRoutes>;
let fileLog: FileLog;
let proxy: RunningProxy;
let proxyMember: Membership;
let node: Membership;
const taken: { stream: Duplex; remote: Address }[] = [];

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'sallyport-interop-'));
  closing.push(() => rm(dir, { recursive: true, force: true, maxRetries: 5 }));
  await startAuth();
  proxyMember = await startProxyMember();
  node = await startNode();
});
after(async () => {
  for (const close of closing.reverse()) await close();
});

async function startAuth(): Promise<void> {
  const dataDir = join(dir, 'auth');
  const hostUuid = randomUUID();
  const keys = await openHostKeys(dataDir);
  authorities = await Authorities.open({ dataDir, clusterName, create: true, now });
  const logDir = join(dataDir, 'log');
  fileLog = await FileLog.open({ logDir, hostId: hostUuid });
  const store = await SqliteStore.open(dataDir, { pollMs: 20 });
  service = await createAuthService({
    store,
    authorities,
    audit: auditSink(fileLog, new EventStamp({ clusterName })),
    version,
    log,
    settings: {
      clusterName,
      type: 'local',
      secondFactor: 'off',
      webauthnRpId: undefined,
      staticTokens: [{ roles: ['proxy'], secret: 'static-proxy-token' }],
      sessionRecording: 'node',
      clientIdleTimeoutMs: undefined,
      disconnectExpiredCert: false,
      webAddress: undefined,
    },
  });
  const intake = await EventIntake.open({
    audit: fileLog,
    logDir,
    hostId: hostUuid,
    stateDir: join(dataDir, 'intake'),
    clusterName,
    log,
  });
  const handlers = {
    ...service.handlers,
    emitEvents: intake.handler,
    searchEvents: searchEventsHandler(new PagedSearch(logDir, hostUuid)),
  };
  const tls = async () => {
    const { tlsCertificate } = await service.enrolLocalHost({
      hostUuid,
      nodename: 'auth-1',
      roles: ['auth'],
      sshPublicKey: keys.ssh.publicKey,
      tlsPublicKey: keys.tls.publicKeyPem,
      principals: ['127.0.0.1'],
    });
    const certPem = `${tlsCertificate}${authorities.active('host').tls.certificatePem}`;
    return serverTlsOptions({ keyPem: keys.tls.keyPem, certPem, trust: authorities.trust() });
  };
  const common = { routes: authRoutes, handlers, rules: service, version, log };
  const callerOf = certificateCaller(() => authorities.trust(), now);
  api = await startApiServer({ ...common, listen: { ...local(0), tls: await tls(), callerOf } });
  const socketPath = join(dataDir, 'auth.sock');
  const socket = await startApiServer({ ...common, listen: { socketPath } });
  authorities.onChange(() => void tls().then((options) => api.replaceTls(options)));
  const transport = socketTransport(socketPath);
  admin = createClient(authRoutes, transport);
  closing.push(
    () => store.close(),
    () => fileLog.close(),
    () => service.close(),
    () => intake.close(),
    () => Promise.all([api.close(100), socket.close(100)]),
    () => transport.close(),
  );
}

function authAddress(): Address {
  assert.ok('port' in api.address);
  return api.address;
}

interface HostOptions {
  readonly name: string;
  readonly roles: readonly HostRole[];
  readonly token: string;
  readonly addresses: readonly Address[];
  readonly pins?: readonly string[];
  readonly principals?: readonly string[];
}

async function joinOptions({ name, principals = [name], ...rest }: HostOptions): Promise<JoinOptions> {
  const dataDir = join(dir, name);
  return {
    dataDir,
    keys: await openHostKeys(dataDir),
    hostUuid: randomUUID(),
    nodename: name,
    version,
    now,
    log,
    principals,
    signal: AbortSignal.timeout(20_000),
    pins: authorities.pins(),
    ...rest,
  };
}

async function startMember(options: HostOptions): Promise<Membership> {
  const joining = await joinOptions(options);
  const membership = await startMembership({
    dataDir: joining.dataDir,
    member: await becomeMember(joining),
    upstream: { kind: 'auth', addresses: options.addresses },
    // A node may not know of the others.
    kinds: [
      'cert_authority',
      'role',
      'lock',
      'proxy',
      ...(options.roles.includes('proxy') ? ['node' as const] : []),
    ],
    principals: () => joining.principals,
    version,
    now,
    log,
  });
  closing.push(() => membership.close());
  return membership;
}

async function startProxyMember(): Promise<Membership> {
  const membership = await startMember({
    name: 'proxy-1',
    roles: ['proxy'],
    token: 'static-proxy-token',
    addresses: [authAddress()],
    principals: ['proxy-1', '127.0.0.1', `proxy.${clusterName}`],
  });
  proxy = await startProxyOn(membership, [0, 0, 0]);
  const { member } = membership;
  const { web, ssh, tunnel } = proxy.addresses;
  const document = (): ProxyDocument => ({
    kind: 'proxy',
    metadata: { name: member.hostUuid },
    spec: {
      hostname: 'proxy-1',
      web_addr: `127.0.0.1:${web.port}`,
      ssh_addr: `127.0.0.1:${ssh.port}`,
      tunnel_addr: `127.0.0.1:${tunnel.port}`,
      version,
    },
  });
  const heartbeat = membership.heartbeat(document);
  await until(`the proxy is registered: ${heartbeat.problem}`, () => heartbeat.healthy);
  return membership;
}

/** Of web, SSH and tunnels. */
async function startProxyOn(membership: Membership, ports: readonly number[]): Promise<RunningProxy> {
  const listen = ['web_listen_addr', 'listen_addr', 'tunnel_listen_addr'].map(
    (key, i) => `  ${key}: 127.0.0.1:${ports[i]}`,
  );
  const services = ['auth_service: { enabled: no }', 'ssh_service: { enabled: no }'];
  const text = [
    'version: v3',
    'teleport:',
    '  auth_server: 127.0.0.1:3025',
    ...services,
    'proxy_service:',
    '  enabled: yes',
    ...listen,
  ];
  const { config } = loadConfig(`${text.join('\n')}\n`);
  const { member, cluster, client } = membership;
  await until('the proxy knows the cluster', () => cluster.synced);
  const started = await startProxy({
    config,
    // A member is a proxy's identity, and its cache a proxy's view, as they are.
    identity: member,
    cluster,
    api: client,
    audit: { append: async () => undefined },
    log,
    version,
    now,
    dialAuth: () => membership.dialAuth(),
  });
  closing.push(() => started.close('the test is over'));
  return started;
}

async function startNode(): Promise<Membership> {
  const { token } = await admin.createToken({
    body: { roles: ['node'], ttl_ms: 60_000, uses: 1, labels: { env: 'test' } },
  });
  const membership = await startMember({
    name: 'web-1',
    roles: ['node'],
    token,
    // Nothing but the web port of the proxy, as behind NAT.
    addresses: [local(proxy.addresses.web.port)],
  });
  const { member } = membership;
  const document = (): NodeDocument => ({
    kind: 'node',
    metadata: { name: member.hostUuid },
    spec: { hostname: 'web-1', tunnel: true, labels: { ...member.labels }, version },
  });
  const heartbeat = membership.heartbeat(document);
  membership.tunnels([local(proxy.addresses.web.port)], (stream, remote) => taken.push({ stream, remote }));
  await until(`the node is registered: ${heartbeat.problem}`, () => heartbeat.healthy);
  return membership;
}

test('a node that joined through the proxy is listed, with the labels of its token, and has one tunnel', async () => {
  const { resources } = await admin.listResources({ params: { kind: 'node' } });
  assert.equal(resources.length, 1);
  const [document] = resources;
  assert.ok(document?.kind === 'node');
  assert.equal(document.metadata.name, node.member.hostUuid);
  assert.equal(document.spec.labels['env'], 'test');
  await until('the tunnel is up', () => proxy.agents.length === 1);
  await until('the proxy knows the node', () => proxyMember.cluster.nodes.length === 1);
  assert.equal(proxy.agents[0]?.hostUuid, node.member.hostUuid);
});

/** Alice, logged in to the gateway that listens. */
async function connectAlice() {
  await admin.putResource({
    params: { kind: 'user', name: 'alice' },
    body: {
      kind: 'user',
      metadata: { name: 'alice' },
      spec: { roles: ['access'], traits: { logins: ['root'] } },
    },
  });
  const key = generateEd25519();
  const granted = await admin.issueCertificates({
    params: { name: 'alice' },
    body: { ssh_public_key: publicKeyBlob(key).toString('base64') },
  });
  return connectSsh({
    stream: createConnection(proxy.addresses.ssh.port, '127.0.0.1'),
    login: 'alice',
    keys: [
      { privateKey: writePrivateKey(key, ''), certificate: Buffer.from(granted.ssh_certificate, 'base64') },
    ],
    verifyHost: () => true,
  });
}

test('a user with a certificate comes through gateway and tunnel to the node', async () => {
  await until('the tunnel is up', () => proxy.agents.length === 1);
  const client = await connectAlice();
  const stream = await client.directTcpip({ host: 'web-1', port: 3022 });
  await until('the node has the stream', () => taken.length === 1);
  assert.equal(taken[0]?.remote.host, '127.0.0.1');
  taken[0]?.stream.pipe(taken[0].stream);
  stream.end('through and back');
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  assert.equal(Buffer.concat(chunks).toString(), 'through and back');
  client.close();
});

test('a proxy that makes way keeps what runs through it, and nodes dial the one that listens now', async () => {
  const client = await connectAlice();
  const stream = await client.directTcpip({ host: 'web-1', port: 3022 });
  await until('the node has the stream', () => taken.length === 2);
  const atNode = taken[1]?.stream;
  const { web, ssh, tunnel } = proxy.addresses;
  const old = proxy;
  old.retire();
  proxy = await startProxyOn(proxyMember, [web.port, ssh.port, tunnel.port]);
  // Nobody waits for the tunnel: who comes at once is let through as soon as it stands.
  const next = await connectAlice();
  const through = await next.directTcpip({ host: 'web-1', port: 3022 });
  await until('the node has the new stream', () => taken.length === 3);
  assert.equal(old.agents.length, 1, 'the old tunnel stands');
  for (const [here, there] of [
    [stream, atNode],
    [through, taken[2]?.stream],
  ] as const) {
    there?.pipe(there);
    here.end('still here');
    const chunks: Buffer[] = [];
    for await (const chunk of here) chunks.push(chunk as Buffer);
    assert.equal(Buffer.concat(chunks).toString(), 'still here');
  }
  assert.equal(old.streams, 1);
  client.close();
  next.close();
  await until('nothing is left in the old one', () => old.streams === 0);
});

test('joining with a used token, an unknown one, or a wrong pin is refused, each with its reason and event', async () => {
  const { token } = await admin.createToken({ body: { roles: ['node'], ttl_ms: 60_000, uses: 1 } });
  const addresses = [authAddress()];
  const join = async (name: string, more: Partial<HostOptions> = {}) =>
    becomeMember(await joinOptions({ name, roles: ['node'], token, addresses, ...more }));
  await join('first');
  await assert.rejects(join('second'), { kind: 'denied', message: /token/ });
  await assert.rejects(join('third', { token: 'never-made-by-anybody' }), {
    kind: 'denied',
    message: /token/,
  });
  await assert.rejects(join('fourth', { roles: ['proxy'] }), { kind: 'denied' });
  const refusals = async () =>
    (await admin.searchEvents({ query: { include: 'instance.join' } })).events.filter(
      ({ success }) => success === false,
    );
  assert.equal((await refusals()).length, 3);
  await assert.rejects(join('fifth', { pins: [`sha256:${'ab'.repeat(32)}`] }), {
    code: 'membership.wrong_pin',
  });
  assert.equal((await refusals()).length, 3, 'with a wrong pin auth never heard of it');
});

test('a lock is known to every host within a second, and its end too', async () => {
  const body = { kind: 'lock' as const, metadata: { name: 'l1' }, spec: { target: { user: 'alice' } } };
  const begun = performance.now();
  await admin.putResource({ params: { kind: 'lock', name: 'l1' }, body });
  await until(
    'both know',
    () => node.cluster.locks.length === 1 && proxyMember.cluster.locks.length === 1,
    1_000,
  );
  console.log(`a lock reached a node behind a tunnel after ${Math.round(performance.now() - begun)} ms`);
  await admin.deleteResource({ params: { kind: 'lock', name: 'l1' } });
  await until('both know', () => node.cluster.locks.length + proxyMember.cluster.locks.length === 0, 1_000);
});

test('events of the node reach the log of auth through the proxy, each once', async () => {
  const outbox = await Outbox.open({ dir: join(dir, 'web-1', 'outbox') });
  const stamp = new EventStamp({ clusterName });
  const ending = new AbortController();
  const { client } = node;
  const drain = drainOutbox(outbox, (batch, signal) => client.emitEvents({ body: batch }, { signal }), {
    signal: ending.signal,
  });
  const where = { server_id: node.member.hostUuid, server_hostname: 'web-1' };
  const users = Array.from({ length: 50 }, (_, index) => `person-${index}`);
  for (const user of users) {
    await outbox.append([
      stamp.stamp({
        event: 'auth',
        code: 'T3007W',
        user,
        success: false,
        error: 'a test',
        ...where,
      }),
    ]);
  }
  await until('the outbox is empty', () => outbox.stats.heldEvents === 0);
  const { events } = await admin.searchEvents({ query: { include: 'auth', limit: '200' } });
  assert.deepEqual(
    events.map(({ user }) => user).filter((user) => users.includes(String(user))),
    users,
  );
  ending.abort();
  await drain;
  await outbox.close();
});

test('a rotation of everything, phase by phase, leaves node, proxy and tunnel standing', async () => {
  const before = { node: node.member.tls.cert, proxy: proxyMember.member.tls.cert };
  const settled = async (phase: 'init' | 'update_clients' | 'update_servers' | 'standby') => {
    await admin.rotate({ body: { type: 'all', phase } });
    const known = (host: Membership) =>
      JSON.stringify(host.member.trust) === JSON.stringify(authorities.trust()) &&
      host.member.signedByActive &&
      host.cluster.state.connected;
    await until(`both have followed to ${phase}`, () => known(node) && known(proxyMember));
  };
  for (const phase of ['init', 'update_clients', 'update_servers', 'standby'] as const) await settled(phase);
  assert.notEqual(node.member.tls.cert, before.node);
  assert.notEqual(proxyMember.member.tls.cert, before.proxy);
  await node.client.ping();
  await proxyMember.client.listResources({ params: { kind: 'node' } });
  await until('the tunnel is up', () => proxy.agents.length === 1);
  const late = await joinOptions({
    name: 'late',
    roles: ['proxy'],
    token: 'static-proxy-token',
    addresses: [authAddress()],
  });
  assert.ok(await becomeMember(late), 'and others join with the new pin');
});

test('a machine that is no member reaches nothing but what is for anyone', async () => {
  const address = authAddress();
  const transport = tlsTransport({ addresses: [address], trust: () => authorities.trust() });
  const stranger = createClient(authRoutes, transport);
  assert.equal((await stranger.ping()).cluster_name, clusterName);
  await assert.rejects(stranger.listResources({ params: { kind: 'user' } }), { kind: 'denied' });
  await assert.rejects(node.client.createToken({ body: { roles: ['node'] } }), { kind: 'denied' });
  transport.close();
});
