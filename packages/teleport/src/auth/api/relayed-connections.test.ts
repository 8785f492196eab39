// What stands before TLS on the API's port: nothing, a proxy's line, or rubbish. Whether a line is believed is judged
// elsewhere (membership/relay-line.test.ts); here one text is.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { RELAY_MAGIC } from '../../ssh-transport/relay-line.ts';
import {
  collectedLog,
  type TestCertificates,
  testCertificates,
  testHandlers,
  testRoutes,
  testRules,
} from './api.fixture.ts';
import { type ApiServer, startApiServer } from './api-server.ts';

let certificates: TestCertificates;
let server: ApiServer;
let port: number;
const remotes: string[] = [];
const refused: string[] = [];

before(async () => {
  certificates = testCertificates();
  const handlers = testHandlers({ sources: 0, lines: 0, aborted: 0 });
  const { ca, server: leaf } = certificates;
  server = await startApiServer({
    routes: testRoutes,
    handlers: {
      ...handlers,
      hello: (request, context) => {
        remotes.push(context.remoteAddress);
        return handlers.hello(request, context);
      },
    },
    rules: testRules,
    version: '1.2.3',
    log: collectedLog(),
    limits: { anonymousRate: { burst: 3, perSecond: 0.001 } },
    listen: {
      host: '127.0.0.1',
      port: 0,
      tls: { ...leaf, ca },
      callerOf: () => ({ kind: 'anyone' }),
      relayed: async (line) => {
        const host = /good-(\S+)$/.exec(line)?.[1];
        return host === undefined ? { refuse: 'it is not believed' } : { remote: { host, port: 4711 } };
      },
      onRelayRefused: (reason) => refused.push(reason),
    },
  });
  port = 'port' in server.address ? server.address.port : 0;
});
after(async () => {
  await server.close(0);
  certificates.cleanUp();
});

/** The status of a call over a connection that begins with `preface`; in one packet with TLS, or in pieces. */
async function hello(preface: string, pieces = false): Promise<number> {
  const raw = connect(port, '127.0.0.1');
  await once(raw, 'connect');
  if (pieces)
    for (const byte of preface) await new Promise((done) => raw.write(byte, () => setImmediate(done)));
  else if (preface !== '') raw.write(preface);
  return status(raw);
}

function status(raw: Socket): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ socket: raw, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
    let said = '';
    socket.setEncoding('utf8').on('data', (part: string) => {
      said += part;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(said)?.[1] ?? 0)));
    socket.write('GET /v1/hello/you HTTP/1.1\r\nHost: auth\r\nConnection: close\r\n\r\n');
  });
}

describe('connections of relays', () => {
  it('without a line it is the peer that calls', async () => {
    assert.equal(await hello(''), 200);
    assert.deepEqual(remotes.splice(0), ['127.0.0.1']);
  });

  it('a line that is believed says whose connection it is, however it arrives', async () => {
    assert.equal(await hello(`${RELAY_MAGIC}good-192.0.2.7\n`), 200);
    assert.equal(await hello(`${RELAY_MAGIC}good-192.0.2.8\n`, true), 200);
    assert.deepEqual(remotes.splice(0), ['192.0.2.7', '192.0.2.8']);
  });

  it('one that is not believed, or never ends, ends the connection', async () => {
    await assert.rejects(hello(`${RELAY_MAGIC}forged\n`));
    await assert.rejects(hello(`${RELAY_MAGIC}${'x'.repeat(9_000)}`));
    assert.deepEqual(refused.splice(0), ['it is not believed', "the relay's line is too long"]);
    assert.deepEqual(remotes, []);
  });

  it('each person behind a proxy has a limit of their own', async () => {
    const from = (host: string) => hello(`${RELAY_MAGIC}good-${host}\n`);
    const first = [await from('198.51.100.1'), await from('198.51.100.1'), await from('198.51.100.1')];
    assert.deepEqual(first, [200, 200, 200]);
    assert.equal(await from('198.51.100.1'), 429);
    assert.equal(await from('198.51.100.2'), 200);
  });
});
