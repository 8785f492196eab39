// What OpenSSH's own client forwards through a node, with whose rights, and what the log says of it.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import type { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch, createLogin, type TestLogin } from '../../ssh/host.fixture.ts';
import { OneNode, type SeenEvent, until } from './one-node.fixture.ts';
import { only } from './session-assertions.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');
const bulk = randomBytes(1_000_000);

/** Sends back what comes, and ends when the other side did. */
async function startEcho(where: number | string): Promise<{ port: number; server: Server }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}).pipe(socket));
  if (typeof where === 'string') server.listen(where);
  else server.listen(where, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return { port: (server.address() as AddressInfo).port ?? 0, server };
}

async function exchange(stream: Duplex, bytes = bulk): Promise<Buffer> {
  stream.end(bytes);
  return Buffer.concat(await stream.toArray());
}

function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  return new Promise((resolve) =>
    server.once('listening', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    }),
  );
}

/** What a program prints. Not synchronous: the node lives in this process. */
async function run(program: string, args: string[]): Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  return Buffer.concat(await child.stdout.toArray()).toString();
}

async function reaches(target: { port: number; host: string } | { path: string }): Promise<boolean> {
  const socket = connect(target);
  const reached = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
  });
  socket.destroy();
  return reached;
}

describe('a node that forwards', { skip }, () => {
  let node: OneNode;
  let login: TestLogin;
  let echo: Awaited<ReturnType<typeof startEcho>>;
  const clients: ChildProcess[] = [];

  before(async () => {
    login = createLogin('fwd');
    node = await OneNode.start({
      logins: [login.name],
      role: { portForwarding: true, forwardAgent: true, recordSession: 'strict' },
    });
    echo = await startEcho(0);
  });
  after(async () => {
    for (const client of clients) client.kill();
    echo?.server.close();
    await node?.remove();
    login?.remove();
  });

  const ssh = (flags: readonly string[], who = login.name, command: readonly string[] = []) => {
    const child = spawn('ssh', [...flags, ...node.sshArgs(who), ...command], { stdio: 'pipe' });
    clients.push(child);
    let said = '';
    child.stderr.on('data', (text) => {
      said += text;
    });
    const gone = new Promise<number | null>((resolve) => child.once('close', resolve));
    return { child, gone, said: () => said };
  };
  const leave = async ({ child, gone }: ReturnType<typeof ssh>) => {
    child.kill();
    await gone;
  };
  const ports = async (code: string, addr: string): Promise<SeenEvent> =>
    until(`port ${code} of ${addr}`, async () =>
      only(await node.events(), 'port').find((event) => event['code'] === code && event['addr'] === addr),
    );
  const sessionOf = async (event: SeenEvent): Promise<SeenEvent[]> => {
    const sid = event['sid'];
    return until('the end of the forwarding session', async () => {
      const events = (await node.events()).filter((one) => one['sid'] === sid);
      return events.some((one) => one.event === 'session.end') && events;
    });
  };

  test('ssh -W reaches a host as the user, and the kernel’s record says who and where', async () => {
    const client = ssh(['-W', `127.0.0.1:${echo.port}`]);
    client.child.stdin.end(bulk);
    assert.ok(Buffer.concat(await client.child.stdout.toArray()).equals(bulk), client.said());
    assert.equal(await client.gone, 0);
    const addr = `127.0.0.1:${echo.port}`;
    const start = await ports('T3003I', addr);
    await ports('T3003S', addr);
    assert.deepEqual([start['user'], start['login'], start['success']], ['alice', login.name, true]);
    const events = await sessionOf(start);
    const [first] = events;
    assert.deepEqual([first?.event, first?.['purpose']], ['session.start', 'forwarding']);
    const seen = only(events, 'session.network').find((one) => one['dst_port'] === echo.port);
    assert.equal(seen?.['dst_addr'], '127.0.0.1');
    const end = events.at(-1);
    assert.equal(end?.['enhanced_recording'], true);
    const totals = end?.['enhanced_totals'] as Record<string, Record<string, number>>;
    assert.equal(totals['network']?.['lost'], 0);
    const data = only(events, 'session.data')[0];
    assert.deepEqual([data?.['tx'], data?.['rx']], [bulk.length, bulk.length]);
  });

  test('ssh -L of a port and of a socket, and -D', async () => {
    const [port, socks] = [await freePort(), await freePort()];
    const path = join(node.folder, 'local.sock');
    const far = `${login.home}/echo.sock`;
    const unix = await startEcho(far);
    execFileSync('chown', [login.name, far]);
    const client = ssh([
      ...['-N', '-o', 'ExitOnForwardFailure=yes', '-L', `${port}:localhost:${echo.port}`],
      ...['-L', `${path}:${far}`, '-D', `${socks}`],
    ]);
    await until('the client listens', () => reaches({ port: socks, host: '127.0.0.1' }));
    const near = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    assert.ok((await exchange(near)).equals(bulk), client.said());
    assert.ok((await exchange(connect({ path, allowHalfOpen: true }))).equals(bulk), client.said());
    const url = `http://127.0.0.1:${node.port}/`;
    // An SSH server answers a web client with its name, which is enough to know that SOCKS led there.
    const answer = await run('curl', ['-s', '--http0.9', '-m', '2', '--socks5', `127.0.0.1:${socks}`, url]);
    assert.match(answer, /^SSH-2\.0-/);
    await leave(client);
    unix.server.close();
    await ports('T3003I', far);
    await ports('T3003S', far);
  });

  test('ssh -R of a port and of a socket, which go with the client', async () => {
    const path = `${login.home}/remote.sock`;
    const client = ssh([
      ...['-N', '-o', 'LogLevel=INFO', '-R', `0:127.0.0.1:${echo.port}`],
      ...['-R', `${path}:127.0.0.1:${echo.port}`],
    ]);
    await until('both listen', () => /Allocated port \d+/.test(client.said()) && existsSync(path));
    const port = Number(/Allocated port (\d+)/.exec(client.said())?.[1]);
    assert.equal(statSync(path).uid, statSync(login.home).uid);
    for (const target of [{ port, host: '127.0.0.1' }, { path }])
      assert.ok((await exchange(connect({ ...target, allowHalfOpen: true }))).equals(bulk));
    await leave(client);
    await until('the socket is gone', () => !existsSync(path));
    await until('the port is free', async () => !(await reaches({ port, host: '127.0.0.1' })));
    assert.equal((await ports('T3003I', `localhost:${port}`))['message'], 'remote forward');
    await ports('T3003S', path);
  });

  test('lends nobody the rights of root: sockets, ports, and the agent’s folder', async () => {
    const path = join(node.folder, 'root-only.sock'); // mkdtemp: 0700 of root
    const secret = await startEcho(path);
    const client = ssh(['-N', '-L', `${join(node.folder, 'in.sock')}:${path}`]);
    await until('the client listens', () => existsSync(join(node.folder, 'in.sock')));
    await exchange(connect(join(node.folder, 'in.sock'))).then(
      (back) => assert.equal(back.length, 0),
      (error) => assert.match(String(error), /ECONNRESET|EPIPE/),
    );
    assert.equal((await ports('T3003E', path))['error'], 'Permission denied');
    await leave(client);
    const low = ssh(['-N', '-o', 'ExitOnForwardFailure=yes', '-R', `81:127.0.0.1:${echo.port}`]);
    assert.equal(await low.gone, 255);
    assert.equal((await ports('T3003E', 'localhost:81'))['error'], 'Permission denied');
    const asRoot = ssh(['-N', '-L', `${join(node.folder, 'root.sock')}:${path}`], 'root');
    await until('the client listens', () => existsSync(join(node.folder, 'root.sock')));
    const stream = connect({ path: join(node.folder, 'root.sock'), allowHalfOpen: true });
    assert.ok((await exchange(stream)).equals(bulk));
    await leave(asRoot);
    secret.server.close();
  });

  test('ssh -A lends the agent to this session’s user, and takes its socket away', async () => {
    const agent = join(node.folder, 'agent.sock');
    const daemon = spawn('ssh-agent', ['-D', '-a', agent], { stdio: 'ignore' });
    await until('the agent', () => existsSync(agent));
    const env = { ...process.env, SSH_AUTH_SOCK: agent };
    await chmod(join(node.folder, 'id'), 0o600);
    execFileSync('ssh-add', ['-q', join(node.folder, 'id')], { env, stdio: 'pipe' });
    const command = 'ssh-add -l; stat -c "%U %a" "$(dirname "$SSH_AUTH_SOCK")"; echo $SSH_AUTH_SOCK';
    const flags = ['-A', '-o', `IdentityAgent=${agent}`];
    const { child } = ssh(flags, login.name, [command]);
    const out = Buffer.concat(await child.stdout.toArray()).toString();
    daemon.kill();
    const lines = out.trim().split('\n');
    const [folder, path] = lines.slice(-2);
    assert.match(lines[0] ?? '', /256 SHA256:.*ED25519/);
    assert.equal(folder, `${login.name} 700`);
    await until('the socket is gone', () => !existsSync(path ?? ''));
    const lent = await until('agent-forward', async () => only(await node.events(), 'agent-forward')[0]);
    assert.deepEqual([lent['code'], lent['login']], ['T3013I', login.name]);
    await until('its folder is gone', () => !existsSync(dirname(path ?? '')));
  });

  test('leaves no process, no socket and no cgroup behind', async () => {
    await until('every session is over', () => node.service?.registry.size === 0);
    const cgroups = readdirSync(join('/sys/fs/cgroup/unified', node.rootPath), { withFileTypes: true });
    assert.deepEqual(
      cgroups.filter((entry) => entry.isDirectory()).map(({ name }) => name),
      [],
    );
    assert.equal(await run('ps', ['-o', 'pid=,ppid=,etimes=,args=', '-u', login.name]), '');
  });
});

describe('a node that is killed while it forwards', { skip }, () => {
  test('leaves no relay behind, and the next start ends what it forwarded in the log', async () => {
    const login = createLogin('fwdkill');
    const echo = await startEcho(0);
    const node = await OneNode.create({ logins: [login.name], role: { portForwarding: true } });
    try {
      await node.startChild();
      const port = await freePort();
      const flags = ['-N', '-L', `${port}:127.0.0.1:${echo.port}`];
      const client = spawn('ssh', [...flags, ...node.sshArgs(login.name)], { stdio: 'ignore' });
      await until('the client listens', () => reaches({ port, host: '127.0.0.1' }));
      const socket = connect({ port, host: '127.0.0.1' }).on('error', () => {});
      socket.write('x');
      await new Promise((resolve) => socket.once('data', resolve));
      await node.killChild();
      client.kill();
      await until('the relay is gone', async () => (await run('pgrep', ['-u', login.name])) === '');
      await node.startChild();
      const sessions = await node.ended(1);
      const [first, ...rest] = sessions[0] ?? [];
      assert.equal(first?.['purpose'], 'forwarding');
      assert.ok(only(rest, 'session.network').some((event) => event['dst_port'] === echo.port));
      const end = rest.at(-1);
      assert.deepEqual([end?.['purpose'], end?.['interrupted']], ['forwarding', true]);
    } finally {
      echo.server.close();
      await node.remove();
      login.remove();
    }
  });
});

describe('a node that does not forward', { skip }, () => {
  for (const [why, options, reason] of [
    ['no role says so', {}, /no role of the user allows port forwarding/],
    ['its configuration says no', { port: true, off: true }, /this node forwards no ports/],
  ] as const) {
    test(`refuses and says so: ${why}`, async () => {
      const node = await OneNode.start({
        enhanced: false,
        ...('port' in options ? { role: { portForwarding: true } } : {}),
        ...('off' in options ? { sshYaml: '  port_forwarding: false' } : {}),
      });
      try {
        const child = spawn('ssh', ['-o', 'LogLevel=INFO', '-A', '-W', '127.0.0.1:1', ...node.sshArgs()], {
          stdio: 'pipe',
        });
        let said = '';
        child.stderr.on('data', (text) => {
          said += text;
        });
        assert.notEqual(await new Promise((resolve) => child.once('close', resolve)), 0);
        assert.match(said, reason);
        const refused = await until('port', async () => only(await node.events(), 'port')[0]);
        assert.match(String(refused['error']), reason);
        const { status } = await node.ssh('test -z "$SSH_AUTH_SOCK"');
        assert.equal(status, 0);
      } finally {
        await node.remove();
      }
    });
  }
});
