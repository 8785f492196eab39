import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { createClient } from '@sallyport/contracts/api/client.ts';
import type { AppError } from '@sallyport/contracts/errors.ts';
import { AuthStub, makeMember, refuse, temporaryDirectory, until } from './auth-stub.fixture.ts';
import { memberTransport } from './membership.ts';
import { socketTransport, type TlsTransportOptions, tlsTransport } from './transport.ts';

const nodeDocument = {
  kind: 'node' as const,
  metadata: { name: 'n' },
  spec: { hostname: 'web-1', tunnel: false, labels: {}, version: '1.2.3' },
};
const beat = { params: { kind: 'node' as const }, body: nodeDocument };
const soon = () => ({ expires: new Date(Date.now() + 60_000).toISOString() });
const heartbeatCall = 'PUT /v1/hosts/self/node';

function anonymous(stub: AuthStub, more: Partial<TlsTransportOptions> = {}) {
  const transport = tlsTransport({
    addresses: [stub.address],
    trust: () => stub.authorities.trust(),
    ...more,
  });
  return { transport, client: createClient(authRoutes, transport, { 'x-sallyport-version': '1.2.3' }) };
}

test('calls share kept connections, as the host that the certificate names', async (t) => {
  const stub = await AuthStub.start(t);
  const { member } = await makeMember(t, stub.authorities);
  stub.handlers.set(heartbeatCall, soon);
  const transport = memberTransport(member, [stub.address]);
  t.after(() => transport.close());
  const client = createClient(authRoutes, transport, { 'x-sallyport-version': '1.2.3' });
  for (let count = 0; count < 20; count++) await client.heartbeat(beat);
  const ports = new Set(stub.calls.map(({ request }) => request.socket.remotePort));
  assert.equal(ports.size, 1);
  const [call] = stub.calls;
  assert.ok(call?.peer.ok && call.peer.identity.kind === 'host');
  assert.equal(call.peer.identity.hostUuid, member.hostUuid);
  assert.equal(call.request.headers['x-sallyport-version'], '1.2.3');
  assert.deepEqual(call.body, nodeDocument);
});

test('without an identity the caller is nobody', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  await client.joinChallenge();
  assert.ok(stub.calls[0]?.peer.ok === false && stub.calls[0].peer.anonymous);
});

test('an error says what was dialled and why', async (t) => {
  const stub = await AuthStub.start(t);
  const other = await AuthStub.start(t, { clusterName: 'staging' });
  const node = await AuthStub.start(t, { role: 'node' });
  const { host, port } = stub.address;
  const failure = async (more: Partial<TlsTransportOptions>) => {
    const { client, transport } = anonymous(stub, more);
    t.after(() => transport.close());
    return client.joinChallenge().then(
      () => assert.fail('it was let through'),
      (error: AppError) => error,
    );
  };
  const stranger = await failure({ trust: () => other.authorities.trust() });
  assert.deepEqual([stranger.kind, stranger.code], ['denied', 'membership.wrong_server']);
  assert.match(
    stranger.message,
    new RegExp(`^${host}:${port} was refused: its certificate is not signed by`),
  );
  const wrongRole = await failure({ addresses: [node.address], trust: () => node.authorities.trust() });
  assert.equal(wrongRole.code, 'membership.wrong_server');
  assert.match(wrongRole.message, /a host \(node\), expected: auth/);
  await stub.stop();
  const gone = await failure({});
  assert.deepEqual([gone.kind, gone.code], ['unavailable', 'membership.unreachable']);
  assert.equal(gone.message, `${host}:${port} cannot be reached: nothing listens there.`);
});

test('of several auth servers the one that answers is used, and asked first from then on', async (t) => {
  const stub = await AuthStub.start(t);
  const dead = { host: '127.0.0.1', port: 1 };
  const { client, transport } = anonymous(stub, { addresses: [dead, stub.address] });
  t.after(() => transport.close());
  await client.joinChallenge();
  transport.renew();
  await client.joinChallenge();
  assert.equal(stub.calls.length, 2);
});

test('an answer with an error is that error; what is no error of ours is told by its status', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  stub.handlers.set('GET /v1/trust', (_, response) => refuse(response, 429, 'Too fast.', 'api.rate'));
  await assert.rejects(client.trust(), { kind: 'limit', code: 'api.rate', message: 'Too fast.' });
  stub.handlers.set('GET /v1/trust', (_, response) => void response.writeHead(500).end('<html>'));
  await assert.rejects(client.trust(), { kind: 'internal', code: 'api.http_status' });
  stub.handlers.set('GET /v1/trust', (_, response) => void response.end('{"unexpected":true}'));
  await assert.rejects(client.trust(), { code: 'api.bad_answer' });
  stub.handlers.set('GET /v1/trust', (_, response) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write('{"clus', () => response.socket?.destroy());
  });
  await assert.rejects(client.trust(), { kind: 'unavailable', code: 'membership.unreachable' });
});

test('a call that is given up ends at once, and its connection with it', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  let closed = false;
  stub.handlers.set('GET /v1/trust', ({ request }, response) => {
    request.socket.on('close', () => {
      closed = true;
    });
    response.flushHeaders();
  });
  const ending = new AbortController();
  const call = client.trust(undefined, { signal: ending.signal });
  await until('the call has arrived', () => stub.count('GET /v1/trust') === 1);
  ending.abort();
  await assert.rejects(call, { code: 'membership.aborted' });
  await until('the connection is closed', () => closed);
  await assert.rejects(client.trust(undefined, { signal: AbortSignal.abort() }), {
    code: 'membership.aborted',
  });
});

test('lines of a stream arrive one by one, however they are cut, and a broken link is an error', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  const heard: string[] = [];
  const text = `${JSON.stringify({ type: 'delete', kind: 'node', name: 'ünï' })}\n{"type":"synced"}\n\n`;
  stub.handlers.set('GET /v1/watch', async (_, response) => {
    response.flushHeaders();
    // A byte at a time: characters and lines are cut everywhere.
    for (const byte of Buffer.from(text)) await new Promise((done) => response.write(Buffer.of(byte), done));
    stub.watchers.add(response);
  });
  const reading = (async () => {
    for await (const line of client.watch({ query: { kinds: 'node' } })) heard.push(JSON.stringify(line));
  })();
  await until('both lines are here', () => heard.length === 2);
  assert.equal(heard[0], JSON.stringify({ type: 'delete', kind: 'node', name: 'ünï' }));
  const broken = assert.rejects(reading, { kind: 'unavailable' });
  stub.cut();
  await broken;
});

test('a stream that falls silent, or whose line never ends, is given up', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub, { silenceMs: 50 });
  t.after(() => transport.close());
  const read = async () => {
    for await (const line of client.watch({ query: { kinds: 'node' } })) assert.ok(line);
  };
  stub.handlers.set('GET /v1/watch', (_, response) => response.flushHeaders());
  await assert.rejects(read(), { kind: 'unavailable', message: /no answer in time/ });
  stub.handlers.set('GET /v1/watch', (_, response) => {
    response.on('error', () => undefined);
    const more = () => response.writable && response.write(Buffer.alloc(65_536, 0x20), more);
    more();
  });
  await assert.rejects(read(), { kind: 'limit', code: 'api.too_long' });
});

test('leaving a stream closes it', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  for await (const line of client.watch({ query: { kinds: 'node' } })) {
    assert.equal(line.type, 'put');
    break;
  }
  await until('nobody watches', () => stub.watchers.size === 0);
});

test('a kept connection that the server has closed costs no error', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  stub.handlers.set('GET /v1/trust', () => stub.authorities.trust());
  for (let round = 0; round < 10; round++) {
    await client.trust();
    stub.cut();
    await client.trust();
  }
  assert.ok(stub.calls.length >= 20);
});

test('a call whose connection breaks is sent again by the same name, and says so', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  let breaks = 2;
  stub.handlers.set('POST /v1/join/challenge', (_, response) => {
    if (breaks-- <= 0) return { nonce: 'aGk=' };
    response.socket?.destroy();
    return undefined;
  });
  assert.equal((await client.joinChallenge()).nonce, 'aGk=');
  const headers = stub.calls.map(({ request }) => request.headers);
  assert.equal(new Set(headers.map((each) => each['x-sallyport-once'])).size, 1);
  assert.deepEqual(
    headers.map((each) => each['x-sallyport-attempt']),
    [undefined, '2', '3'],
  );
  await client.joinChallenge();
  assert.notEqual(stub.calls.at(-1)?.request.headers['x-sallyport-once'], headers[0]?.['x-sallyport-once']);
});

test('a connection that breaks again and again is an error in the end', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  stub.handlers.set('POST /v1/join/challenge', (_, response) => void response.socket?.destroy());
  await assert.rejects(client.joinChallenge(), { kind: 'unavailable' });
  assert.equal(stub.count('POST /v1/join/challenge'), 5);
});

test('calls go on at another server, also at one that was heard of later; who answered is asked again', async (t) => {
  const [a, b] = [await AuthStub.start(t), await AuthStub.start(t)];
  b.handlers.set('POST /v1/join/challenge', () => ({ nonce: 'Yg==' }));
  const trust = {
    ...a.authorities.trust(),
    tls_host_cas: [a, b].flatMap((s) => s.authorities.trust().tls_host_cas),
  };
  let addresses = [a.address];
  const transport = tlsTransport({ addresses: () => addresses, trust: () => trust });
  t.after(() => transport.close());
  const client = createClient(authRoutes, transport);
  await client.joinChallenge();
  addresses = [a.address, b.address];
  await a.stop();
  assert.equal((await client.joinChallenge()).nonce, 'Yg==');
  assert.equal((await client.joinChallenge()).nonce, 'Yg==');
  assert.equal(b.calls.length, 2);
});

/** Two servers of one cluster; `a` takes calls and is never heard of again. */
async function oneFallsSilent(t: TestContext) {
  const [a, b] = [await AuthStub.start(t), await AuthStub.start(t)];
  const trust = {
    ...a.authorities.trust(),
    tls_host_cas: [a, b].flatMap((s) => s.authorities.trust().tls_host_cas),
  };
  const transport = tlsTransport({
    addresses: [a.address, b.address],
    trust: () => trust,
    quietMs: 500,
  });
  t.after(() => transport.close());
  const client = createClient(authRoutes, transport);
  await client.joinChallenge();
  b.handlers.set('POST /v1/join/challenge', () => ({ nonce: 'Yg==' }));
  const silence = () =>
    a.handlers.set('POST /v1/join/challenge', (_, response) => void a.watchers.add(response));
  return { a, b, client, silence };
}

test('a call to a server that has fallen silent goes to another by the same name, and so does the next at once', async (t) => {
  const { a, b, client, silence } = await oneFallsSilent(t);
  silence();
  const calls = await Promise.all(Array.from({ length: 20 }, () => client.joinChallenge()));
  assert.ok(calls.every(({ nonce }) => nonce === 'Yg=='));
  const names = (stub: AuthStub) =>
    stub.calls.map(({ request }) => request.headers['x-sallyport-once']).filter((name) => name !== undefined);
  const silent = new Set(names(a).slice(1));
  assert.ok(silent.size >= 1 && names(b).length === 20);
  assert.ok([...silent].every((name) => names(b).includes(name)));
  assert.ok(
    b.calls.filter(({ request }) => request.headers['x-sallyport-attempt'] === '2').length >= silent.size,
  );
  const before = a.calls.length;
  const begun = performance.now();
  for (let count = 0; count < 10; count++) await client.joinChallenge();
  assert.ok(performance.now() - begun < 400, 'nobody waits for the silent one again');
  assert.equal(a.calls.length, before);
});

test('a server that is slow and says so is waited for', async (t) => {
  const { a, b, client } = await oneFallsSilent(t);
  a.handlers.set('POST /v1/join/challenge', async (_, response) => {
    for (let sign = 0; sign < 8; sign++) {
      response.writeProcessing();
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return { nonce: 'c2xvdw==' };
  });
  assert.equal((await client.joinChallenge()).nonce, 'c2xvdw==');
  assert.equal(b.calls.length, 0);
});

test('where all servers are silent twice, the third attempt waits', async (t) => {
  const { a, b, client, silence } = await oneFallsSilent(t);
  silence();
  let left = 1;
  b.handlers.set('POST /v1/join/challenge', async (_, response) => {
    if (left-- > 0) return void b.watchers.add(response);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    return { nonce: 'bGF0ZQ==' };
  });
  a.handlers.set('POST /v1/join/challenge', async ({ request }) => {
    if (request.headers['x-sallyport-attempt'] === '3')
      await new Promise((resolve) => setTimeout(resolve, 1_500));
    else return new Promise(() => undefined);
    return { nonce: 'bGF0ZQ==' };
  });
  assert.equal((await client.joinChallenge()).nonce, 'bGF0ZQ==');
});

test('a stream whose server says how often it says alive is given up after three times of that', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  stub.handlers.set('GET /v1/watch', (_, response) => {
    response.writeHead(200, { 'x-sallyport-alive': '0.1' }).flushHeaders();
    stub.watchers.add(response);
  });
  const read = async () => {
    for await (const line of client.watch({ query: { kinds: 'node' } })) assert.ok(line);
  };
  await assert.rejects(read(), { kind: 'unavailable', message: /no answer in time/ });
});

test('an answer without an end is given up', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  const chunk = Buffer.alloc(2 ** 20, 0x20);
  stub.handlers.set('GET /v1/trust', (_, response) => {
    response.on('error', () => undefined);
    const more = () => response.writable && response.write(chunk, more);
    more();
  });
  await assert.rejects(client.trust(), { kind: 'limit', code: 'api.too_long' });
});

test('after a renewal new calls come with the new certificate', async (t) => {
  const stub = await AuthStub.start(t);
  const first = await makeMember(t, stub.authorities);
  const second = await makeMember(t, stub.authorities);
  let { member } = first;
  const transport = tlsTransport({
    addresses: [stub.address],
    identity: () => member.tls,
    trust: () => member.trust,
  });
  t.after(() => transport.close());
  const client = createClient(authRoutes, transport);
  await client.joinChallenge();
  member = second.member;
  transport.renew();
  await client.joinChallenge();
  const callers = stub.calls.map(({ peer }) =>
    peer.ok && peer.identity.kind === 'host' ? peer.identity.hostUuid : '',
  );
  assert.deepEqual(callers, [first.member.hostUuid, second.member.hostUuid]);
});

test('a closed transport answers nobody', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  transport.close();
  await assert.rejects(client.joinChallenge(), { kind: 'unavailable', code: 'membership.closed' });
});

test('the local socket carries the same calls', async (t) => {
  const path = join(await temporaryDirectory(t), 'auth.sock');
  const server = createServer((request, response) => {
    request.resume();
    response.end(
      JSON.stringify({ nonce: Buffer.from(`${request.method} ${request.url}`).toString('base64') }),
    );
  });
  const transport = socketTransport(path);
  const client = createClient(authRoutes, transport);
  await assert.rejects(client.joinChallenge(), {
    kind: 'unavailable',
    message: `${path} cannot be reached: there is no such socket.`,
  });
  server.listen(path);
  await once(server, 'listening');
  t.after(() => {
    transport.close();
    server.close();
  });
  const { nonce } = await client.joinChallenge();
  assert.equal(Buffer.from(nonce, 'base64').toString(), 'POST /v1/join/challenge');
});

test('two hundred calls at once all come back', async (t) => {
  const stub = await AuthStub.start(t);
  const { client, transport } = anonymous(stub);
  t.after(() => transport.close());
  const answers = await Promise.all(Array.from({ length: 200 }, () => client.joinChallenge()));
  assert.equal(new Set(answers.map(({ nonce }) => nonce)).size, 200);
  const ports = new Set(stub.calls.map(({ request }) => request.socket.remotePort));
  assert.ok(ports.size <= 64, `${ports.size} connections`);
});
