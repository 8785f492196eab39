// What systemd would hear, through its own program systemd-notify, of a start, a reload and a stop.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isAlive, until } from '../until.fixture.ts';

const skip =
  spawnSync('systemd-notify', ['--version']).status !== 0
    ? 'no systemd-notify here'
    : spawnSync('python3', ['-c', '']).status !== 0 && 'no python3 to listen with';

/** systemd's end of the socket: a datagram a line. What comes beside it (the barrier's pipe) is closed, as it should be. */
const listener = `import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    print(s.recv(4096).decode().strip().replace("\\n", " "), flush=True)`;

interface Listening {
  readonly daemon: ChildProcess;
  /** Resolves when systemd has heard that; with what it was. */
  heard(pattern: RegExp): Promise<RegExpExecArray>;
  readonly said: () => string;
  /** The daemon's own log. */
  readonly log: () => string;
}

/** A daemon in which nothing lives, and systemd's end of its socket. */
async function listen(t: TestContext): Promise<Listening> {
  const dir = await mkdtemp(join(tmpdir(), 'sp-notify-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const socket = join(dir, 'notify');
  const systemd = spawn('python3', ['-c', listener, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => systemd.kill());
  let said = '';
  systemd.stdout.on('data', (chunk: Buffer) => {
    said += chunk;
  });
  await until('somebody listens', () => existsSync(socket));
  const heard = (pattern: RegExp) =>
    until(`systemd hears ${pattern}`, () => pattern.exec(said) ?? undefined, 60_000).catch(
      (thrown: unknown) => {
        throw new Error(`${thrown}\n${said}`);
      },
    );

  const config = join(dir, 'teleport.yaml');
  await writeFile(
    config,
    `teleport: { nodename: n, data_dir: ${dir}/data, log: { output: ${dir}/log } }
auth_service: { cluster_name: prod, listen_addr: "127.0.0.1:0" }
proxy_service: { enabled: false }
ssh_service: { enabled: false }
`,
  );
  const program = fileURLToPath(new URL('../../../../bin/teleport', import.meta.url));
  const daemon = spawn(program, ['start', '-c', config], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, NOTIFY_SOCKET: socket },
  });
  return { daemon, heard, said: () => said, log: () => readFileSync(join(dir, 'log'), 'utf8') };
}

test('systemd hears who serves: at the start, after a reload, and that it stops', { skip }, async (t) => {
  const { daemon, heard, said } = await listen(t);
  const ended = once(daemon, 'exit');
  const [, first] = await heard(/MAINPID=(\d+) READY=1/);
  assert.equal(Number(first), daemon.pid);
  daemon.kill('SIGHUP');
  await heard(/RELOADING=1 MONOTONIC_USEC=\d+/);
  const [, second] = await heard(/RELOADING=1.*MAINPID=(\d+) READY=1/s);
  assert.notEqual(second, first);
  assert.deepEqual(await ended, [0, null], 'nothing lived in the first one');
  assert.doesNotMatch(said(), /STOPPING=1/, 'the service goes on');
  process.kill(Number(second), 'SIGTERM');
  await heard(/STOPPING=1/);
  await until('the second one has ended', () => !isAlive(Number(second)));
});

test('a daemon that leaves as its heir dies is the main process again, and fails: systemd starts another', {
  skip,
}, async (t) => {
  const { daemon, heard, log } = await listen(t);
  const ended = once(daemon, 'exit');
  t.after(() => daemon.kill());
  await heard(/MAINPID=(\d+) READY=1/);
  daemon.kill('SIGHUP');
  const [, heir] = await heard(/RELOADING=1.*MAINPID=(\d+) READY=1/s);
  // Nothing lives in it: it leaves at once. Held still on the way, so that nobody looks after the heir any more.
  await until('it is leaving', () => log().includes('teleport stops'));
  daemon.kill('SIGSTOP');
  process.kill(Number(heir), 'SIGKILL');
  await until('its heir is a zombie', () => readFileSync(`/proc/${heir}/stat`, 'utf8').includes(') Z '));
  daemon.kill('SIGCONT');
  assert.deepEqual(await ended, [1, null]);
  await heard(new RegExp(`MAINPID=${heir} READY=1.*MAINPID=${daemon.pid}$`, 'sm'));
});
