// OpenSSH's own client as the witness of sessions: bytes, statuses, requests, new keys under way, back-pressure.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import {
  finished,
  inFolder,
  type Seen,
  ssh,
  sshArguments,
  startSsh,
  startTestServer,
  type TestServer,
  until,
} from './openssh.fixture.ts';

const BULK_BYTES = 200 * 1024 * 1024;
const FAST = ['Ciphers=aes128-gcm@openssh.com'];

let ours: TestServer;
let bulkSum: string;
before(async () => {
  ours = await startTestServer();
  execFileSync('sh', ['-c', `head -c ${BULK_BYTES} /dev/urandom > bulk`], { cwd: inFolder('') });
  bulkSum = sumOf('bulk');
});
after(() => ours.server.close('done'));

function sumOf(file: string): string {
  return execFileSync('sha256sum', { stdio: [openSync(inFolder(file), 'r'), 'pipe', 'pipe'] })
    .toString()
    .slice(0, 64);
}

const lastSession = (): Seen => {
  const seen = ours.sessions.at(-1);
  assert.ok(seen);
  return seen;
};

for (const status of [0, 1, 42, 255]) {
  test(`exit status ${status} arrives`, async () => {
    const run = await ssh({ port: ours.port }, `echo out; echo err >&2; exit ${status}`);
    assert.deepEqual([run.code, run.stdout, run.stderr], [status, 'out\n', 'err\n']);
  });
}

test('a command killed by a signal is reported as exit-signal', async () => {
  const run = await ssh({ port: ours.port, options: ['LogLevel=DEBUG2'] }, 'kill -SEGV $$');
  assert.equal(run.code, 255);
  assert.match(run.stderr, /rtype exit-signal/);
});

test('200 MiB go up and come back byte for byte, in order with the exit status', async () => {
  const up = spawn('ssh', [...sshArguments({ port: ours.port, options: FAST }), 'sha256sum; exit 3'], {
    stdio: [openSync(inFolder('bulk'), 'r'), 'pipe', 'pipe'],
  });
  const upRun = await finished(up);
  assert.equal(upRun.stdout.slice(0, 64), bulkSum, upRun.stderr);
  assert.equal(upRun.code, 3);

  const out = openSync(inFolder('back'), 'w');
  const down = spawn(
    'ssh',
    [...sshArguments({ port: ours.port, options: FAST }), `cat ${inFolder('bulk')}; exit 4`],
    {
      stdio: ['ignore', out, 'pipe'],
    },
  );
  assert.equal((await finished(down)).code, 4);
  closeSync(out);
  assert.equal(sumOf('back'), bulkSum);
});

for (const [who, options] of [
  ['the client', ['RekeyLimit=1M']],
  ['the server', []],
] as const) {
  test(`keys renewed by ${who} in the middle of a transfer lose nothing`, async () => {
    const rekeying = await startTestServer({
      limits: { rekeyBytes: who === 'the server' ? 1024 * 1024 : 2 ** 30 },
    });
    const call = { port: rekeying.port, options: [...FAST, ...options, 'LogLevel=DEBUG1'] };
    const child = startSsh(
      call,
      `head -c 20000000 ${inFolder('bulk')} | tee /dev/stderr | sha256sum; sha256sum`,
    );
    const source = spawn('head', ['-c', '20000000', inFolder('bulk')], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    assert.ok(child.stdin);
    source.stdout.pipe(child.stdin);
    const run = await finished(child);
    const sum = execFileSync('sh', ['-c', 'head -c 20000000 bulk | sha256sum'], {
      cwd: inFolder(''),
    }).toString();
    assert.equal(run.stdout, sum + sum);
    const rekeys = run.stderr.split('SSH2_MSG_NEWKEYS received').length - 1;
    assert.ok(rekeys >= 10, `${rekeys} key exchanges`);
    await rekeying.server.close('done');
  });
}

test('environment variables reach the handler one by one, refused ones too', async () => {
  const options = ['SetEnv=LC_ONE=1 OTHER=2 LC_TWO="with space"'];
  const run = await ssh({ port: ours.port, options }, 'echo $LC_ONE $LC_TWO');
  assert.equal(run.stdout, '1 with space\n');
  const env = lastSession().requests.filter(([name]) => name === 'env');
  assert.deepEqual(env, [
    ['env', 'LC_ONE', '1'],
    ['env', 'OTHER', '2'],
    ['env', 'LC_TWO', 'with space'],
  ]);
});

test('a terminal brings its name, size and modes; its resizing is passed on', async () => {
  const before = ours.sessions.length;
  const resize = `stty cols 100 rows 40; (until [ -e ${inFolder('resize')} ]; do sleep 0.02; done; stty cols 123 rows 45 </dev/tty) & `;
  const call = sshArguments({ port: ours.port, options: ['SendEnv=none'] }).join(' ');
  const child = spawn('script', ['-qec', `${resize} ssh -tt ${call} cat`, '/dev/null'], {
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { ...process.env, TERM: 'xterm-test' },
  });
  await until(
    'the command to run',
    () => ours.sessions[before]?.requests.some(([name]) => name === 'exec') === true,
  );
  const seen = lastSession();
  const pty = seen.requests[0]?.[1] as { term: string; cols: number; rows: number; modes: Buffer };
  assert.deepEqual([pty.term, pty.cols, pty.rows], ['xterm-test', 100, 40]);
  assert.ok(pty.modes.length > 50 && pty.modes.at(-1) === 0);
  writeFileSync(inFolder('resize'), '');
  // stty sets columns and rows one after the other.
  const resized = ([name, size]: unknown[]) => {
    const { cols, rows } = (name === 'windowChange' ? size : {}) as { cols?: number; rows?: number };
    return cols === 123 && rows === 45;
  };
  await until('the resize', () => seen.requests.some(resized));
  child.kill();
});

test('closed() is called exactly once, whether the command ends or the client dies', async () => {
  await ssh({ port: ours.port }, 'true');
  const ended = lastSession();
  await until('the end', () => ended.requests.some(([name]) => name === 'closed'));

  const count = ours.sessions.length;
  const child = startSsh({ port: ours.port }, 'exec sleep 100');
  await until('the session', () => ours.sessions.length > count && lastSession().requests.length > 0);
  child.kill('SIGKILL');
  const died = lastSession();
  await until('the end', () => died.requests.some(([name]) => name === 'closed'));
  assert.equal(await died.channel.stdout.write(Buffer.from('late')), false);
  for (const seen of [ended, died]) {
    assert.equal(seen.requests.filter(([name]) => name === 'closed').length, 1);
  }
});

test('a client that stops reading holds up its own session only, and loses nothing', async () => {
  const count = ours.sessions.length;
  const child = startSsh({ port: ours.port, options: FAST }, `cat ${inFolder('bulk')}`);
  await until('the session', () => ours.sessions.length > count && lastSession().requests.length > 0);
  child.kill('SIGSTOP');
  const rss = process.memoryUsage().rss;
  const other = await ssh({ port: ours.port }, 'echo still here');
  assert.equal(other.stdout, 'still here\n');
  assert.ok(process.memoryUsage().rss - rss < 64 * 1024 * 1024);
  child.kill('SIGCONT');
  const digest = spawn('sha256sum', { stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdout?.pipe(digest.stdin);
  const sum = await finished(digest);
  assert.equal(sum.stdout.slice(0, 64), bulkSum);
});

test('several sessions share one connection', async () => {
  const control = inFolder('mux');
  const master = startSsh(
    { port: ours.port, options: ['ControlMaster=yes', `ControlPath=${control}`] },
    'exec sleep 100',
  );
  await until('the control socket', () => existsSync(control));
  const slave = { port: ours.port, options: [`ControlPath=${control}`] };
  const runs = await Promise.all([1, 2, 3, 4, 5].map((n) => ssh(slave, `echo ${n}; exit ${n}`)));
  assert.deepEqual(
    runs.map(({ code, stdout }) => [code, stdout]),
    [1, 2, 3, 4, 5].map((n) => [n, `${n}\n`]),
  );
  master.kill();
});

test('what is not a session is refused with a reason', async () => {
  const options = ['LogLevel=VERBOSE', 'ExitOnForwardFailure=yes'];
  const forward = await ssh(
    { port: ours.port, options: [...options, 'RemoteForward=0 127.0.0.1:1'] },
    'true',
  );
  assert.equal(forward.code, 255);
  const args = ['-W', '127.0.0.1:1', ...sshArguments({ port: ours.port })];
  const tunnel = await finished(spawn('ssh', args, { stdio: ['ignore', 'pipe', 'pipe'] }));
  assert.match(tunnel.stderr, /administratively prohibited: this kind of channel is not allowed here/);
});
