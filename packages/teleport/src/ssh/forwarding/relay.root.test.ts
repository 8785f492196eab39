// The relay alone, against this host's kernel: with whose rights it connects and listens, and what it leaves behind.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { joinStreams } from '../../ssh-transport/join-streams.ts';
import { cannotLaunch, createLogin, eventually, request, type TestLogin } from '../host.fixture.ts';
import { type LaunchedSession, launch } from '../launch.ts';
import { Relay } from './relay.ts';

const skip = cannotLaunch();
const bulk = randomBytes(3_000_000);

describe('a relay', { skip }, () => {
  let login: TestLogin;
  let session: LaunchedSession;
  let relay: Relay;
  let folder: string;
  const counts = { tx: 0, rx: 0 };
  const servers: Server[] = [];

  const start = async (name: string) => {
    const launched = await launch(request(name, { relay: true }));
    await launched.go();
    const { pipes } = launched;
    assert.ok(pipes);
    return { launched, relay: new Relay(pipes.stdin, pipes.stdout, launched.uid, counts) };
  };
  /** Sends back what comes, and ends when the other side did. */
  const echo = async (where: number | string): Promise<number> => {
    const server = createServer({ allowHalfOpen: true }, (socket) =>
      socket.on('error', () => {}).pipe(socket),
    );
    servers.push(server);
    if (typeof where === 'string') server.listen(where);
    else server.listen(where, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    return (server.address() as AddressInfo).port;
  };
  const exchange = async (stream: Duplex, bytes: Buffer): Promise<Buffer> => {
    stream.end(bytes);
    return Buffer.concat(await stream.toArray());
  };

  before(async () => {
    login = createLogin('relay');
    ({ launched: session, relay } = await start(login.name));
    folder = await mkdtemp('/tmp/sp-relay-');
  });
  after(async () => {
    for (const server of servers) server.close();
    relay?.close();
    await session?.closed;
    if (folder) await rm(folder, { recursive: true });
    login?.remove();
  });

  test('carries bytes both ways and the end of each', async () => {
    const port = await echo(0);
    const streams = await Promise.all(
      Array.from({ length: 8 }, () => relay.connect({ kind: 'tcp', address: { host: 'localhost', port } })),
    );
    for (const back of await Promise.all(streams.map((stream) => exchange(stream, bulk))))
      assert.ok(back.equals(bulk));
    assert.deepEqual(counts, { tx: 8 * bulk.length, rx: 8 * bulk.length });
  });

  test('says why it does not reach what it was asked for', async () => {
    const to = (host: string, port: number) => relay.connect({ kind: 'tcp', address: { host, port } });
    await assert.rejects(to('127.0.0.1', 1), {
      code: 'forwarding.unreachable',
      message: 'Connection refused',
    });
    await assert.rejects(
      to('no-such-host.invalid', 1),
      /Name or service not known|failure in name resolution/,
    );
    await assert.rejects(to('127.0.0.1 1\nlisten 9 agent', 1), { code: 'forwarding.address' });
    await assert.rejects(relay.connect({ kind: 'unix', path: 'relative' }), { code: 'forwarding.address' });
  });

  test('reaches no socket that the user may not, and every one that the user may', async () => {
    const path = join(folder, 'root.sock');
    await echo(path); // 0700 folder of root
    await assert.rejects(relay.connect({ kind: 'unix', path }), { message: 'Permission denied' });
    const asRoot = await start('root');
    const stream = await asRoot.relay.connect({ kind: 'unix', path });
    assert.ok((await exchange(stream, bulk)).equals(bulk));
    asRoot.relay.close();
    await asRoot.launched.closed;
  });

  test('listens on loopback alone, and takes no port of the system’s', async () => {
    const arrived = Promise.withResolvers<Duplex>();
    const listener = await relay.listen({ kind: 'tcp', port: 0 }, (stream, originator) => {
      assert.equal(originator.host, '127.0.0.1');
      arrived.resolve(stream);
    });
    const socket = connect({ port: Number(listener.where), host: '127.0.0.1', allowHalfOpen: true });
    const stream = await arrived.promise;
    stream.pipe(stream);
    assert.ok((await exchange(socket, bulk)).equals(bulk));
    listener.close();
    await eventually('it listens no more', async () => !(await reaches(Number(listener.where))));
    const unprivileged = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
    if (unprivileged > 81)
      await assert.rejects(
        relay.listen({ kind: 'tcp', port: 81 }, () => {}),
        { message: 'Permission denied' },
      );
  });

  test('makes sockets that are the user’s alone, and removes them', async () => {
    const path = `${login.home}/far.sock`;
    const listener = await relay.listen({ kind: 'unix', path }, (stream) => void stream.pipe(stream));
    const found = statSync(path);
    assert.deepEqual([found.uid, found.mode & 0o777], [session.uid, 0o600]);
    assert.ok((await exchange(connect({ path, allowHalfOpen: true }), bulk)).equals(bulk));
    await assert.rejects(
      relay.listen({ kind: 'unix', path }, () => {}),
      { message: 'Address already in use' },
    );
    listener.close();
    await eventually('the socket is gone', () => !existsSync(path));
    const forbidden = relay.listen({ kind: 'unix', path: join(folder, 'far.sock') }, () => {});
    await assert.rejects(forbidden, { message: 'Permission denied' });
  });

  test('ends with its daemon’s word: connections, sockets and folders of agents', async () => {
    const { launched, relay: other } = await start(login.name);
    const agent = await other.listen({ kind: 'agent' }, () => {});
    const away = statSync(join(agent.where, '..'));
    assert.deepEqual([away.uid, away.mode & 0o777], [launched.uid, 0o700]);
    const port = await echo(0);
    const stream = await other.connect({ kind: 'tcp', address: { host: '127.0.0.1', port } });
    const gone = new Promise((resolve) => stream.once('close', resolve));
    stream.resume();
    other.close();
    await launched.closed;
    await gone;
    assert.equal(existsSync(join(agent.where, '..')), false);
  });

  test('lets a connection go that was reset, though the client says nothing', async () => {
    const server = createServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
    servers.push(server.listen(0, '127.0.0.1'));
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    const stream = await relay.connect({ kind: 'tcp', address: { host: '127.0.0.1', port } });
    const gone = new Promise((resolve) => stream.once('close', resolve));
    stream.resume().write('x');
    await gone;
  });

  test('joins with a peer that stops reading without keeping what it cannot pass on', async () => {
    const port = await echo(0);
    const left = await relay.connect({ kind: 'tcp', address: { host: '127.0.0.1', port } });
    let written = 0;
    const drained = () =>
      Promise.race([
        new Promise((resolve) => left.once('drain', () => resolve(true))),
        new Promise((resolve) => setTimeout(() => resolve(false), 300)),
      ]);
    while (left.write(bulk.subarray(0, 65_536)) || (await drained())) written += 65_536;
    assert.ok(written < 32_000_000, `${written} bytes were taken`);
    left.destroy();
  });

  test('can be traced by nobody, least of all by its user', () => {
    const status = readFileSync(`/proc/${session.leaderPid}/status`, 'utf8');
    assert.match(status, new RegExp(`Uid:\\t${session.uid}\\t${session.uid}`));
    assert.equal(statSync(`/proc/${session.leaderPid}/fd`).uid, 0); // root's: what undumpable looks like
  });

  test('two relays joined end to end lose nothing', async () => {
    const port = await echo(0);
    const second = await start('root');
    const listener = await second.relay.listen({ kind: 'tcp', port: 0 }, (stream) => {
      void relay
        .connect({ kind: 'tcp', address: { host: '127.0.0.1', port } })
        .then((far) => joinStreams(stream, far));
    });
    const near = await relay.connect({
      kind: 'tcp',
      address: { host: '127.0.0.1', port: Number(listener.where) },
    });
    assert.ok((await exchange(near, bulk)).equals(bulk));
    second.relay.close();
    await second.launched.closed;
  });
});

function reaches(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1').once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
