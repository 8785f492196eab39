import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import type { ClusterStatus } from '@sallyport/contracts/api/auth-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { connectSsh } from '../ssh-transport/client.ts';
import { newHost, startTestProxy, tlsAuthority, until } from './cluster.fixture.ts';
import { clusterName, tlsLeaf } from './identity.fixture.ts';
import type { ProxyIdentity, ProxyOptions } from './proxy.ts';

const status: ClusterStatus = {
  cluster_name: clusterName,
  version: '1.2.3',
  min_client_version: '1.0.0',
  ca_pins: [],
  auth: { type: 'local', second_factor: 'on' },
  session_recording: 'node',
};
const api = { ping: async () => status } as ProxyOptions['api'];

/** An identity that a test renews. */
async function renewable(): Promise<ProxyIdentity & { renew(): Promise<void> }> {
  const host = await newHost(['proxy'], []);
  const listeners = new Set<() => void>();
  const identity = {
    hostUuid: host.uuid,
    hostKeys: [host.key],
    tls: await tlsLeaf(tlsAuthority, ['old.test', '127.0.0.1']),
    onChange: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    renew: async () => {
      identity.hostKeys = [(await newHost(['proxy'], [])).key];
      identity.tls = await tlsLeaf(tlsAuthority, ['new.test', '127.0.0.1']);
      for (const listener of listeners) listener();
    },
  };
  return identity;
}

async function namesShown(port: number, protocol: string): Promise<string> {
  const ca = tlsAuthority.certificatePem;
  const socket = connect({ host: '127.0.0.1', port, ca, ALPNProtocols: [protocol] });
  await once(socket, 'secureConnect');
  const names = socket.getPeerX509Certificate()?.subjectAltName ?? '';
  socket.destroy();
  return names;
}

test('a renewed identity is shown on every port without a restart', async (t) => {
  const identity = await renewable();
  const { proxy } = await startTestProxy({ identity, api });
  t.after(() => proxy.close('the test is over'));
  const { web, ssh } = proxy.addresses;
  const sshKey = async () => {
    let shown = '';
    const attempt = connectSsh({
      stream: connectTcp(ssh.port, '127.0.0.1'),
      login: 'x',
      keys: [],
      verifyHost: ({ blob }) => {
        shown = blob.toString('base64');
        return false;
      },
    });
    await assert.rejects(attempt);
    return shown;
  };
  const everything = async () => [
    await namesShown(web.port, 'teleport-proxy-ssh'),
    await namesShown(web.port, 'teleport-reversetunnel'),
    await namesShown(web.port, 'http/1.1'),
    await sshKey(),
  ];
  const before = await everything();
  await identity.renew();
  const now = await everything();
  for (const names of before.slice(0, 3)) assert.match(names, /DNS:old\.test/);
  for (const names of now.slice(0, 3)) assert.match(names, /DNS:new\.test/);
  assert.notEqual(now[3], before[3]);
});

test('TLS for auth goes through to an auth server, and its absence is told at once', async (t) => {
  const auth = createTlsServer(
    {
      ...(await tlsLeaf(tlsAuthority, ['auth.test'])),
      ALPNProtocols: ['teleport-auth@'],
      requestCert: true,
      ca: tlsAuthority.certificatePem,
    },
    (socket) => socket.end(`hello ${socket.getPeerX509Certificate()?.subjectAltName}`),
  ).listen(0, '127.0.0.1');
  await once(auth, 'listening');
  t.after(() => auth.close());
  let reachable = true;
  const { proxy } = await startTestProxy({
    dialAuth: async () => {
      if (!reachable) throw new AppError('unavailable', 'test.away', 'Auth is away.');
      const { port } = auth.address() as { port: number };
      return connectTcp({ port, host: '127.0.0.1', allowHalfOpen: true });
    },
  });
  t.after(() => proxy.close('the test is over'));
  const client = await tlsLeaf(tlsAuthority, ['node.test']);
  const dial = (): TLSSocket =>
    connect({
      ...client,
      host: '127.0.0.1',
      port: proxy.addresses.web.port,
      servername: 'auth.test',
      ca: tlsAuthority.certificatePem,
      ALPNProtocols: ['teleport-auth@'],
    });
  // Auth sees the certificate of the client, not one of the proxy.
  assert.match(await text(dial()), /^hello .*DNS:node\.test/);
  reachable = false;
  const refused = dial();
  const [error] = (await once(refused, 'error')) as [Error];
  assert.match(error.message, /internal error/);
});

test('it is ready when the state of the cluster is known and its certificate holds', async (t) => {
  const identity = await renewable();
  const clock = { now: new Date() };
  const { proxy } = await startTestProxy({ identity, now: () => clock.now });
  t.after(() => proxy.close('the test is over'));
  assert.deepEqual(proxy.readiness(), { ready: true, problems: [] });
  clock.now = new Date(Date.now() + 86_400_000);
  assert.match(proxy.readiness().problems.join(), /certificate expired/);
  proxy.stopListening();
  assert.match(proxy.readiness().problems.join(), /does not listen/);
});

test('what it does is counted', async (t) => {
  const { proxy } = await startTestProxy({ api });
  t.after(() => proxy.close('the test is over'));
  await namesShown(proxy.addresses.web.port, 'teleport-proxy-ssh');
  const noise = connectTcp(proxy.addresses.web.port, '127.0.0.1');
  noise.on('error', () => {});
  noise.end('not TLS');
  await once(noise.resume(), 'close');
  const metrics = await proxy.registry.metrics();
  assert.match(metrics, /sallyport_proxy_routed_total\{route="ssh"\} 1/);
  assert.match(metrics, /sallyport_proxy_refused_total\{why="invalid"\} 1/);
  assert.match(metrics, /sallyport_proxy_agents 0/);
});

test('a taken address stops the start and leaves nothing listening', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  after(() => taken.close());
  const { port } = taken.address() as { port: number };
  const free = createServer().listen(0, '127.0.0.1');
  await once(free, 'listening');
  const sshPort = (free.address() as { port: number }).port;
  free.close();
  const first = await startTestProxy();
  const { config } = first.options;
  await first.proxy.close('only its configuration was wanted');
  const listen = (at: number) => ({ host: '127.0.0.1', port: at });
  await assert.rejects(
    startTestProxy({
      config: {
        ...config,
        proxy: { ...config.proxy, listenAddr: listen(sshPort), webListenAddr: listen(port) },
      },
    }),
    { code: 'EADDRINUSE' },
  );
  const again = createServer().listen(sshPort, '127.0.0.1');
  await once(again, 'listening');
  again.close();
});

test('two proxies stand side by side, and closing one ends its connections only', async () => {
  const [one, two] = [await startTestProxy({ api }), await startTestProxy({ api })];
  const sockets = [one, two].map(({ proxy }) => connectTcp(proxy.addresses.ssh.port, '127.0.0.1'));
  for (const socket of sockets)
    await once(
      socket.on('error', () => {}),
      'data',
    );
  await one.proxy.close('down for an upgrade');
  await until('the end', () => sockets[0]?.readableEnded === true || sockets[0]?.destroyed === true);
  assert.equal(sockets[1]?.destroyed, false);
  assert.match(await namesShown(two.proxy.addresses.web.port, 'http/1.1'), /localhost/);
  sockets[1]?.destroy();
  await two.proxy.close('the test is over');
});
