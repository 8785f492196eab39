import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { connect } from 'node:tls';
import fc from 'fast-check';
import { type ClientHello, ClientHelloReader, type HelloVerdict } from './client-hello.ts';

/** The first flight of node's own TLS client. */
async function realHello(options: { servername?: string; ALPNProtocols?: string[] }): Promise<Buffer> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const client = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options });
  client.on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [Socket];
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  client.destroy();
  server.close();
  return bytes;
}

function read(pieces: readonly Buffer[]): HelloVerdict {
  const reader = new ClientHelloReader();
  let verdict: HelloVerdict = { state: 'more' };
  for (const piece of pieces) {
    verdict = reader.push(piece);
    if (verdict.state !== 'more') break;
  }
  return verdict;
}

function cut(bytes: Buffer, lengths: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (const length of lengths) {
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return [...pieces, bytes.subarray(at)];
}

/** One record → as many records as there are pieces. */
function inRecords(hello: Buffer, lengths: readonly number[]): Buffer {
  return Buffer.concat(
    cut(hello.subarray(5), lengths)
      .filter((piece) => piece.length > 0)
      .map((piece) => Buffer.concat([Buffer.of(22, 3, 1, piece.length >> 8, piece.length & 255), piece])),
  );
}

const expected: ClientHello = {
  serverName: 'proxy.example.com',
  protocols: ['teleport-proxy-ssh', 'http/1.1'],
};
const hello = await realHello({ servername: 'Proxy.Example.com', ALPNProtocols: [...expected.protocols] });

test("name and protocols of a real client's hello are read, in its order", () => {
  assert.deepEqual(read([hello]), { state: 'hello', hello: expected });
});

test('a hello without name and protocols routes by neither', async () => {
  assert.deepEqual(read([await realHello({})]), {
    state: 'hello',
    hello: { serverName: undefined, protocols: [] },
  });
});

test('a hello in any pieces, and in any records, reads the same', () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 20 });
  fc.assert(
    fc.property(lengths, lengths, (records, pieces) => {
      assert.deepEqual(read(cut(inRecords(hello, records), pieces)), { state: 'hello', hello: expected });
    }),
  );
  assert.deepEqual(read(Array.from(hello, (byte) => Buffer.of(byte))), { state: 'hello', hello: expected });
});

test('what was received is kept byte for byte, for whoever serves the connection', () => {
  const reader = new ClientHelloReader();
  const behind = Buffer.from('early data');
  for (const piece of cut(Buffer.concat([hello, behind]), [3, 100])) reader.push(piece);
  assert.deepEqual(Buffer.concat(reader.received), Buffer.concat([hello, behind]));
});

test('any bytes end in a verdict, and a cut hello is never taken for a whole one', () => {
  const noise = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(noise, (bytes) => ['more', 'invalid', 'hello'].includes(read([bytes]).state)),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(fc.nat(hello.length - 1), noise, (at, tail) => {
      assert.equal(read([hello.subarray(0, at)]).state, 'more');
      read([hello.subarray(0, at), tail]);
    }),
    { numRuns: 2000 },
  );
});

test('any changed byte is survived', () => {
  for (let at = 0; at < hello.length; at++) {
    const changed = Buffer.from(hello);
    changed[at] = (changed[at] ?? 0) ^ 0xff;
    assert.ok(['more', 'invalid', 'hello'].includes(read([changed]).state));
  }
});

test('an endless hello is given up at its bound', () => {
  const reader = new ClientHelloReader();
  const record = Buffer.concat([Buffer.of(22, 3, 1, 0, 1), Buffer.of(0)]);
  assert.equal(reader.push(Buffer.of(22, 3, 1, 0, 4, 1, 0, 0x3f, 0)).state, 'more');
  let pushed = 0;
  while (reader.push(record).state === 'more') pushed++;
  assert.ok(pushed < 8_000, `${pushed} records were taken`);
  assert.match(JSON.stringify(read([Buffer.of(22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff)])), /too long/);
});

test('what is not TLS is told at its first bytes, and plain HTTP by name', () => {
  assert.match(JSON.stringify(read([Buffer.from('GET /')])), /"plainHttp":true/);
  assert.match(JSON.stringify(read([Buffer.from('SSH-2.0-OpenSSH')])), /"plainHttp":false/);
  assert.equal(read([Buffer.of(0)]).state, 'invalid');
});
