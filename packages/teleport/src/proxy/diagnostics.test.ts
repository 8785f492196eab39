import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { Counter, Registry } from 'prom-client';
import { diagnosticsHandler } from './diagnostics.ts';
import type { Readiness } from './proxy.ts';

const registry = new Registry();
new Counter({ name: 'test_total', help: 'A test.', registers: [registry] }).inc(7);
let state: Readiness = { ready: true, problems: [] };
const server = createServer(diagnosticsHandler({ registry, services: { proxy: () => state } }));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
after(() => server.close());
const { port } = server.address() as { port: number };
const get = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${port}${path}`, { method });

test('alive is who answers', async () => {
  const answer = await get('/healthz');
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), { status: 'ok' });
});

test('ready is told for each service, with the reasons not to be', async () => {
  assert.equal((await get('/readyz')).status, 200);
  state = { ready: false, problems: ['no state yet'] };
  const answer = await get('/readyz');
  assert.equal(answer.status, 503);
  assert.deepEqual(await answer.json(), { status: 'not ready', services: { proxy: state } });
});

test('metrics are in the format of Prometheus', async () => {
  const answer = await get('/metrics');
  assert.match(answer.headers.get('content-type') ?? '', /text\/plain.*version=0\.0\.4/);
  assert.match(await answer.text(), /^test_total 7$/m);
});

test('nothing else is there, and nothing can be changed', async () => {
  assert.equal((await get('/')).status, 404);
  assert.equal((await get('/metrics', 'POST')).status, 405);
});
