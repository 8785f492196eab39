import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { alpnProtocols } from '@sallyport/contracts/api/tunnel.ts';
import { clusterName, newTlsAuthority, tlsLeaf } from './identity.fixture.ts';
import { silentLog } from './log.fixture.ts';
import { splice } from './splice.ts';
import { createTlsEndpoint } from './tls-endpoint.ts';
import { type MuxRefusal, startTlsMux, type TlsMuxOptions } from './tls-mux.ts';

const authority = await newTlsAuthority();
const keyPair = await tlsLeaf(authority, ['proxy.test', '127.0.0.1']);
const authPair = await tlsLeaf(authority, ['auth.test']);

/** An auth server that says which protocol it was asked for, and repeats what it hears. */
const auth = createServer({ ...authPair, ALPNCallback: ({ protocols }) => protocols[0] }, (socket) => {
  socket.write(`auth ${socket.alpnProtocol}\n`);
  socket.pipe(socket);
});
auth.listen(0, '127.0.0.1');
await once(auth, 'listening');
const authPort = (auth.address() as { port: number }).port;

const refusals: MuxRefusal[] = [];
const greet = (word: string) => (stream: TLSSocket) => {
  stream.write(`${word}\n`);
  stream.pipe(stream);
};
const endpointOf = (protocol: string, word: string) =>
  createTlsEndpoint({ keyPair, protocol, serve: greet(word), log: silentLog });
const endpoint = endpointOf(alpnProtocols.ssh, 'ssh');
const tunnel = endpointOf(alpnProtocols.tunnel, 'tunnel');
const web = createServer({ ...keyPair, ALPNProtocols: ['http/1.1'] }, greet('web'));

async function start(limits: Partial<TlsMuxOptions> = {}) {
  const mux = await startTlsMux({
    listen: { host: '127.0.0.1', port: 0 },
    maxConnections: 1000,
    maxPendingPerAddress: 64,
    helloTimeoutMs: 5_000,
    routes: {
      auth: (socket) =>
        void splice(socket, connectTcp({ host: '127.0.0.1', port: authPort, allowHalfOpen: true })),
      ssh: (socket) => endpoint.accept(socket),
      tunnel: (socket) => tunnel.accept(socket),
      web: (socket) => void web.emit('connection', socket),
    },
    onRefused: (why) => refusals.push(why),
    log: silentLog,
    ...limits,
  });
  after(() => mux.close());
  return mux;
}
const mux = await start();
after(() => auth.close());

function dial(ALPNProtocols: string[], servername: string): TLSSocket {
  const ca = authority.certificatePem;
  return connect({
    host: '127.0.0.1',
    port: mux.address.port,
    ca,
    servername,
    ALPNProtocols,
  });
}

async function answer(alpn: string[], servername = 'proxy.test'): Promise<string> {
  const socket = dial(alpn, servername);
  socket.end('end');
  return text(socket);
}

test('each protocol reaches its service on one port', async () => {
  assert.equal(await answer(['teleport-proxy-ssh']), 'ssh\nend');
  assert.equal(await answer(['teleport-reversetunnel']), 'tunnel\nend');
  assert.equal(await answer(['http/1.1']), 'web\nend');
  assert.equal(await answer(['h2', 'http/1.1']), 'web\nend');
});

test('TLS for auth ends at auth, whatever follows the protocol', async () => {
  assert.equal(await answer(['teleport-auth@'], 'auth.test'), 'auth teleport-auth@\nend');
  const hex = Buffer.from(clusterName).toString('hex');
  assert.equal(await answer([`teleport-auth@${hex}`], 'auth.test'), `auth teleport-auth@${hex}\nend`);
});

test("the client's order of protocols decides", async () => {
  assert.equal(await answer(['unknown', 'teleport-reversetunnel', 'teleport-proxy-ssh']), 'tunnel\nend');
});

test('megabytes cross to auth and back unharmed', async () => {
  const socket = dial(['teleport-auth@'], 'auth.test');
  const bytes = Buffer.alloc(20_000_000, 'abcdefghij');
  socket.end(bytes);
  const all = await buffer(socket);
  assert.ok(all.subarray(all.indexOf('\n') + 1).equals(bytes));
});

test('a connection that says nothing is closed in time', async () => {
  const quick = await start({ helloTimeoutMs: 50 });
  const socket = connectTcp(quick.address.port, '127.0.0.1');
  socket.resume();
  await once(socket, 'close');
  assert.equal(refusals.at(-1), 'timeout');
});

test('what is not TLS is closed, and plain HTTP is told what to do', async () => {
  const ssh = connectTcp(mux.address.port, '127.0.0.1');
  ssh.write('SSH-2.0-OpenSSH_9.2\r\n');
  ssh.on('error', () => {});
  ssh.resume();
  await once(ssh, 'close');
  assert.equal(refusals.at(-1), 'invalid');
  const http = connectTcp(mux.address.port, '127.0.0.1');
  http.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(await text(http), /400 Bad Request[\s\S]*speaks HTTPS/);
});

test('one address cannot hold every place', async () => {
  const small = await start({ maxPendingPerAddress: 2 });
  const open = async (localAddress: string): Promise<Socket> => {
    const socket = connectTcp({ host: '127.0.0.1', port: small.address.port, localAddress });
    socket.on('error', () => {});
    await once(socket, 'connect');
    return socket;
  };
  const held = [await open('127.0.0.1'), await open('127.0.0.1')];
  const third = await open('127.0.0.1');
  third.resume();
  await once(third, 'close');
  assert.equal(refusals.at(-1), 'pending');
  const other = await open('127.0.0.2');
  assert.equal(other.destroyed, false);
  for (const socket of [...held, other]) socket.destroy();
});

test('a renewed certificate is shown to whoever connects next', async () => {
  const renewed = await tlsLeaf(authority, ['renewed.test']);
  endpoint.setKeyPair(renewed);
  assert.equal(await answer(['teleport-proxy-ssh'], 'renewed.test'), 'ssh\nend');
  assert.throws(() => endpoint.setKeyPair({ key: keyPair.key, cert: renewed.cert }));
  assert.equal(await answer(['teleport-proxy-ssh'], 'renewed.test'), 'ssh\nend');
  endpoint.setKeyPair(keyPair);
});
