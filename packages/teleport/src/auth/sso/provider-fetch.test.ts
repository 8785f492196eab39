import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import type { CustomFetchOptions } from 'openid-client';
import { providerFetch } from './provider-fetch.ts';

const fetch = providerFetch({ ca: undefined, provider: 'corp' });
const get = { method: 'GET', headers: {}, body: undefined, redirect: 'manual' } as CustomFetchOptions;
const server = createServer((incoming, answer) => {
  if (incoming.url === '/large') answer.end(Buffer.alloc(3 * 2 ** 20));
  else if (incoming.url === '/away')
    answer.writeHead(302, { location: 'https://elsewhere.example.com/' }).end();
  else if (incoming.url === '/cut')
    answer.writeHead(200, { 'content-length': '100' }).write('half', () => answer.destroy());
  else if (incoming.url === '/empty') answer.writeHead(204).end();
  else answer.writeHead(200, { 'content-type': 'application/json' }).end('{"ok":true}');
});
let origin: string;

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  origin = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});

test('an answer arrives as fetch has it', async () => {
  const answer = await fetch(`${origin}/`, get);
  assert.deepEqual([answer.status, await answer.json()], [200, { ok: true }]);
  assert.equal((await fetch(`${origin}/empty`, get)).status, 204);
});

test('a redirect is not followed', async () => {
  const { status, headers } = await fetch(`${origin}/away`, get);
  assert.deepEqual([status, headers.get('location')], [302, 'https://elsewhere.example.com/']);
});

test('an answer that is too long, cut off or refused is a provider that cannot be reached', async () => {
  const away = { kind: 'unavailable', code: 'auth.provider_away' };
  await assert.rejects(fetch(`${origin}/large`, get), { ...away, message: /corp .* longer than 2 MiB/ });
  await assert.rejects(fetch(`${origin}/cut`, get), away);
  await assert.rejects(fetch('http://127.0.0.1:9/', get), { ...away, message: /ECONNREFUSED/ });
  const signal = AbortSignal.abort();
  await assert.rejects(fetch(`${origin}/`, { ...get, signal }), away);
});

test('nothing goes to another host without TLS', async () => {
  await assert.rejects(fetch('http://192.0.2.1/', get), { message: /http:\/\/192\.0\.2\.1 is not https/ });
});
