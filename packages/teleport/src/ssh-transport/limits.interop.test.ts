// What a peer may cost us: silent crowds, readers that do not read, floods, garbage. After each of them the server
// must still serve others, and its memory must be what it was, more or less.
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { Message } from './message.ts';
import {
  connectTo,
  finished,
  ssh,
  startSsh,
  startTestServer,
  type TestServer,
  until,
} from './openssh.fixture.ts';
import { RawPeer } from './raw-peer.fixture.ts';
import type { SessionChannel } from './session-channel.ts';
import { encode } from './wire.ts';

const MIB = 1024 * 1024;

let ours: TestServer;
before(async () => {
  ours = await startTestServer();
});
after(() => ours.server.close('done'));

const rss = () => process.memoryUsage().rss;

/** A new log-in and a command, through our own client. */
async function served(port: number): Promise<void> {
  const client = await connectTo(port);
  const session = await client.openSession();
  assert.equal(await session.exec('exit 9'), true);
  assert.deepEqual(await session.exited, { code: 9 });
  client.close();
}

function silent(port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connect({ port, host: '127.0.0.1', localAddress }, () => resolve(socket));
  socket.on('error', reject);
  socket.on('data', () => {});
  return promise;
}

test('1,000 connections that never log in cost little, block nobody and are closed when their time is over', async () => {
  const maxStartups = { start: 1100, ratePercent: 100, full: 1100 };
  // Long enough for a slow machine to have all of them at one time.
  const limits = { loginGraceTimeMs: 10_000, maxStartups, perSourceStartups: { max: 1100 } };
  const server = await startTestServer({ limits });
  const working = startSsh({ port: server.port }, 'cat');
  await until('the session', () => server.sessions.length === 1);
  const before = rss();
  const crowd = await Promise.all(Array.from({ length: 1000 }, () => silent(server.port)));
  await until('all of them', () => server.server.stats.unauthenticated === 1000, 9_000);
  assert.ok(rss() - before < 120 * MIB, `${(rss() - before) / MIB} MiB`);
  await served(server.port);
  await until('their end', () => server.server.stats.connections <= 1, 40_000);
  assert.equal(server.refusals.filter(({ kind }) => kind === 'login-grace-time').length, 1000);
  working.stdin?.end('still works');
  assert.equal((await finished(working)).stdout, 'still works');
  for (const socket of crowd) socket.destroy();
  await server.server.close('done');
});

test('1,000 connections of one source that never log in do not keep another source out', async () => {
  const server = await startTestServer(); // with the limits everybody has who sets none
  const crowd = await Promise.all(Array.from({ length: 1000 }, () => silent(server.port, '127.0.0.2')));
  await until('the refusals', () => server.server.stats.refusedBySource === 1000 - 64);
  assert.equal(server.server.stats.unauthenticated, 64);
  for (let n = 0; n < 20; n++) await served(server.port);
  assert.equal(server.server.stats.refusedByStartups, 0);
  assert.equal(server.refusals[0]?.kind, 'per-source-startups');
  assert.equal(server.refusals[0]?.remote.host, '127.0.0.2');
  for (const socket of crowd) socket.destroy();
  await until('their end', () => server.server.stats.unauthenticated === 0);
  const stream = connect({ port: server.port, host: '127.0.0.1', localAddress: '127.0.0.2' });
  (await connectTo(server.port, { stream })).close();
  await server.server.close('done');
});

test('from maxStartups.full on, new connections are closed at once, and counted', async () => {
  const server = await startTestServer({ limits: { maxStartups: { start: 3, ratePercent: 100, full: 3 } } });
  const sockets = await Promise.all([1, 2, 3].map(() => silent(server.port)));
  await until('three', () => server.server.stats.unauthenticated === 3);
  await assert.rejects(connectTo(server.port));
  assert.equal(server.server.stats.refusedByStartups, 1);
  assert.equal(server.refusals[0]?.kind, 'max-startups');
  sockets[0]?.destroy();
  await until('one to leave', () => server.server.stats.unauthenticated === 2);
  await served(server.port);
  for (const socket of sockets) socket.destroy();
  await server.server.close('done');
});

test('maxConnections counts those who are logged in, too', async () => {
  const server = await startTestServer({ limits: { maxConnections: 2 } });
  const clients = [await connectTo(server.port), await connectTo(server.port)];
  await assert.rejects(connectTo(server.port));
  assert.equal(server.refusals[0]?.kind, 'max-connections');
  for (const client of clients) client.close();
  await server.server.close();
});

test('maxSessions bounds the sessions of a connection; a closed one makes room', async () => {
  const server = await startTestServer({ limits: { maxSessions: 2 } });
  const client = await connectTo(server.port);
  const [first] = await Promise.all([client.openSession(), client.openSession()]);
  await assert.rejects(client.openSession(), { code: 'ssh.no_session' });
  await first.close();
  const third = await client.openSession();
  assert.equal(await third.exec('exit 0'), true);
  client.close();
  await server.server.close('done');
});

test('a connection without sessions is closed after idleMs', async () => {
  const server = await startTestServer({ limits: { idleMs: 50 } });
  const client = await connectTo(server.port);
  assert.match(await client.closed, /Idle too long/);
  await server.server.close('done');
});

test('a peer that no longer answers is given up after keepaliveTries', async () => {
  const server = await startTestServer({ limits: { keepaliveMs: 100, keepaliveTries: 1 } });
  const lively = await connectTo(server.port);
  const peer = await RawPeer.logIn(server.port); // receives, never answers a global request
  assert.ok(await peer.next(Message.globalRequest));
  await until('the end', () => peer.ended !== undefined);
  assert.match(peer.ended ?? '', /No answer/);
  await (await lively.openSession()).close();
  lively.close();
  await server.server.close('done');
});

/** A server whose sessions write without end and count what the transport has taken. */
async function startWriter() {
  const written = { bytes: 0, stopped: false };
  const block = Buffer.alloc(64 * 1024);
  const write = async (channel: SessionChannel) => {
    while (await channel.stdout.write(block)) written.bytes += block.length;
    written.stopped = true;
  };
  const server = await startTestServer({
    onConnection: () => ({
      session: ({ channel }) => ({
        exec: () => {
          void write(channel);
          return true;
        },
      }),
    }),
  });
  return { ...server, written };
}

test('a peer with a 4 GiB window that stops reading stops the writer', async () => {
  const writer = await startWriter();
  const peer = await RawPeer.logIn(writer.port);
  await peer.open(2 ** 32 - 1);
  peer.stopReading();
  const before = rss();
  peer.start('');
  let [last, polls] = [0, 0];
  await until('the writer to stall', () => {
    polls = last > 0 && writer.written.bytes === last ? polls + 1 : 0;
    last = writer.written.bytes;
    return polls > 30;
  });
  // The kernel's socket buffers on loopback take some 6 MiB.
  assert.ok(writer.written.bytes < 24 * MIB, `${writer.written.bytes / MIB} MiB written`);
  assert.ok(rss() - before < 64 * MIB, `${(rss() - before) / MIB} MiB more`);
  await served(ours.port);
  peer.readAgain();
  const then = writer.written.bytes;
  await until('the writer to go on', () => writer.written.bytes > then + 64 * MIB);
  peer.socket.destroy();
  await until('the writer to be told', () => writer.written.stopped);
  await writer.server.close('done');
});

test('a small window is kept to exactly', async () => {
  const writer = await startWriter();
  const peer = await RawPeer.logIn(writer.port);
  await peer.exec('', 10_000);
  const got = () =>
    peer.received
      .filter(({ type }) => type === Message.channelData)
      .reduce((n, m) => n + m.payload.length - 9, 0);
  await until('the window to be full', () => got() === 10_000);
  peer.send({ byte: Message.channelWindowAdjust }, { uint32: 0 }, { uint32: 5 });
  await until('the rest', () => got() === 10_005);
  await peer.exec('x'); // any answer shows that nothing else was sent in between
  assert.equal(got(), 10_005);
  peer.socket.destroy();
  await writer.server.close('done');
});

test('one-byte packets into a session nobody reads cost no more than the window', async () => {
  const server = await startTestServer({ onConnection: () => ({ session: () => ({ exec: () => true }) }) });
  const peer = await RawPeer.logIn(server.port);
  await peer.exec('');
  const before = rss();
  const one = Buffer.from('x');
  for (let n = 0; n < 30_000 && peer.ended === undefined; n++) {
    peer.send({ byte: Message.channelData }, { uint32: 0 }, one);
    if (n % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await until('it to be sent', () => peer.socket.writableLength === 0);
  assert.equal(peer.ended, undefined);
  assert.ok(rss() - before < 64 * MIB, `${(rss() - before) / MIB} MiB`);
  peer.socket.destroy();
  await server.server.close('done');
});

test('more data than the window allows ends the connection', async () => {
  const server = await startTestServer({ onConnection: () => ({ session: () => ({ exec: () => true }) }) });
  const peer = await RawPeer.logIn(server.port);
  await peer.exec('');
  for (let n = 0; n < 65; n++)
    peer.send({ byte: Message.channelData }, { uint32: 0 }, Buffer.alloc(32 * 1024));
  await until('the end', () => peer.ended !== undefined);
  assert.match(peer.ended ?? '', /more data than the window allows/);
  await server.server.close('done');
});

test('an identification line may come byte by byte', async () => {
  const socket = await silent(ours.port);
  let text = '';
  socket.on('data', (data) => {
    text += data.toString('latin1');
  });
  for (const byte of 'SSH-2.0-slow\r\n') {
    socket.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  // Our KEXINIT comes only once the line was understood.
  await until('our KEXINIT', () => text.includes('mlkem768x25519-sha256'));
  socket.destroy();
});

test('garbage on the socket ends that connection and nothing else', async () => {
  const held = await connectTo(ours.port);
  const ident = fc.constantFrom(
    '',
    'SSH-2.0-x\r\n',
    'SSH-2.0-x\n',
    'SSH-1.0-old\r\n',
    'GET / HTTP/1.1\r\n\r\n',
  );
  const lengths = fc.constantFrom(
    Buffer.alloc(0),
    Buffer.from('0000001c0a14', 'hex'),
    Buffer.from('ffffffff', 'hex'),
  );
  await fc.assert(
    fc.asyncProperty(ident, lengths, fc.uint8Array({ maxLength: 3000 }), async (line, length, bytes) => {
      const socket = await silent(ours.port);
      socket.removeAllListeners('error').on('error', () => {});
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.write(line);
      socket.write(length);
      socket.end(bytes);
      await closed;
    }),
    { numRuns: 80 },
  );
  await (await held.openSession()).close();
  held.close();
  await served(ours.port);
});

/** An unencrypted packet with right lengths (RFC 4253 section 6). */
function frame(payload: Buffer): Buffer {
  const padding = 8 - ((payload.length + 5) % 8) + 8;
  const head = Buffer.alloc(5);
  head.writeUInt32BE(payload.length + padding + 1);
  head[4] = padding;
  return Buffer.concat([head, payload, Buffer.alloc(padding)]);
}

const KEXINIT = 20;
const STRICT = 'kex-strict-c-v00@openssh.com';

function kexInit(kex: string): Buffer {
  const mac = 'hmac-sha2-256-etm@openssh.com';
  const lists = [kex, 'ssh-ed25519', 'aes128-ctr', 'aes128-ctr', mac, mac, 'none', 'none', '', ''];
  const head = Buffer.from([KEXINIT, ...Buffer.alloc(16, 1)]);
  return Buffer.concat([head, ...lists.map((list) => encode(list)), Buffer.alloc(5)]);
}

/** What the server did with these packets: ended the connection, or waits for more. */
async function outcome(...payloads: readonly Buffer[]): Promise<'ended' | 'goes on'> {
  const socket = await silent(ours.port);
  let ended = false;
  socket.removeAllListeners('error').on('error', () => {});
  socket.once('close', () => {
    ended = true;
  });
  socket.write('SSH-2.0-x\r\n');
  for (const payload of payloads) socket.write(frame(payload));
  for (let n = 0; n < 100 && !ended; n++) await new Promise((resolve) => setTimeout(resolve, 2));
  socket.destroy();
  return ended ? 'ended' : 'goes on';
}

test('under strict key exchange nothing may come before or in between (CVE-2023-48795)', async () => {
  const ignore = encode({ byte: Message.ignore }, 'padding');
  assert.equal(await outcome(kexInit('curve25519-sha256')), 'goes on');
  assert.equal(await outcome(ignore, kexInit('curve25519-sha256')), 'goes on');
  assert.equal(await outcome(kexInit(`curve25519-sha256,${STRICT}`)), 'goes on');
  assert.equal(await outcome(ignore, kexInit(`curve25519-sha256,${STRICT}`)), 'ended');
  assert.equal(await outcome(kexInit(`curve25519-sha256,${STRICT}`), ignore), 'ended');
});

test('well-framed nonsense amid the key exchange ends that connection only', async () => {
  const payload = fc.oneof(
    fc.constantFrom(kexInit('curve25519-sha256'), kexInit('mlkem768x25519-sha256'), kexInit(STRICT)),
    fc
      .tuple(
        fc.constantFrom(1, 2, 5, 6, 20, 20, 21, 30, 30, 31, 34, 50, 94),
        fc.uint8Array({ maxLength: 1300 }),
      )
      .map(([type, bytes]) => Buffer.from([type, ...bytes])),
    fc
      .constantFrom(0, 31, 32, 33, 65, 1216, 1300)
      .map((length) => encode({ byte: 30 }, Buffer.alloc(length))),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(payload, { maxLength: 6 }), async (payloads) => {
      const socket = await silent(ours.port);
      socket.removeAllListeners('error').on('error', () => {});
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.write('SSH-2.0-x\r\n');
      for (const bytes of payloads) socket.write(frame(bytes));
      socket.end();
      await closed;
    }),
    { numRuns: 80 },
  );
  await served(ours.port);
});

const number = fc.oneof(
  fc.constantFrom(0, 1, 7, 255, 2 ** 15, 2 ** 31, 2 ** 32 - 1),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
);
const word = fc.constantFrom(
  ...'session exec shell env pty-req window-change signal subsystem ssh-userauth ssh-connection'.split(' '),
  ...'publickey none alice ssh-ed25519 xterm LC_ALL TERM tcpip-forward keepalive@openssh.com'.split(' '),
);
const field = fc.oneof(
  number.map((uint32) => ({ uint32 })),
  fc.boolean(),
  word,
  fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
);
const message = fc.tuple(
  fc.oneof(
    fc.constantFrom(5, 7, 50, 80, 90, 93, 94, 95, 96, 97, 98, 98, 98, 99, 100),
    fc.integer({ min: 1, max: 255 }).filter((type) => type < 20 || type > 49),
  ),
  fc.array(field, { maxLength: 8 }),
);

for (const [when, join] of [
  ['before log-in', RawPeer.connect],
  ['after log-in', RawPeer.logIn],
] as const) {
  test(`any message ${when} ends at most that connection`, async () => {
    const held = await connectTo(ours.port);
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 12 }), async (messages) => {
        const peer = await join(ours.port);
        if (when === 'after log-in') await peer.exec('cat >/dev/null');
        for (const [type, fields] of messages) peer.send({ byte: type }, ...fields);
        await new Promise((resolve) => setImmediate(resolve));
        peer.socket.destroy();
      }),
      { numRuns: 50 },
    );
    await (await held.openSession()).close();
    held.close();
    assert.equal((await ssh({ port: ours.port }, 'echo alive')).stdout, 'alive\n');
  });
}
