import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { connectLine, listenLine, parseRelayLine } from './relay-line.ts';

const tcp = (host: string, port = 22) => connectLine(7, { kind: 'tcp', address: { host, port } });

test('asks in the words the relay knows', () => {
  assert.equal(tcp('db.internal'), 'connect 7 tcp 22 db.internal\n');
  assert.equal(tcp('2001:db8::1', 443), 'connect 7 tcp 443 2001:db8::1\n');
  assert.equal(connectLine(8, { kind: 'unix', path: '/run/a b.sock' }), 'connect 8 unix /run/a b.sock\n');
  assert.equal(listenLine(9, { kind: 'tcp', port: 0 }), 'listen 9 tcp 0\n');
  assert.equal(listenLine(9, { kind: 'unix', path: '/x' }), 'listen 9 unix /x\n');
  assert.equal(listenLine(9, { kind: 'agent' }), 'listen 9 agent\n');
});

test('never says more than one command, whatever a client asks for', () => {
  const oneLine = (make: () => string) => {
    let line: string;
    try {
      line = make();
    } catch {
      return true; // refused
    }
    return /^[^\n\0]*\n$/.test(line) && Buffer.byteLength(line) < 512;
  };
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 130 }), (host) => oneLine(() => tcp(host))));
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 130 }), (path) =>
      oneLine(() => listenLine(1, { kind: 'unix', path: `/${path}` })),
    ),
  );
});

test('understands what the relay answers', () => {
  const ends = { pid: 90, writeFd: 5, readFd: 6 };
  assert.deepEqual(parseRelayLine('open 3 90 5 6'), { word: 'open', id: 3, ends });
  assert.deepEqual(parseRelayLine('failed 3 Connection refused'), {
    word: 'failed',
    id: 3,
    text: 'Connection refused',
  });
  assert.deepEqual(parseRelayLine('incoming 4 90 5 6 4711 ::1'), {
    ...{ word: 'incoming', id: 4, ends },
    originator: { host: '::1', port: 4711 },
  });
  assert.deepEqual(parseRelayLine('incoming 4 90 5 6 0 '), {
    ...{ word: 'incoming', id: 4, ends },
    originator: { host: '', port: 0 },
  });
  assert.deepEqual(parseRelayLine('listening 4 /tmp/a b'), { word: 'listening', id: 4, where: '/tmp/a b' });
  assert.deepEqual(parseRelayLine('closed 90'), { word: 'closed', pid: 90 });
  assert.equal(parseRelayLine('what'), undefined);
});

test('both ends agree on how long a path may be', () => {
  const header = readFileSync(new URL('../../../../kernel/launcher/relay-stream.h', import.meta.url), 'utf8');
  assert.match(header, /RELAY_PATH_MAX = 107/);
  assert.throws(() => listenLine(1, { kind: 'unix', path: `/${'x'.repeat(107)}` }));
  assert.ok(listenLine(1, { kind: 'unix', path: `/${'x'.repeat(106)}` }));
});
