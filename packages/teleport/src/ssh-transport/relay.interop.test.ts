// Connections that a relay hands over: OpenSSH's client behind one, crowds behind one, and lines that are not believed.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { test } from 'node:test';
import { joinStreams } from './join-streams.ts';
import { connectTo, finished, ssh, startSsh, startTestServer, until } from './openssh.fixture.ts';
import { RELAY_MAGIC } from './relay-line.ts';
import type { RelayVerdict } from './ssh-server.ts';

const PERSON = { host: '192.0.2.7', port: 4711 };

/** The line says it all: `<host>` is believed, `no` is not. */
const relayed = async (line: string): Promise<RelayVerdict> => {
  const host = line.slice(RELAY_MAGIC.length);
  return host === 'no' ? { refuse: 'a forged line' } : { remote: { host, port: PERSON.port } };
};

/** Puts the line before whatever its clients send. */
async function startRelay(port: number, line: string): Promise<{ port: number; server: Server }> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    far.write(line);
    joinStreams(near, far);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  return { port: typeof address === 'object' && address ? address.port : 0, server };
}

interface Raw {
  readonly socket: Socket;
  readonly got: () => string;
}

function send(port: number, text: string, localAddress = '127.0.0.1'): Raw {
  let got = '';
  const socket = connect({ port, host: '127.0.0.1', localAddress });
  socket.on('error', () => {});
  socket.setEncoding('latin1').on('data', (more: string) => {
    got += more;
  });
  socket.write(text);
  return { socket, got: () => got };
}

const greeted = ({ got }: Raw) => got().includes('mlkem768x25519');

test('OpenSSH behind a relay is, for log-in and session, at the address the relay tells', async () => {
  const remotes: unknown[] = [];
  const server = await startTestServer({
    relayed,
    onConnection: ({ remote }) => {
      remotes.push(remote);
      return {};
    },
    authenticate: async ({ remote }) => {
      remotes.push(remote);
      return { ok: true, identity: '' };
    },
  });
  const relay = await startRelay(server.port, `${RELAY_MAGIC}${PERSON.host}\n`);
  await ssh({ port: relay.port }, 'true');
  assert.deepEqual(remotes, [PERSON, PERSON]);
  remotes.splice(0);
  await ssh({ port: server.port }, 'true');
  assert.equal(new Set(remotes.map((each) => JSON.stringify(each))).size, 1);
  assert.match(JSON.stringify(remotes), /127\.0\.0\.1/);
  relay.server.close();
  await server.server.close('done');
});

test('a session through a relay carries its bytes as any other', async () => {
  const server = await startTestServer({ relayed });
  const relay = await startRelay(server.port, `${RELAY_MAGIC}${PERSON.host}\n`);
  const child = startSsh({ port: relay.port }, 'cat');
  child.stdin?.end('x'.repeat(1_000_000));
  const { code, stdout } = await finished(child);
  assert.deepEqual([code, stdout.length], [0, 1_000_000]);
  relay.server.close();
  await server.server.close('done');
});

test('a line that is not believed ends the connection with a reason for the log, and nobody is asked to log in', async () => {
  const server = await startTestServer({ relayed });
  const relay = await startRelay(server.port, `${RELAY_MAGIC}no\n`);
  const { code, stderr } = await ssh({ port: relay.port }, 'true');
  assert.equal(code, 255);
  assert.match(stderr, /The relay is not believed/);
  assert.deepEqual(
    server.refusals.map(({ kind, reason, remote }) => [kind, reason, remote.host]),
    [['relay', 'a forged line', '127.0.0.1']],
  );
  assert.deepEqual(server.attempts, []);
  relay.server.close();
  await server.server.close('done');
});

test('a server that knows no relays takes the line for a broken protocol, and so does one that is handed the stream', async () => {
  const plain = await startTestServer();
  const tunnelled = await startTestServer({ relayed });
  const inlet = createServer((socket) => tunnelled.server.handle(socket, { remote: PERSON }));
  await once(inlet.listen(0, '127.0.0.1'), 'listening');
  const address = inlet.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  for (const [server, to] of [
    [plain, plain.port],
    [tunnelled, port],
  ] as const) {
    send(to, `${RELAY_MAGIC}192.0.2.9\nSSH-2.0-x\r\n`);
    await until('the refusal', () => server.refusals.length === 1);
    assert.equal(server.refusals[0]?.kind, 'protocol');
  }
  inlet.close();
  await plain.server.close('done');
  await tunnelled.server.close('done');
});

test('200 people at once through one relay are not taken for one source; each of them is a source', async () => {
  const maxStartups = { start: 1000, ratePercent: 100, full: 1000 };
  const server = await startTestServer({ relayed, limits: { maxStartups } });
  const person = (n: number) => send(server.port, `${RELAY_MAGIC}198.51.100.${n}\nSSH-2.0-x\r\n`);
  const crowd = Array.from({ length: 200 }, (_, n) => person(n));
  await until('all to be greeted', () => crowd.every(greeted));
  assert.equal(server.server.stats.unauthenticated, 200);
  assert.equal(server.refusals.length, 0);
  const greedy = Array.from({ length: 70 }, () => person(250));
  await until('the share of one', () => server.refusals.length === 70 - 64);
  for (const { kind, remote } of server.refusals)
    assert.deepEqual([kind, remote.host], ['per-source-startups', '198.51.100.250']);
  for (const { socket } of [...crowd, ...greedy]) socket.destroy();
  await until('their end', () => server.server.stats.unauthenticated === 0);
  await server.server.close('done');
});

test('without a relay the share of a source is what it was: beyond it nobody is greeted, silent or not', async () => {
  const server = await startTestServer({ relayed, limits: { perSourceStartups: { max: 3 } } });
  const first = [1, 2, 3].map(() => send(server.port, 'SSH-2.0-x\r\n', '127.0.0.2'));
  await until('three', () => first.every(greeted));
  const more = [1, 2].map(() => send(server.port, 'SSH-2.0-x\r\n', '127.0.0.2'));
  await until('their refusal', () => server.server.stats.refusedBySource === 2);
  const silent = Array.from({ length: 100 }, () => send(server.port, '', '127.0.0.2'));
  // Twelve are on trial, four shares; the others are refused at once.
  await until('the many', () => server.server.stats.refusedBySource === 2 + 88);
  (await connectTo(server.port)).close();
  await until('the end of the trial', () => server.server.stats.refusedBySource === 102, 10_000);
  assert.ok(!more.some(greeted));
  assert.equal(server.refusals[0]?.remote.host, '127.0.0.2');
  for (const { socket } of [...first, ...more, ...silent]) socket.destroy();
  await until('nobody', () => server.server.stats.unauthenticated === 0);
  await server.server.close('done');
});
