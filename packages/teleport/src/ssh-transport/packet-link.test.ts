// Two links joined in memory: key exchange, new keys, and what a link does for a peer that gives and does not take.
import assert from 'node:assert/strict';
import { type Duplex, duplexPair } from 'node:stream';
import { test } from 'node:test';
import { KEX } from './algorithms.ts';
import { hostKeySigners } from './host-keys.ts';
import { Message } from './message.ts';
import { hostKey, until } from './openssh.fixture.ts';
import { type LinkOptions, PacketLink } from './packet-link.ts';
import { ready } from './ssh2-protocol.ts';
import { encode } from './wire.ts';

interface End {
  readonly link: PacketLink;
  readonly stream: Duplex;
  readonly messages: Buffer[];
  secured: boolean;
  ended: string | undefined;
  onMessage: (payload: Buffer) => void;
}

function end(
  options: Omit<LinkOptions, 'version' | 'rekeyBytes' | 'rekeyIntervalMs'> & Partial<LinkOptions>,
): End {
  const self: Omit<End, 'link'> = {
    stream: options.stream,
    messages: [],
    secured: false,
    ended: undefined,
    onMessage: (payload) => self.messages.push(payload),
  };
  const link = new PacketLink(
    { version: 'Test', rekeyBytes: 2 ** 30, rekeyIntervalMs: 0, ...options },
    {
      secured: () => {
        self.secured = true;
      },
      message: (_type, payload) => self.onMessage(payload),
      drained: () => {},
      ended: (reason) => {
        self.ended = reason;
      },
    },
  );
  return Object.assign(self, { link });
}

async function pair(server: Partial<LinkOptions> = {}, client: Partial<LinkOptions> = {}) {
  await ready;
  const [a, b] = duplexPair();
  const hostKeys = hostKeySigners([hostKey('ed25519')]);
  const ends = {
    server: end({ stream: a, server: true, hostKeys, ...server }),
    client: end({
      stream: b,
      server: false,
      hostKeyAlgorithms: ['ssh-ed25519-cert-v01@openssh.com'],
      ...client,
    }),
  };
  ends.server.link.trusted = true;
  ends.client.link.trusted = true;
  await until('both to have keys', () => ends.server.secured && ends.client.secured);
  return ends;
}

const ask = (text: string) => encode({ byte: Message.globalRequest }, text);

for (const kex of KEX) {
  test(`${kex} gives both ends the same session and working keys, again and again`, async () => {
    const { server, client } = await pair({}, { offer: { kex: [kex] } });
    assert.equal(client.link.negotiated?.kex, kex);
    assert.deepEqual(client.link.sessionId, server.link.sessionId);
    const session = client.link.sessionId;
    for (const [n, starter] of [server, client, server].entries()) {
      starter.link.rekey();
      client.link.send(ask(`during ${n}`));
      await until('new keys', () => client.link.handshakes === n + 2 && server.link.handshakes === n + 2);
    }
    assert.deepEqual(client.link.sessionId, session, 'the session id never changes');
    await until('the messages', () => server.messages.length === 3);
  });
}

test('the post-quantum key exchange is the one both ends prefer', async () => {
  const { client } = await pair();
  assert.equal(client.link.negotiated?.kex, 'mlkem768x25519-sha256');
});

test('keys are renewed after rekeyBytes, in whatever direction they went', async () => {
  const { server, client } = await pair({ rekeyBytes: 200_000 });
  for (let n = 0; n < 10; n++) client.link.send(ask('x'.repeat(30_000)));
  await until('new keys', () => server.link.handshakes === 2);
  for (let n = 0; n < 10; n++) server.link.send(ask('x'.repeat(30_000)));
  await until('new keys', () => server.link.handshakes === 3);
  const arrived = () => client.messages.filter(([type]) => type === Message.globalRequest).length;
  await until('all of them', () => arrived() === 10);
});

test('keys are renewed after rekeyIntervalMs', async () => {
  const { server } = await pair({ rekeyIntervalMs: 20 });
  await until('new keys', () => server.link.handshakes >= 3);
  server.link.disconnect(11, 'done');
});

test('both ends may start new keys at the same time', async () => {
  const { server, client } = await pair();
  server.link.rekey();
  client.link.rekey();
  await until('new keys', () => server.link.handshakes === 2 && client.link.handshakes === 2);
  client.link.send(ask('after'));
  await until('the message', () => server.messages.length === 1);
});

test('an untrusted peer that renews keys over and over is cut off', async () => {
  const { server, client } = await pair();
  server.link.trusted = false;
  for (let n = 1; n < 5 && server.ended === undefined; n++) {
    client.link.rekey();
    await until('an outcome', () => server.link.handshakes === n + 1 || server.ended !== undefined);
  }
  assert.equal(server.ended, 'Too many key exchanges.');
});

test('a peer that asks and does not read stops being read', async () => {
  const { server, client } = await pair();
  server.onMessage = () => server.link.send(encode({ byte: Message.requestFailure }, 'x'.repeat(1000)));
  client.stream.pause();
  client.stream.resume = () => client.stream;
  for (let n = 0; n < 10_000; n++) client.link.send(ask('what?'));
  await until('the pause', () => server.stream.isPaused());
  assert.ok(server.stream.writableLength < 1.5 * 1024 * 1024, `${server.stream.writableLength} bytes wait`);
  assert.equal(server.link.writable, false);
});

test('a peer that asks and never ends a key exchange is cut off before much waits for it', async () => {
  const { server, client } = await pair();
  server.onMessage = () => server.link.send(encode({ byte: Message.requestFailure }));
  client.stream.pause();
  client.stream.resume = () => client.stream;
  server.link.rekey();
  assert.equal(server.link.writable, false, 'no session data while keys change');
  for (let n = 0; n < 10_000; n++) client.link.send(ask('what?'));
  await until('the end', () => server.ended !== undefined);
  assert.match(server.ended ?? '', /too much waits/);
});

test('a bit flipped on the way ends the connection', async () => {
  const { server, client } = await pair();
  client.stream.write(Buffer.alloc(64, 7)); // behind the ciphers' back
  await until('the end', () => server.ended !== undefined);
  assert.match(server.ended ?? '', /protocol error/);
  assert.equal(server.messages.length, 0);
});

test('the goodbye of one end is what the other reports', async () => {
  const { server, client } = await pair();
  server.link.disconnect(11, 'going home');
  await until('the end', () => client.ended !== undefined);
  assert.equal(client.ended, 'the peer disconnected: going home');
  client.link.send(ask('late'));
  server.link.send(ask('late'));
});
