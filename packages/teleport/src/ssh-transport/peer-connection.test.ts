// What both ends may ask of each other, ours at both: channels and global requests of any type, streams accepted
// elsewhere, and the ends of things.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect, createServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { after, before, test } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { GlobalRequest } from './connection.ts';
import { exchange, listenOn } from './forwarding.fixture.ts';
import { joinStreams } from './join-streams.ts';
import { Message } from './message.ts';
import { connectTo, hostKey, startTestServer, type TestServer, until } from './openssh.fixture.ts';
import { RawPeer } from './raw-peer.fixture.ts';
import { startSshServer } from './server.ts';
import type { ConnectionHandler, SshConnection } from './ssh-server.ts';

const BULK = randomBytes(3_000_000);
const MIB = 1024 * 1024;

let ours: TestServer;
let handler: ConnectionHandler = {};
const connections: SshConnection<string>[] = [];
const last = () => {
  const connection = connections.at(-1);
  assert.ok(connection);
  return connection;
};

before(async () => {
  ours = await startTestServer({
    limits: { maxChannels: 20 },
    onConnection(connection) {
      connections.push(connection);
      return handler;
    },
  });
});
after(() => ours.server.close('done'));

const echoing = (channel: Duplex) => void channel.pipe(channel);

test('a server opens a channel of its own kind to the client that dialled in, and logs in through it', async () => {
  handler = {};
  const inner = await startTestServer();
  const opens: string[] = [];
  const agent = await connectTo(ours.port, {
    handler: {
      channel({ type, payload }) {
        opens.push(`${type} ${payload}`);
        if (type !== 'teleport-transport') return { refuse: 'unknown-type', text: 'what is that' };
        const source = { remote: { host: '203.0.113.9', port: 5 }, local: { host: 'node-1', port: 0 } };
        return { accept: (channel) => inner.server.handle(channel, source) };
      },
    },
  });
  const stream = await last().openChannel('teleport-transport', Buffer.from('node-1:22'));
  const through = await connectTo(0, { stream });
  const session = await through.openSession();
  await session.exec('echo behind');
  assert.equal(Buffer.concat(await session.stdout.toArray()).toString(), 'behind\n');
  assert.deepEqual(opens, ['teleport-transport node-1:22']);
  assert.equal(inner.server.stats.accepted, 1);
  await assert.rejects(last().openChannel('other'), {
    code: 'ssh.channel_refused',
    kind: 'unsupported',
    message: /what is that/,
  });
  agent.close();
  await through.closed;
  await until('the inner connection to end', () => inner.server.stats.connections === 0);
  await inner.server.close('done');
});

test('a server with nobody listening serves what it is handed, and tells where it is from', async () => {
  const remotes: string[] = [];
  const server = await startSshServer<undefined>({
    hostKeys: [hostKey('ed25519')],
    authenticate: async () => ({ ok: true, identity: undefined }),
    onConnection({ remote }) {
      remotes.push(remote.host);
      return {};
    },
  });
  assert.equal(server.address.port, 0);
  const front = createServer((socket) =>
    server.handle(socket, { remote: { host: '198.51.100.7', port: 1 } }),
  );
  const client = await connectTo(await listenOn(front, 0));
  assert.deepEqual(remotes, ['198.51.100.7']);
  await assert.rejects(client.openSession(), { code: 'ssh.no_session', message: /no sessions here/ });
  client.close();
  front.close();
  await server.close('done');
});

test('global requests carry payloads both ways, and answers keep the order of the requests', async () => {
  const seen: string[] = [];
  const slowFirst = async ({ name, payload }: GlobalRequest) => {
    seen.push(name);
    if (name === 'slow') await new Promise((resolve) => setTimeout(resolve, 50));
    if (name === 'no') throw new Error('no');
    return name === 'bare' || Buffer.concat([Buffer.from(`${name} `), payload]);
  };
  handler = { globalRequest: slowFirst };
  const client = await connectTo(ours.port, { handler: { globalRequest: slowFirst } });
  for (const end of [client, last()]) {
    const answers = await Promise.all([
      end.globalRequest('slow', Buffer.from('a')),
      end.globalRequest('quick', Buffer.from('b')),
      end.globalRequest('no'),
      end.globalRequest('bare'),
    ]);
    assert.deepEqual(answers.map(String), ['slow a', 'quick b', 'undefined', '']);
    assert.ok(((await end.ping()) ?? 1e9) < 5_000);
  }
  const unanswered = last().globalRequest('slow');
  client.close();
  assert.equal(await unanswered, undefined);
  await client.closed;
  assert.equal(await client.ping(), undefined);
  await assert.rejects(client.openChannel('x'), { code: 'ssh.connection_lost' });
});

test('an answer may take its time while others are served; what throws refuses', async () => {
  const gate = Promise.withResolvers<void>();
  handler = {
    async directTcpip({ destination, originator }) {
      assert.deepEqual(originator, { host: '10.0.0.1', port: 77 });
      if (destination.port === 1) await gate.promise;
      if (destination.port === 2) throw new AppError('denied', 'test.no', 'your roles do not allow it');
      if (destination.port === 3) throw new Error('secret');
      return { accept: echoing };
    },
  };
  const client = await connectTo(ours.port);
  const to = (port: number) =>
    client.directTcpip({ host: 'db.internal', port }, { host: '10.0.0.1', port: 77 });
  const slow = to(1);
  assert.ok((await exchange(await to(9), BULK)).equals(BULK));
  await assert.rejects(to(2), { kind: 'unavailable', message: /your roles do not allow it/ });
  await assert.rejects(to(3), (error: Error) => !error.message.includes('secret'));
  await assert.rejects(to(70_000), { message: /not an address/ });
  gate.resolve();
  assert.ok((await exchange(await slow, BULK)).equals(BULK));
  client.close();
});

test('who was thinking when the connection ended is handed a stream that has ended', async () => {
  const gate = Promise.withResolvers<void>();
  const told = Promise.withResolvers<Duplex>();
  handler = {
    async channel() {
      await gate.promise;
      return { accept: told.resolve };
    },
  };
  const client = await connectTo(ours.port);
  const opening = client.openChannel('late');
  await client.ping();
  client.close();
  await assert.rejects(opening, { code: 'ssh.connection_lost' });
  await last().closed;
  gate.resolve();
  const stream = await told.promise;
  if (!stream.closed) await new Promise((resolve) => stream.once('close', resolve));
  assert.equal(stream.destroyed, true);
});

test('channels are bounded, the undecided among them, and a closed one makes room', async () => {
  const never = new Promise<never>(() => {});
  handler = { channel: ({ type }) => (type === 'undecided' ? never : { accept: echoing }) };
  const client = await connectTo(ours.port);
  for (let n = 0; n < 10; n++) client.openChannel('undecided').catch(() => {});
  const open = await Promise.all(Array.from({ length: 10 }, () => client.openChannel('echo')));
  await assert.rejects(client.openChannel('echo'), { kind: 'limit', message: /too many channels/ });
  assert.equal(last().channels, 10);
  open[0]?.destroy();
  await client.ping();
  assert.ok((await exchange(await client.openChannel('echo'), BULK)).equals(BULK));
  client.close();
});

test('a channel destroyed while the peer takes nothing closes at once', async () => {
  const accepted = Promise.withResolvers<Duplex>();
  handler = { channel: () => ({ accept: accepted.resolve }) };
  const client = await connectTo(ours.port);
  const ours_ = await client.openChannel('deaf');
  const theirs = await accepted.promise; // never read: the window stays shut after 2 MiB
  let written = 0;
  while (written < 16 * MIB && ours_.write(Buffer.alloc(64 * 1024))) {
    written += 64 * 1024;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(written < 4 * MIB, `${written / MIB} MiB`);
  ours_.destroy();
  theirs.resume();
  await until('both ends to be told', () => theirs.closed && last().channels === 0);
  client.close();
});

test('what a peer sent before it closed is read in full, and no error is thrown', async () => {
  handler = {
    channel: () => ({
      accept(channel) {
        channel.end(BULK);
        channel.resume();
      },
    }),
  };
  const client = await connectTo(ours.port);
  const stream = await client.openChannel('farewell');
  const errors: unknown[] = [];
  stream.on('error', (error) => errors.push(error));
  let got = 0;
  for await (const bytes of stream) {
    got += bytes.length;
    if (got < 100_000) stream.write(Buffer.alloc(1000));
  }
  assert.equal(got, BULK.length);
  assert.deepEqual(errors, []);
  client.close();
});

test('a connection that breaks looks like a close to whoever holds a channel', async () => {
  const theirs = Promise.withResolvers<Duplex>();
  handler = { channel: () => ({ accept: theirs.resolve }) };
  const client = await connectTo(ours.port);
  const stream = await client.openChannel('broken');
  last().close('going down');
  for (const end of [stream, await theirs.promise]) {
    if (!end.closed) await new Promise((resolve) => end.once('close', resolve));
    assert.equal(end.errored, null);
  }
  assert.match(await client.closed, /going down/);
});

test('joined streams pass on the half-close, and let pending output leave when a side is gone', async () => {
  handler = { channel: () => ({ accept: echoing }) };
  const client = await connectTo(ours.port);
  const front = createServer({ allowHalfOpen: true }, async (socket) => {
    await joinStreams(socket, await client.openChannel('echo'));
  });
  const port = await listenOn(front, 0);
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  assert.ok((await exchange(socket, BULK)).equals(BULK));
  await until('the channel to close', () => last().channels === 0);
  const gone = connect({ port, host: '127.0.0.1' });
  gone.write('half a word');
  await until('the channel', () => last().channels === 1);
  gone.destroy();
  await until('the channel to close', () => last().channels === 0);
  front.close();
  client.close();
});

test('an answer to a global request nobody sent ends the connection', async () => {
  const peer = await RawPeer.logIn(ours.port);
  peer.send({ byte: Message.requestSuccess });
  await until('the end', () => peer.ended !== undefined);
  assert.match(peer.ended ?? '', /answer to no global request/);
});
