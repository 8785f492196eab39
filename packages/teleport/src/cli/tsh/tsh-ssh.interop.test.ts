// `tsh ssh`, `tsh config` and `tsh proxy ssh` as people use them, against a real node.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  Account,
  freePort,
  type Ran,
  type RunOptions,
  run,
  skip,
  TestCluster,
  tshProgram,
  until,
} from './cluster.fixture.ts';
import { Terminal } from './terminal.fixture.ts';

const noKeys = 'ssh-add says so when it holds nothing';

describe('tsh ssh', { skip, timeout: 220_000 }, () => {
  let cluster: TestCluster;
  let account: Account;
  /** The account at the node. */
  let at: string;
  /** Last made, first closed. */
  const closing: (() => unknown)[] = [];

  before(async () => {
    account = new Account('tsh');
    at = `${account.name}@node-1`;
    cluster = await TestCluster.start({ secondFactor: 'off' });
    await cluster.put({
      kind: 'role',
      metadata: { name: 'forwarder' },
      spec: { allow: {}, options: { port_forwarding: true, forward_agent: true } },
    });
    await cluster.person('alice', { logins: `${account.name},nobody`, roles: 'access,forwarder' });
    await cluster.makeHome('alice');
    const { status, stderr } = await cluster.logIn('alice');
    assert.equal(status, 0, stderr);
  });
  after(async () => {
    Terminal.killAll();
    for (const close of closing.reverse()) await close();
    await cluster?.remove();
    account?.remove();
  });

  const ssh = (args: readonly string[], options: RunOptions = {}): Promise<Ran> =>
    cluster.tsh('alice', ['ssh', ...args], options);

  /** tsh that goes on until the test is over. */
  function start(...args: string[]) {
    const child = spawn(tshProgram, ['ssh', ...args], { stdio: 'pipe', env: cluster.env('alice') });
    const state = { child, said: '', ended: once(child, 'close') };
    child.stderr.on('data', (bytes: Buffer) => {
      state.said += bytes;
    });
    child.stdout.on('data', (bytes: Buffer) => {
      state.said += bytes;
    });
    closing.push(() => child.kill('SIGKILL'));
    return state;
  }

  const terminal = (args: string, before = '') =>
    new Terminal(`stty rows 33 cols 101; ${before} exec ${tshProgram} ssh ${args}`, cluster.env('alice'));

  async function accepts(port: number): Promise<boolean> {
    const socket = connect(port, '127.0.0.1');
    const open = await new Promise<boolean>((done) => {
      socket.once('connect', () => done(true));
      socket.once('error', () => done(false));
    });
    socket.destroy();
    return open;
  }

  async function page(text: string): Promise<number> {
    const server = createServer((_, response) => response.end(text)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    closing.push(() => server.close());
    return (server.address() as { port: number }).port;
  }

  test('runs a command as the login that was asked for, and passes stdout, stderr and exit code on', async () => {
    const ran = await ssh([at, 'echo out; echo err >&2; id -un; exit 7']);
    assert.deepEqual([ran.status, ran.stdout, ran.stderr], [7, `out\n${account.name}\n`, 'err\n']);
    assert.equal((await ssh(['--login', account.name, 'node-1', 'id', '-un'])).stdout, `${account.name}\n`);
    assert.equal((await ssh([`${at}.tsh.test`, 'true'])).status, 0, 'with the name of the cluster');
  });

  test('a command that a signal ended gives 128 and its number', async () => {
    assert.equal((await ssh([at, 'kill -TERM $$'])).status, 143);
    assert.equal((await ssh([at, 'kill -KILL $$'])).status, 137);
    const live = start(at, 'trap "echo caught; exit 9" INT; echo ready; while :; do sleep 0.1; done');
    await until('the command runs', () => live.said.includes('ready'));
    live.child.kill('SIGINT');
    assert.deepEqual(await live.ended, [9, null], 'ctrl-c goes to the command');
    assert.match(live.said, /caught/);
  });

  test('arguments arrive as a shell there joins them', async () => {
    assert.equal((await ssh([at, 'echo', '$HOME', '--help'])).stdout, `${account.home} --help\n`);
  });

  test('pipes what stands on stdin to its end, and takes megabytes back', async () => {
    const input = 'x'.repeat(3_000_000);
    assert.equal((await ssh([at, 'cat'], { input })).stdout.length, input.length);
    assert.equal((await ssh([at, 'wc -c'], { input })).stdout.trim(), String(input.length));
    assert.equal((await ssh([at], { input: 'echo from a shell\nexit 3\n' })).status, 3);
  });

  test('ends when the command does, whoever still holds stdin open', async () => {
    const live = start(at, 'echo done; exit 4');
    assert.deepEqual(await live.ended, [4, null]);
  });

  test('a shell on a terminal: its size, its changes, its exit code', async () => {
    const shell = terminal(at);
    shell.type('PS1=; stty size\n');
    await shell.shows(/\b33 101\r?\n/);
    const before = shell.shown.length;
    shell.type('exit 5\n');
    assert.equal(await shell.ended(), 5);
    assert.doesNotMatch(shell.shown.slice(before), /ERROR/);
  });

  test('a window that changes its size is another size there', async () => {
    const flag = join(cluster.folder, 'resize');
    const grow = `(until [ -e ${flag} ]; do sleep 0.05; done; stty rows 44 cols 122 < /dev/tty) &`;
    const shell = terminal(
      `-t ${at} "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done"`,
      grow,
    );
    await shell.shows(/ready/);
    await writeFile(flag, '');
    await shell.shows(/44 122/);
    shell.type('\u0003');
    assert.equal(await shell.ended(), 130);
  });

  test('-t gives a command a terminal, -T a shell none', async () => {
    const without = await ssh([at, 'tty']);
    assert.match(without.stdout, /not a tty/);
    const given = terminal(`-t ${at} "tty; stty size"`);
    assert.equal(await given.ended(), 0);
    assert.match(given.shown, /\/dev\/pts\/\d+\r\n33 101/);
    const refused = terminal(`-T ${at}`);
    refused.type('tty; exit 6\n\u0004');
    assert.equal(await refused.ended(), 6, refused.shown);
    assert.match(refused.shown, /not a tty/);
  });

  test('~. leaves a session, and the terminal is as it was', async () => {
    const shell = new Terminal(`${tshProgram} ssh ${at}; echo "status $?"; stty -a`, cluster.env('alice'));
    shell.type('PS1=; echo $((20+3))\n');
    await shell.shows(/23\r\n/);
    shell.type('\r~.');
    await shell.shows(/status 255/);
    await shell.shows(/ icanon/);
    assert.match(shell.shown, / echo /);
    await shell.ended();
  });

  test('-L, -D and -R carry connections, with -N and nothing else run', async () => {
    const here = await page('behind the node');
    const [local, socks, remote] = await Promise.all([freePort(), freePort(), freePort()]);
    const live = start(
      '-N',
      ...[
        '-L',
        `${local}:127.0.0.1:${here}`,
        '-D',
        `127.0.0.1:${socks}`,
        '-R',
        `${remote}:127.0.0.1:${here}`,
      ],
      at,
    );
    await until('all ports', async () =>
      (await Promise.all([local, socks, remote].map(accepts))).every(Boolean),
    );
    const get = async (...args: string[]) => (await run('curl', ['-s', '--max-time', '10', ...args])).stdout;
    assert.equal(await get(`http://127.0.0.1:${local}/`), 'behind the node');
    assert.equal(await get(`http://127.0.0.1:${remote}/`), 'behind the node');
    const viaSocks = ['--socks5', `127.0.0.1:${socks}`];
    assert.equal(await get(...viaSocks, `http://127.0.0.1:${here}/`), 'behind the node');
    assert.equal(
      await get('--socks5-hostname', `127.0.0.1:${socks}`, `http://localhost:${here}/`),
      'behind the node',
    );
    const closed = await freePort();
    assert.equal(await get(...viaSocks, `http://127.0.0.1:${closed}/`), '');
    assert.match(live.said, /-D: /, 'what could not be reached is told');
    live.child.kill('SIGINT');
    assert.deepEqual(await live.ended, [0, null]);
    await until('nothing listens any more', async () => !(await accepts(remote)) && !(await accepts(local)));
  });

  test('a forward that cannot be is said before anything runs', async () => {
    const taken = await page('mine');
    for (const [flag, value, says] of [
      ['-L', `${taken}:127.0.0.1:1`, /-L: cannot listen on localhost:\d+: .*EADDRINUSE/],
      ['-R', `${taken}:127.0.0.1:1`, /-R: the node does not listen on port \d+ for you\.\n.*port_forwarding/],
      ['-L', 'nonsense', /-L takes \[bind_address:\]port:host:hostport, not "nonsense"/],
      ['-D', 'nonsense', /-D takes \[bind_address:\]port, not "nonsense"/],
    ] as const) {
      const { status, stdout, stderr } = await ssh([flag, value, at, 'echo ran']);
      assert.deepEqual([status, stdout], [255, ''], `${flag} ${value}`);
      assert.match(stderr, says);
    }
  });

  test('an unknown node, a wrong login: each says what, why and what to do', async () => {
    const unknown = await ssh([`${account.name}@nowhere`, 'true']);
    assert.equal(unknown.status, 255);
    assert.match(unknown.stderr, /ERROR: .*no node "nowhere" is connected to the cluster[\s\S]*tsh ls/);
    const login = await ssh(['daemon@node-1', 'true']);
    assert.equal(login.status, 255);
    assert.match(login.stderr, /node-1 refused the login "daemon"[\s\S]+tsh status[\s\S]+tsh ls/);
    assert.equal((await ssh(['x@'])).status, 2);
    assert.equal((await ssh(['-p', '70000', at])).status, 2);
  });

  test('a locked user is told that the proxy refused, and where the reason is', async () => {
    await cluster.person('mallory', { logins: account.name });
    assert.equal((await cluster.logIn('mallory')).status, 0);
    await cluster.tctl('lock', '--user=mallory', '--ttl=1h');
    const { status, stderr } = await until('the lock is known', async () => {
      const ran = await cluster.tsh('mallory', ['ssh', at, 'true']);
      return ran.status !== 0 && ran;
    });
    assert.equal(status, 255);
    assert.match(stderr, /refused the certificate of mallory\.\n.*locked[\s\S]+audit log/);
  });

  describe('with an ssh-agent', () => {
    let env: NodeJS.ProcessEnv;

    before(async () => {
      const socket = join(cluster.folder, 'agent');
      const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
      closing.push(() => agent.kill());
      await until('the agent listens', () => existsSync(socket));
      env = { SSH_AUTH_SOCK: socket };
      await cluster.person('bob');
      await cluster.makeHome('bob');
    });

    const held = async () => (await run('ssh-add', ['-l'], { env: { ...process.env, ...env } })).stdout;

    test('log-in puts the certificate into it once, log-out takes it away', async () => {
      assert.match(await held(), /no identities/, noKeys);
      const args = ['login', `--proxy=${cluster.proxy}`, '--user=bob', `--ca-pin=${cluster.pin}`];
      for (let i = 0; i < 2; i++) {
        const { status, stderr } = await cluster.tsh('bob', args, { input: 'correct horse bob\n', env });
        assert.equal(status, 0, stderr);
      }
      assert.match(await held(), /^256 SHA256:\S+ teleport:tsh\.test:bob \(ED25519-CERT\)\n$/);
      await cluster.tsh('bob', ['logout'], { env });
      assert.match(await held(), /no identities/);
    });

    test('--add-keys-to-agent=no leaves it alone, =yes says why not', async () => {
      const args = ['login', `--proxy=${cluster.proxy}`, '--user=bob', `--ca-pin=${cluster.pin}`];
      const input = 'correct horse bob\n';
      await cluster.tsh('bob', [...args, '--add-keys-to-agent=no'], { input, env });
      assert.match(await held(), /no identities/);
      const away = { SSH_AUTH_SOCK: join(cluster.folder, 'nobody') };
      const said = await cluster.tsh('bob', [...args, '--add-keys-to-agent=yes'], { input, env: away });
      assert.deepEqual(
        [said.status, /not in the agent: the agent cannot be reached/.test(said.stderr)],
        [0, true],
      );
    });

    test('-A lends it to the session, and only then', async () => {
      const key = join(cluster.folder, 'lent');
      await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'lent', '-f', key]);
      await run('ssh-add', ['-q', key], { env: { ...process.env, ...env } });
      assert.match((await ssh(['-A', at, 'ssh-add -l'], { env })).stdout, /SHA256:\S+ lent /);
      assert.notEqual((await ssh([at, 'ssh-add -l'], { env })).status, 0);
      const none = await ssh(['-A', at, 'true']);
      assert.equal(none.status, 0);
      assert.match(none.stderr, /WARNING: there is no agent to forward: SSH_AUTH_SOCK is not set/);
    });
  });

  describe("with OpenSSH's own client", () => {
    const options = ['-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=yes', '-o', 'LogLevel=ERROR'];
    let config: string;

    before(async () => {
      config = join(cluster.folder, 'ssh_config');
      const printed = await cluster.tsh('alice', ['config']);
      assert.equal(printed.status, 0, printed.stderr);
      await writeFile(config, printed.stdout);
    });

    const openssh = (args: readonly string[], options_: RunOptions = {}) =>
      run('ssh', [...options, ...args], { env: cluster.env('alice'), ...options_ });

    test('`tsh config` is all that ssh needs', async () => {
      const ran = await openssh(['-F', config, `${at}.tsh.test`, 'echo hello; exit 3']);
      assert.deepEqual([ran.status, ran.stdout, ran.stderr], [3, 'hello\n', '']);
      const unknown = await openssh(['-F', config, `${account.name}@nowhere.tsh.test`, 'true']);
      assert.equal(unknown.status, 255);
      assert.match(unknown.stderr, /nowhere cannot be reached: no node "nowhere" is connected/);
    });

    test('`tsh proxy ssh` is a ProxyCommand', async () => {
      const home = cluster.home('alice');
      const keys = join(home, 'keys/localhost/alice');
      const ran = await openssh([
        ...['-F', 'none', '-i', keys, '-o', `CertificateFile=${keys}-ssh/tsh.test-cert.pub`],
        ...['-o', `UserKnownHostsFile=${home}/known_hosts`, '-o', 'IdentityAgent=none'],
        ...['-o', `ProxyCommand=${tshProgram} proxy ssh %r@%h:%p`, '-p', '3022', at, 'echo through'],
      ]);
      assert.equal(ran.stdout, 'through\n', ran.stderr);
    });
  });

  test('an address of two nodes is refused with the names that mean one', async () => {
    await cluster.addNode('node-2');
    const { status, stderr } = await until('the proxy knows both', async () => {
      const ran = await ssh([`${account.name}@127.0.0.1`, 'true']);
      return ran.status !== 0 && ran;
    });
    assert.equal(status, 255);
    const [, one = '', port = ''] =
      /"127\.0\.0\.1" is the name of 2 nodes; use one of ([0-9a-f-]{36}) \(127\.0\.0\.1:(\d+)\), /.exec(
        stderr,
      ) ?? [];
    assert.ok(one, stderr);
    for (const args of [
      [`${account.name}@${one}`],
      ['-p', port, `${account.name}@127.0.0.1`],
      [`${account.name}@node-2`],
    ]) {
      const ran = await ssh([...args, 'echo one']);
      assert.equal(ran.stdout, 'one\n', `${args.join(' ')}: ${ran.stderr}`);
    }
  });
});
