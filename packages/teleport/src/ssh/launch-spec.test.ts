import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { request, terminal } from './host.fixture.ts';
import { CLIENT_ENV_MAX, encodeSpec, MODES_MAX, PAM_ENV_MAX, SPEC_MAX } from './launch-spec.ts';
import { parseLauncherLine } from './launcher-line.ts';

const fields = (encoded: Buffer): string[] => encoded.subarray(4).toString().split('\0').slice(0, -1);

test('a specification is its length and then NUL-terminated fields', () => {
  const pty = terminal({ cols: 70_000, modes: Buffer.from([53, 0, 0, 0, 1, 0]) });
  const encoded = encodeSpec(request('ada', { command: 'echo a=b', env: { LANG: 'C', X: '1=2' }, pty }));
  assert.equal(encoded.readUInt32BE(), encoded.length - 4);
  assert.deepEqual(fields(encoded), [
    ...['login=ada', 'remote_host=127.0.0.1', 'command=echo a=b'],
    ...['size=65535 24 0 0', 'term=xterm', 'modes=350000000100', 'env=LANG=C', 'env=X=1=2'],
  ]);
});

test('a specification that would say something else to the launcher is refused', () => {
  const bad = { kind: 'bad_input', code: 'launch.request' };
  assert.throws(() => encodeSpec(request('ada\0cgroup=/')), bad);
  assert.throws(() => encodeSpec(request('ada', { command: 'a\0b' })), bad);
  assert.throws(() => encodeSpec(request('ada', { env: { 'A=B': 'c' } })), bad);
  assert.throws(() => encodeSpec(request('ada', { env: { '': 'c' } })), bad);
  assert.throws(() => encodeSpec(request('ada', { command: 'x'.repeat(SPEC_MAX) })), bad);
  assert.throws(
    () => encodeSpec(request('ada', { pty: terminal({ modes: Buffer.alloc(MODES_MAX + 1) }) })),
    bad,
  );
  const many = Object.fromEntries(Array.from({ length: CLIENT_ENV_MAX + 1 }, (_, i) => [`V${i}`, '']));
  assert.throws(() => encodeSpec(request('ada', { env: many })), bad);
  assert.throws(() => encodeSpec(request('ada', { pamEnvironment: many })), bad);
});

test('the bounds are the launcher’s', () => {
  const header = readFileSync(new URL('../../../kernel/launcher/session.h', import.meta.url), 'utf8');
  assert.match(header, new RegExp(`SPEC_MAX = ${SPEC_MAX / 1024} \\* 1024,`));
  assert.match(header, new RegExp(`MODES_MAX = ${MODES_MAX},`));
  assert.match(header, new RegExp(`\\tENV_MAX = ${CLIENT_ENV_MAX * 2},`));
  assert.match(header, new RegExp(`PAM_ENV_MAX = ${PAM_ENV_MAX},`));
});

test('the launcher’s lines are understood', () => {
  assert.deepEqual(parseLauncherLine('ready 12 11 - 1000 1001 /dev/pts/3 0 0 0'), {
    ...{ word: 'ready', leaderPid: 12, supervisorPid: 11, auditSessionId: undefined, uid: 1000, gid: 1001 },
    ...{ terminal: '/dev/pts/3', streams: [0, 0, 0] },
  });
  assert.deepEqual(parseLauncherLine('signal SEGV 1'), { word: 'signal', signal: 'SEGV', coreDumped: true });
  assert.deepEqual(parseLauncherLine('warn two words'), { word: 'warn', text: 'two words' });
  const line = parseLauncherLine('error nologin 0 at\\x0anoon \\x5c');
  assert.ok(line.word === 'error');
  assert.deepEqual([line.error.kind, line.error.message], ['denied', 'at\nnoon \\']);
  assert.throws(() => parseLauncherLine('gibberish'), { code: 'launch.protocol' });
});
