import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { Pulse } from './pulse.ts';

test('who waits hears that the call is being carried out, until it is answered', async (t) => {
  const pulse = new Pulse(20);
  t.after(() => pulse.close());
  const server = createServer((_, response) => {
    pulse.accompany(response);
    setTimeout(() => response.end('done'), 300);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => server.close());
  const request = get({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  let signs = 0;
  request.on('information', ({ statusCode }) => {
    assert.equal(statusCode, 102);
    signs++;
  });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  assert.equal(response.statusCode, 200);
  assert.ok(signs >= 3, `${signs} signs`);
  assert.equal(String(await response.setEncoding('utf8').toArray()), 'done');
});

test('a process that stood still knows it until its first pulse', async (t) => {
  const pulse = new Pulse(10, 200);
  t.after(() => pulse.close());
  assert.equal(pulse.wasOut, false);
  // As SIGSTOP does: no timer runs.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  assert.equal(pulse.wasOut, true);
  const deadline = performance.now() + 5_000;
  while (pulse.wasOut && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(pulse.wasOut, false);
});
