// Forwarding, OpenSSH at one end and ours at the other.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { connect, createServer, type Server } from 'node:net';
import { after, before, test } from 'node:test';
import {
  connected,
  type Echo,
  exchange,
  forwarding,
  listenOn,
  startAgent,
  startEcho,
} from './forwarding.fixture.ts';
import { joinStreams } from './join-streams.ts';
import {
  connectTo,
  finished,
  inFolder,
  runShell,
  ssh,
  sshArguments,
  startSsh,
  startSshd,
  startTestServer,
  type TestServer,
  until,
} from './openssh.fixture.ts';

const BULK = randomBytes(3_000_000);
const forwards = forwarding();
const agents: Server[] = [];
const children: ChildProcess[] = [];
let ours: TestServer;
let sshd: Awaited<ReturnType<typeof startSshd>>;
let echo: Echo;
let agent: Awaited<ReturnType<typeof startAgent>>;

before(async () => {
  ours = await startTestServer({
    onConnection: () => ({
      ...forwards.handler,
      session: ({ channel }) => ({
        exec(command) {
          children.push(runShell(channel, command, {}));
          return true;
        },
        subsystem(name) {
          void channel.stdout.write(Buffer.from(`this is ${name}\n`)).then(() => {
            channel.exit(0);
            return channel.close();
          });
          return true;
        },
        async agentForward(open) {
          const path = inFolder('lent-agent');
          const server = createServer(async (socket) => joinStreams(socket, await open()));
          await listenOn(server, path);
          agents.push(server);
          return true;
        },
      }),
    }),
  });
  sshd = await startSshd('ed25519', ['AllowStreamLocalForwarding yes', 'AllowAgentForwarding yes']);
  echo = await startEcho('echo');
  agent = await startAgent();
});
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  agent.stop();
  echo.stop();
  sshd.stop();
  for (const server of [...forwards.listeners.values(), ...agents]) server.close();
  await ours.server.close('done');
});

test('ssh -W carries bytes both ways and the end of each', async () => {
  const args = ['-W', `127.0.0.1:${echo.port}`, ...sshArguments({ port: ours.port })];
  const child = spawn('ssh', args, { stdio: 'pipe' });
  child.stdin.end(BULK);
  const { stdout, code } = await finished(child);
  assert.equal(code, 0);
  assert.ok(Buffer.from(stdout, 'latin1').equals(BULK));
});

test('a destination that is away is refused with the reason, and other channels go on', async () => {
  const args = ['-W', '127.0.0.1:1', ...sshArguments({ port: ours.port })];
  const { stderr } = await finished(spawn('ssh', args, { stdio: ['ignore', 'pipe', 'pipe'] }));
  assert.match(stderr, /connect failed: nobody listens there/);
});

test('ssh jumps through one server of ours to another', async () => {
  const inner = await startTestServer();
  const jump = ['ssh', ...sshArguments({ port: ours.port }), '-W', '%h:%p'].join(' ');
  const { stdout, code } = await ssh(
    { port: inner.port, options: [`ProxyCommand=${jump}`] },
    'echo behind; exit 4',
  );
  assert.deepEqual([stdout, code], ['behind\n', 4]);
  await inner.server.close('done');
});

test('ssh -L reaches a Unix socket', async () => {
  const path = inFolder('local-end');
  const child = startSsh(
    { port: ours.port, options: [`LocalForward=${path} ${echo.path}`] },
    'echo up; exec sleep 100',
  );
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  const back = await exchange(await connected(connect({ path, allowHalfOpen: true })), BULK);
  assert.ok(back.equals(BULK));
  child.kill();
});

test('ssh -R with any port is told which, and its connections arrive', async () => {
  const options = [`RemoteForward=127.0.0.1:0 127.0.0.1:${echo.port}`, 'ExitOnForwardFailure=yes'];
  const child = startSsh({ port: ours.port, options }, 'exec sleep 100');
  let said = '';
  child.stderr?.on('data', (text) => {
    said += text;
  });
  await until('the port', () => /Allocated port \d+/.test(said));
  const port = Number(/Allocated port (\d+)/.exec(said)?.[1]);
  const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  assert.ok((await exchange(await connected(far), BULK)).equals(BULK));
  child.kill();
});

test('ssh -R of a Unix socket', async () => {
  const path = inFolder('far-end');
  const child = startSsh(
    { port: ours.port, options: [`RemoteForward=${path} ${echo.path}`] },
    'exec sleep 100',
  );
  await until('the listener', () => forwards.listeners.has(path));
  const back = await exchange(await connected(connect({ path, allowHalfOpen: true })), BULK);
  assert.ok(back.equals(BULK));
  child.kill();
});

test('ssh -A lends its agent to the session', async () => {
  const options = [`IdentityAgent=${agent.path}`, 'ForwardAgent=yes'];
  const command = `SSH_AUTH_SOCK=${inFolder('lent-agent')} ssh-add -l`;
  const { stdout, stderr } = await ssh({ port: ours.port, options }, command);
  assert.match(stdout, /256 SHA256:.*ED25519/, stderr);
});

test('ssh -s names a subsystem with colons', async () => {
  const { stdout } = await ssh(
    { port: ours.port, options: ['RequestTTY=no', 'SessionType=subsystem'] },
    'proxy:node-1:22',
  );
  assert.equal(stdout, 'this is proxy:node-1:22\n');
});

test('our client goes through sshd to a host and logs in there', async () => {
  const outer = await connectTo(sshd.port, { login: 'root' });
  const stream = await outer.directTcpip({ host: '127.0.0.1', port: ours.port });
  const inner = await connectTo(0, { stream });
  const session = await inner.openSession();
  await session.exec('echo within');
  assert.equal(Buffer.concat(await session.stdout.toArray()).toString(), 'within\n');
  inner.close();
  const toEcho = await outer.directTcpip({ host: '127.0.0.1', port: echo.port });
  assert.ok((await exchange(toEcho, BULK)).equals(BULK));
  const toPath = await outer.directStreamlocal(echo.path);
  assert.ok((await exchange(toPath, BULK)).equals(BULK));
  await assert.rejects(outer.directTcpip({ host: '127.0.0.1', port: 1 }), {
    code: 'ssh.channel_refused',
    kind: 'unavailable',
  });
  await assert.rejects(outer.openChannel('teleport-transport'), {
    code: 'ssh.channel_refused',
    kind: 'unavailable', // sshd does not say that it does not know the type
  });
  outer.close();
});

test('sshd listens for our client until it cancels', async () => {
  const client = await connectTo(sshd.port, { login: 'root' });
  const originators: number[] = [];
  const listener = await client.remoteForward({ host: '127.0.0.1', port: 0 }, (channel, { port }) => {
    originators.push(port);
    channel.pipe(channel);
  });
  const socket = await connected(connect({ port: listener.port, host: '127.0.0.1', allowHalfOpen: true }));
  const from = socket.localPort ?? 0;
  assert.ok((await exchange(socket, BULK)).equals(BULK));
  assert.deepEqual(originators, [from]);
  assert.equal(await listener.cancel(), true);
  await assert.rejects(connected(connect({ port: listener.port, host: '127.0.0.1' })));

  const path = inFolder('sshd-listens');
  const onPath = await client.remoteStreamlocalForward(path, (channel) => channel.pipe(channel));
  const back = await exchange(await connected(connect({ path, allowHalfOpen: true })), BULK);
  assert.ok(back.equals(BULK));
  assert.equal(await onPath.cancel(), true);
  await assert.rejects(
    client.remoteForward({ host: '127.0.0.1', port: echo.port }, () => {}),
    { code: 'ssh.forward_refused' },
  );
  client.close();
});

test('our client lends its agent to a session of sshd, and to none that did not ask', async () => {
  const client = await connectTo(sshd.port, { login: 'root', agent: () => connect({ path: agent.path }) });
  const session = await client.openSession();
  assert.equal(await session.forwardAgent(), true);
  await session.exec('ssh-add -l');
  assert.match(Buffer.concat(await session.stdout.toArray()).toString(), /256 SHA256:.*ED25519/);
  assert.deepEqual(await session.exited, { code: 0 });
  client.close();
  const without = await connectTo(sshd.port, { login: 'root' });
  const other = await without.openSession();
  assert.equal(await other.forwardAgent(), false);
  without.close();
});

test('terminal, environment, resize, signal and exit of a session on sshd', async () => {
  const client = await connectTo(sshd.port, { login: 'root', keepaliveMs: 50 });
  const session = await client.openSession();
  const size = { cols: 91, rows: 33, xpixel: 0, ypixel: 0 };
  assert.equal(await session.env('LC_TEST', 'passed on'), true);
  assert.equal(await session.pty({ term: 'vt100', ...size, modes: Buffer.from([0]) }), true);
  assert.equal(await session.exec('stty size; echo $LC_TEST $TERM; read x; stty size; kill -USR1 $$'), true);
  let seen = '';
  session.stdout.on('data', (text) => {
    seen += text;
  });
  await until('the first lines', () => seen.includes('vt100'));
  assert.equal(seen, '33 91\r\npassed on vt100\r\n');
  session.windowChange({ ...size, cols: 100 });
  await session.stdin.write(Buffer.from('\n'));
  assert.deepEqual(await session.exited, { signal: 'USR1', coreDumped: false, message: '' });
  assert.match(seen, /33 100/);
  assert.ok(((await client.ping()) ?? 1e9) < 1000);
  client.close();
});
