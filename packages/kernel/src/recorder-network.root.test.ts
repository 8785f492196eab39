// Connections of a session, seen by the real recorder on the real kernel. Loopback only.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { ConnectEvent } from './kernel-event.ts';
import { KernelHost, ofType, program, type Recording, skip, until } from './kernel-host.fixture.ts';

interface Said {
  readonly pid: number;
  readonly first: number;
  readonly errno: number;
  readonly port: number;
}

/** A port on which somebody listens until the test ends. */
async function listener(t: TestContext, address: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.resume();
  }).listen(0, address);
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A port on which nobody listens: given back by the kernel a moment ago. */
async function freePort(address: string): Promise<number> {
  const server = createServer().listen(0, address);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** The connect to `port`, and the later word about it. */
function connectTo(events: Recording['events'], port: number) {
  const toPort = (type: ConnectEvent['type']) =>
    events.filter((e): e is ConnectEvent => e.type === type && 'dstPort' in e && e.dstPort === port);
  const connects = toPort('connect');
  assert.equal(connects.length, 1, 'one connect record a connect');
  const [connect] = connects;
  assert.ok(connect);
  const outcomes = toPort('connect_outcome').filter((e) => e.socket === connect.socket);
  assert.equal(
    outcomes.length,
    connect.outcome === 'pending' ? 1 : 0,
    `outcome of a ${connect.outcome} connect`,
  );
  const settled = outcomes[0] ?? connect;
  return { connect, settled, close: toPort('socket_close').find((e) => e.socket === connect.socket) };
}

describe('connections', { skip }, () => {
  let host: KernelHost;
  before(async () => {
    host = await KernelHost.start();
  });
  after(() => host?.stop());

  for (const [address, family] of [
    ['127.0.0.1', 2],
    ['::1', 10],
  ] as const) {
    for (const mode of ['blocking', 'nonblock']) {
      const args = mode === 'nonblock' ? ['nonblock', '300'] : ['', '300'];

      test(`${address} ${mode}: an established connection has both ends, bytes and duration`, async (t) => {
        const port = await listener(t, address);
        const { events, stdout } = await host.record(t, [
          program('connects'),
          'tcp',
          address,
          String(port),
          ...args,
        ]);
        const said: Said = JSON.parse(stdout);
        const { connect, settled, close } = connectTo(events, port);
        assert.deepEqual(
          [connect.pid, connect.family, connect.protocol, connect.dstAddr, connect.operation, connect.kind],
          [said.pid, family, 6, address, 'connect', 'network'],
        );
        assert.deepEqual([settled.outcome, settled.error], ['established', 0]);
        assert.deepEqual([settled.srcAddr, settled.srcPort], [address, said.port]);
        assert.ok(close, 'the close is recorded');
        assert.equal(close.bytesSent, 300n);
        assert.ok(close.durationNs > 0n && close.durationNs < 10_000_000_000n);
      });

      test(`${address} ${mode}: a refused connection says so`, async (t) => {
        const port = await freePort(address);
        const { events, stdout } = await host.record(t, [
          program('connects'),
          'tcp',
          address,
          String(port),
          ...args,
        ]);
        const said: Said = JSON.parse(stdout);
        assert.equal(said.errno, 111);
        const { connect, settled } = connectTo(events, port);
        assert.equal(connect.dstAddr, address);
        assert.deepEqual([settled.outcome, settled.error], ['failed', 111]);
      });
    }

    test(`${address} udp: a connect has nothing to wait for`, async (t) => {
      const port = await freePort(address);
      const { events } = await host.record(t, [program('connects'), 'udp', address, String(port)]);
      const { connect } = connectTo(events, port);
      assert.deepEqual([connect.outcome, connect.protocol, connect.dstAddr], ['none', 17, address]);
    });
  }

  test('bash’s own /dev/tcp is seen although nothing is executed for it', async (t) => {
    const port = await listener(t, '127.0.0.1');
    const { events } = await host.record(t, [
      '/bin/bash',
      '-c',
      `exec 3<>/dev/tcp/127.0.0.1/${port}; echo hi >&3`,
    ]);
    assert.equal(connectTo(events, port).settled.outcome, 'established');
    assert.equal(ofType(events, 'exec').length, 1);
  });

  for (const address of ['127.0.0.1', '::1']) {
    test(`datagrams to ${address} without a connect are told once a destination`, async (t) => {
      const port = await freePort(address);
      const { events } = await host.record(t, [program('connects'), 'send', address, String(port), '50']);
      const sends = ofType(events, 'connect').filter((event) => event.dstPort === port);
      assert.deepEqual(
        sends.map((event) => [event.operation, event.dstAddr, event.protocol, event.source]),
        [['send', address, 17, 'cgroup_sendmsg']],
      );
    });
  }

  test('AF_UNIX: the socket’s path, abstract names and refusals', async (t) => {
    const path = join(host.dir, 'listens');
    const abstract = `\0sallyport-${process.pid}`;
    for (const at of [path, abstract]) {
      const server = createServer((socket) => socket.destroy()).listen(at);
      await once(server, 'listening');
      t.after(() => server.close());
    }
    const connectUnix = async (to: string) => {
      const { events } = await host.record(t, [program('connects'), 'unix', to]);
      const [connect, ...others] = ofType(events, 'connect').filter((event) => event.family === 1);
      assert.deepEqual(others, []);
      return [connect?.unixPath?.toString('latin1'), connect?.outcome, connect?.error];
    };
    assert.deepEqual(await connectUnix(path), [path, 'established', 0]);
    assert.deepEqual(await connectUnix(`@${abstract.slice(1)}`), [abstract, 'established', 0]);
    assert.deepEqual(await connectUnix('/nowhere.sock'), ['/nowhere.sock', 'failed', 2]);
  });

  test('connections that cut into each other in softirq have each one outcome and one end', async (t) => {
    const port = await listener(t, '127.0.0.1');
    const one = `${program('connects')} flood 127.0.0.1 ${port} 1500`;
    const { events, stdout } = await host.record(t, ['/bin/sh', '-c', `${one} & ${one} & ${one} & wait`]);
    const made = stdout
      .trim()
      .split('\n')
      .reduce((sum, line) => sum + JSON.parse(line).done, 0);
    const toPort = events.filter((e): e is ConnectEvent => 'dstPort' in e && e.dstPort === port);
    const established = toPort.filter((e) => e.type !== 'socket_close' && e.outcome === 'established');
    assert.equal(established.length, made);
    assert.equal(new Set(established.map((e) => e.socket)).size, made);
    assert.equal(toPort.filter((e) => e.type === 'socket_close').length, made);
    assert.equal((await host.client.stats()).programMisses, 0);
  });

  test('what the kernel skipped and nothing made up for is a loss of every session that lives', async (t) => {
    const { client } = host;
    const open = await Promise.all([1, 2].map(() => host.open(t, ['/bin/true'])));
    assert.equal((await client.stats()).programMisses, 0);
    const skipped = host.loseTransitions();
    assert.equal((await client.stats()).programMisses, skipped);
    for (const session of open) {
      await until('it is declared', async () => (await client.totals(session.id)).kinds.meta.lost > 0);
      session.go();
      await session.idle();
      // `end` holds the totals to the spool: emitted = recorded + declared lost.
      const { events, totals } = await session.end();
      assert.equal(totals.kinds.meta.lost, skipped);
      assert.deepEqual(
        ofType(events, 'lost').map(({ cause, kind, count }) => ({ cause, kind, count })),
        [{ cause: 'unknown', kind: 'meta', count: skipped }],
      );
    }
    const { totals } = await host.record(t, ['/bin/true']);
    assert.equal(totals.kinds.meta.lost, 0, 'a session that began later lost nothing');
  });
});
