// Live connections that the node ends: the certificate's end, idleness, locks. And sessions it does not begin.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { cannotLaunch, createLogin, type TestLogin } from '../../ssh/host.fixture.ts';
import { OneNode, type OneNodeOptions, type SeenEvent, until } from './one-node.fixture.ts';
import { only } from './session-assertions.fixture.ts';

const skip = cannotLaunch();

/** A client that stays: what it shows, and how it ends. */
function stay(node: OneNode, command: string, options: { tty?: boolean } = {}) {
  const child = node.spawnSsh(command, options);
  let shown = '';
  const keep = (text: Buffer) => {
    shown += text;
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const gone = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, gone, shown: () => shown };
}

async function disconnected(node: OneNode): Promise<SeenEvent> {
  return until('client.disconnect', async () => only(await node.events(), 'client.disconnect')[0]);
}

async function withNode(options: OneNodeOptions, use: (node: OneNode) => Promise<void>): Promise<void> {
  const node = await OneNode.start({ enhanced: false, ...options });
  try {
    await use(node);
  } finally {
    await node.remove();
  }
}

function runs(pattern: string): boolean {
  try {
    execFileSync('pgrep', ['-f', pattern]);
    return true;
  } catch {
    return false;
  }
}

describe('a live connection', { skip }, () => {
  test('ends with the certificate it began with, and its user is told', async () => {
    await withNode({ role: { disconnectExpiredCert: true } }, async (node) => {
      await node.certifyFor(3_000);
      const client = stay(node, 'echo up; exec sleep 1031', { tty: true });
      await until('it runs', () => client.shown().includes('up'));
      await client.gone;
      assert.match(client.shown(), /The certificate has expired\./);
      assert.equal(runs('sleep 1031'), false);
      const event = await disconnected(node);
      assert.deepEqual(
        [event['code'], event['user'], event['login'], event['reason']],
        ['T3006I', 'alice', 'root', 'The certificate has expired.'],
      );
      const [end] = (await node.ended()).map((events) => events.at(-1));
      assert.equal(end?.['interrupted_reason'], 'The certificate has expired.');
    });
  });

  test('outlives its certificate where nobody says otherwise', async () => {
    await withNode({}, async (node) => {
      await node.certifyFor(2_000);
      const client = stay(node, 'echo up; sleep 3; echo still here');
      assert.equal(await client.gone, 0);
      assert.match(client.shown(), /still here/);
    });
  });

  test('ends when nobody has typed anything, whatever the terminal shows', async () => {
    await withNode({ authYaml: 'client_idle_timeout: 1s' }, async (node) => {
      const client = stay(node, 'while sleep 0.1; do echo busy; done', { tty: true });
      await client.gone;
      assert.match(client.shown(), /Nothing was done for 1 s\./);
      assert.equal((await disconnected(node))['reason'], 'Nothing was done for 1 s.');
    });
  });

  test('is not idle while it is typed into, nor while a command without a terminal puts something out', async () => {
    await withNode({ role: { clientIdleTimeoutMs: 2_000 } }, async (node) => {
      const typed = stay(node, 'cat', { tty: true });
      const typing = setInterval(() => typed.child.stdin.write('.'), 100);
      try {
        const printing = stay(node, 'for i in $(seq 40); do echo $i; sleep 0.1; done');
        assert.equal(await printing.gone, 0, printing.shown());
        assert.equal(typed.child.exitCode, null);
      } finally {
        clearInterval(typing);
      }
      await typed.gone;
    });
  });
});

describe('a lock', { skip }, () => {
  let node: OneNode;
  let login: TestLogin;
  before(async () => {
    login = createLogin('lock');
    node = await OneNode.start({ logins: [login.name] });
  });
  after(async () => {
    await node?.remove();
    login?.remove();
  });

  test('ends whom it hits within a second, what they left behind too, and nobody else', async () => {
    const left = await node.ssh('nohup sleep 1032 >/dev/null 2>&1 & echo left', { login: login.name });
    assert.equal(left.stdout, 'left\n');
    const other = stay(node, 'echo up; exec sleep 1033', { tty: true });
    const args = node.sshArgs(login.name);
    const child = spawn('ssh', ['-tt', ...args, 'echo up; exec sleep 1034']);
    let shown = '';
    child.stdout.on('data', (text) => {
      shown += text;
    });
    child.stderr.on('data', (text) => {
      shown += text;
    });
    await until('both run', () => shown.includes('up') && other.shown().includes('up'));
    const since = performance.now();
    const gone = new Promise((resolve) => child.once('close', resolve));
    const ended = node.service?.ssh?.endLocked((user) =>
      user.login === login.name ? `login "${login.name}" is locked: gone on holiday` : undefined,
    );
    assert.equal(ended, 1);
    await gone;
    await until('what was left is gone', () => !runs('sleep 1032') && !runs('sleep 1034'));
    assert.ok(performance.now() - since < 1_000, `${performance.now() - since} ms`);
    assert.match(shown, /is locked: gone on holiday/);
    assert.match(String((await disconnected(node))['reason']), /gone on holiday/);
    assert.equal(other.child.exitCode, null);
    other.child.kill();
    await node.ended(3);
  });
});

describe('max_sessions of a role', { skip }, () => {
  test('refuses one more, says so, and does not count what is forwarded', async () => {
    await withNode({ role: { maxSessions: 1, portForwarding: true } }, async (node) => {
      const forwards = node.spawnSsh(undefined);
      forwards.kill();
      await until('it is over', () => node.service?.registry.size === 0);
      const first = stay(node, 'echo up; exec sleep 1035', { tty: true });
      await until('it runs', () => first.shown().includes('up'));
      const second = await node.ssh('echo never');
      assert.notEqual(second.status, 0);
      assert.match(second.stderr, /as many sessions as the roles allow/);
      const rejected = await until(
        'session.rejected',
        async () => only(await node.events(), 'session.rejected')[0],
      );
      assert.deepEqual([rejected['code'], rejected['maximum']], ['T1006W', 1]);
      first.child.kill();
      await until('it is over', () => node.service?.registry.size === 0);
      assert.equal((await node.ssh('echo again')).stdout, 'again\n');
    });
  });
});
