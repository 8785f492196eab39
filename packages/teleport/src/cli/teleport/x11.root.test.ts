// X11 forwarding, with a real X server at the client's end: OpenSSH's `ssh -Y` asks, real X clients draw.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch, createLogin, type TestLogin } from '../../ssh/host.fixture.ts';
import { OneNode, until } from './one-node.fixture.ts';
import { only } from './session-assertions.fixture.ts';

const skip =
  cannotLaunch() ||
  (!existsSync(recorderBinary) && 'the recorder is not built (make)') ||
  (!existsSync('/usr/bin/Xvfb') && 'Xvfb is not installed');

const x11 = `  x11: {enabled: true, display_offset: 40}`;

/** The person's own screen: takes whoever shows its cookie, and nobody else. */
class Screen {
  readonly authority: string;
  readonly cookie = randomBytes(16).toString('hex');
  readonly #server: ChildProcess;
  display = '';

  constructor(folder: string) {
    this.authority = join(folder, 'Xauthority');
    const given = join(folder, 'Xserver');
    // The server chooses its number, so the cookie stands for every one; then for the one chosen.
    execFileSync('xauth', ['-q', '-f', given, 'add', ':0', '.', this.cookie], { stdio: 'ignore' });
    this.#server = spawn('Xvfb', ['-displayfd', '3', '-auth', given, '-nolisten', 'tcp'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
  }

  async start(): Promise<void> {
    let said = '';
    this.#server.stdio[3]?.on('data', (text) => {
      said += text;
    });
    await until('the X server says its number', async () => said.endsWith('\n'));
    this.display = `:${said.trim()}`;
    execFileSync('xauth', ['-q', '-f', this.authority, 'add', this.display, '.', this.cookie]);
  }

  get env(): NodeJS.ProcessEnv {
    return { ...process.env, DISPLAY: this.display, XAUTHORITY: this.authority };
  }

  stop(): void {
    this.#server.kill();
  }
}

describe('X11 forwarding', { skip }, () => {
  let login: TestLogin;
  let node: OneNode;
  let screen: Screen;

  before(async () => {
    login = createLogin('x');
    node = await OneNode.start({ logins: [login.name], sshYaml: x11, role: { x11Forwarding: true } });
    screen = new Screen(node.folder);
    await screen.start();
  });
  after(async () => {
    screen?.stop();
    await node?.remove();
    login?.remove();
  });

  const ssh = async (of: OneNode, command: string, flags: readonly string[] = ['-Y']) => {
    const args = [...flags, ...of.sshArgs(login.name), command];
    const child = spawn('ssh', args, { env: screen.env, stdio: ['ignore', 'pipe', 'pipe'] });
    const [out, err] = await Promise.all([child.stdout.toArray(), child.stderr.toArray()]);
    return { out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() };
  };

  test('a program of the session draws on the client’s screen, and the record names its connection', async () => {
    const { out, err } = await ssh(
      node,
      'echo "display $DISPLAY"; xauth list; xdpyinfo | grep -c dimensions',
    );
    assert.match(out, /^display localhost:40\.0$/m, err);
    assert.match(out, /unix:40 +MIT-MAGIC-COOKIE-1 +[0-9a-f]{32}/, err);
    assert.match(out, /^1$/m, `${out}${err}`);
    assert.ok(!out.includes(screen.cookie), 'the display’s own cookie never leaves the client');
    const events = await until('both sessions’ ends', async () => {
      const seen = await node.events();
      return only(seen, 'session.end').length === 2 && seen;
    });
    const [asked] = only(events, 'x11-forward');
    assert.deepEqual(
      [asked?.['code'], asked?.['user'], asked?.['message']],
      ['T3008I', 'alice', 'display localhost:40.0'],
    );
    const drawn = only(events, 'session.network').find((event) => event['dst_port'] === 6040);
    assert.deepEqual([drawn?.['program'], drawn?.['outcome']], ['xdpyinfo', 'established']);
    // Who wrote into the authority file stands in the session of what is forwarded; the secret stands nowhere.
    const relay = events.filter((event) => event['sid'] === asked?.['sid']);
    assert.ok(only(relay, 'session.command').some((event) => event['path'] === '/usr/bin/xauth'));
    const cookie = /MIT-MAGIC-COOKIE-1 +([0-9a-f]{32})/.exec(out)?.[1] ?? assert.fail();
    const log = await readFile(join(node.folder, 'data/log/events.log'), 'utf8');
    assert.ok(!log.includes(cookie), 'the cookie is not in the audit log');
  });

  test('two connections have a display each, and a display ends with its session', async () => {
    const first = ssh(node, 'echo $DISPLAY; until test -e stop; do sleep 0.1; done');
    await until('the first has its display', async () => {
      const events = only(await node.events(), 'x11-forward');
      return events.length === 2;
    });
    const second = await ssh(node, 'echo $DISPLAY; touch stop');
    assert.equal(second.out, 'localhost:41.0\n');
    assert.equal((await first).out, 'localhost:40.0\n');
    const third = await ssh(node, 'echo $DISPLAY; exec xdpyinfo >/dev/null && echo drew');
    assert.equal(third.out, 'localhost:40.0\n');
  });

  test('somebody else’s listener on a display’s port is passed by, on IPv6 too', async () => {
    const squatter = createServer().listen(6040, '::1');
    await new Promise((resolve) => squatter.once('listening', resolve).once('error', resolve));
    const { out } = await ssh(node, 'echo $DISPLAY');
    squatter.close();
    assert.equal(out, 'localhost:41.0\n');
  });

  for (const [who, options, reason] of [
    ['node', { role: { x11Forwarding: true } }, /ssh_service\.x11/],
    ['role', { sshYaml: x11 }, /no role of the user allows/],
  ] as const) {
    test(`is refused where the ${who} does not allow it, and the session goes on without`, async () => {
      const other = await OneNode.start({ logins: [login.name], ...options });
      try {
        const { out } = await ssh(other, 'echo "display=$DISPLAY"');
        assert.equal(out, 'display=\n');
        const [refused] = only(await other.events(), 'x11-forward');
        assert.equal(refused?.['code'], 'T3008W');
        assert.match(String(refused?.['error']), reason);
      } finally {
        await other.remove();
      }
    });
  }
});
