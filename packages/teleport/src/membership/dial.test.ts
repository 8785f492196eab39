// Which of several addresses is dialled, and in which order; how a connection is made is held by transport.test.ts.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import { formatAddress } from '../config/address.ts';
import type { Address } from '../config/config.ts';
import { dialAny } from './dial.ts';
import { upstreamAddresses } from './membership.ts';

const at = (host: string, port = 3025): Address => ({ host, port });

function dialer(addresses: () => readonly Address[]) {
  const dialled: string[] = [];
  const waited: number[] = [];
  const dead = new Set<string>();
  const dial = dialAny(addresses, async ({ host }, timeoutMs) => {
    dialled.push(host);
    waited.push(timeoutMs);
    if (dead.has(host)) throw new AppError('unavailable', 'test.dead', `${host} is dead.`);
    return new PassThrough();
  });
  return { dial, dead, waited, take: () => dialled.splice(0).join(' ') };
}

test('connections are spread over those that answer; one that did not a moment ago comes last', async () => {
  const { dial, dead, take } = dialer(() => [at('a'), at('b'), at('c')]);
  for (const expected of ['a', 'b', 'c', 'a']) {
    await dial();
    assert.equal(take(), expected);
  }
  dead.add('b');
  await dial();
  assert.equal(take(), 'b c');
  for (let i = 0; i < 6; i++) await dial();
  assert.ok(!take().includes('b'));
  for (const host of ['a', 'c']) dead.add(host);
  dead.delete('b');
  await dial();
  assert.match(take(), / b$/, 'when all others fail it is tried all the same');
});

test('addresses are asked for anew each time, and what was tried is said', async () => {
  let addresses = [at('a')];
  const { dial, dead, take, waited } = dialer(() => addresses);
  dead.add('a');
  await assert.rejects(dial(), { message: 'a is dead.' });
  addresses = [at('a'), at('b')];
  await dial();
  assert.equal(take(), 'a b');
  assert.deepEqual(waited, [10_000, 3_000], 'where others may answer, none is waited for as long');
  dead.add('b');
  await assert.rejects(dial(), {
    kind: 'unavailable',
    message: /a is dead\..*b is dead\.|b is dead\..*a is dead\./,
  });
  addresses = [];
  await assert.rejects(dial(), { message: 'There is no address to dial.' });
});

test('configured addresses come first, then those of the same kind that the cluster knows, each once', () => {
  const spec = { hostname: 'h', version: '1.2.3' };
  const cluster = {
    authServers: ['a:3025', 'b:3025', 'no address:x'].map((addr, index) => ({
      kind: 'auth_server' as const,
      metadata: { name: String(index) },
      spec: { ...spec, addr },
    })),
    proxies: [
      {
        kind: 'proxy' as const,
        metadata: { name: 'p' },
        spec: { ...spec, web_addr: 'p:3080', ssh_addr: 'p:3023', tunnel_addr: 'p:3024' },
      },
    ],
  };
  const of = (kind: 'auth' | 'proxy', known: typeof cluster | undefined = cluster) =>
    upstreamAddresses({ kind, addresses: [at('a')] }, known).map(formatAddress);
  assert.deepEqual(of('auth'), ['a:3025', 'b:3025']);
  assert.deepEqual(of('proxy'), ['a:3025', 'p:3080']);
  assert.deepEqual(upstreamAddresses({ kind: 'auth', addresses: [at('a')] }, undefined).map(formatAddress), [
    'a:3025',
  ]);
});

test('a stopped process takes connections and answers none: who has spoken to it is hung up on, others are dialled first', async (t) => {
  const servers = await Promise.all(
    ['', 'answer'].map(async (answer) => {
      const server = createServer((socket) => {
        socket.on('error', () => undefined);
        if (answer !== '') socket.write(answer);
      });
      await once(server.listen(0, '127.0.0.1'), 'listening');
      t.after(() => server.close());
      return at('127.0.0.1', (server.address() as AddressInfo).port);
    }),
  );
  const dial = dialAny(() => servers);
  const [mute, other] = [await dial(), await dial()];
  t.after(() => other.destroy());
  mute.write('hello');
  other.write('hello');
  await once(mute, 'close');
  assert.equal(other.destroyed, false);
  for (let i = 0; i < 4; i++) {
    const next = await dial();
    next.resume();
    await once(next, 'data');
    next.destroy();
  }
});
