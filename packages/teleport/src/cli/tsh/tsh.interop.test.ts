// tsh as people use it: every command as a process against a real cluster, on pipes and on terminals.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { skip, TestCluster, tshProgram } from './cluster.fixture.ts';
import { Terminal } from './terminal.fixture.ts';

const otherPin = `sha256:${'0'.repeat(64)}`;

describe('tsh: log in, status, ls, log out', { skip, timeout: 170_000 }, () => {
  let cluster: TestCluster;
  let second: TestCluster;

  before(async () => {
    [cluster, second] = await Promise.all([
      TestCluster.start({ secondFactor: 'optional' }),
      TestCluster.start({ name: 'second.test', secondFactor: 'off', node: false }),
    ]);
    await cluster.person('alice', { logins: 'root,nobody' });
    await cluster.person('bob', { app: false });
  });
  after(async () => {
    Terminal.killAll();
    await Promise.all([cluster?.remove(), second?.remove()]);
  });

  const login = (name: string, ...flags: string[]) => [
    'login',
    `--proxy=${cluster.proxy}`,
    `--user=${name}`,
    ...flags,
  ];

  test('who is not logged in is told so, with what to do, by status 3', async () => {
    for (const args of [
      ['status'],
      ['ls'],
      ['ssh', 'root@node-1'],
      ['config'],
      ['proxy', 'ssh', 'root@node-1'],
    ]) {
      const { status, stdout, stderr } = await cluster.tsh('nobody', args);
      assert.equal(status, 3, args.join(' '));
      assert.equal(stdout, '');
      assert.equal(
        stderr,
        'ERROR: You are not logged in.\nLog in with `tsh login --proxy=HOST --user=NAME`.\n',
        args.join(' '),
      );
    }
    const out = await cluster.tsh('nobody', ['logout']);
    assert.deepEqual([out.status, out.stdout], [0, 'You are not logged in.\n']);
  });

  test('an unknown authority, another pin, and no pin at all are refused before anything is asked', async () => {
    const plain = await cluster.tsh('eve', login('eve'), { input: 'secret\n' });
    assert.equal(plain.status, 3);
    assert.match(plain.stderr, /not signed by an authority this machine trusts[\s\S]+--ca-pin/);
    assert.doesNotMatch(plain.stderr, /password/);
    const wrong = await cluster.tsh('eve', login('eve', `--ca-pin=${otherPin}`), { input: 'secret\n' });
    assert.equal(wrong.status, 3);
    assert.match(wrong.stderr, /is not the cluster of that pin[\s\S]+sha256:/);
    const bad = await cluster.tsh('eve', login('eve', '--ca-pin=abc'));
    assert.equal(bad.status, 2);
    assert.match(bad.stderr, /sha256: and 64 hex digits[\s\S]+tctl status/);
  });

  test('mistyped flags are refused before a password is typed for nothing', async () => {
    for (const [flag, says] of [
      ['--ttl=soon', /--ttl must be a duration/],
      ['--auth=sms', /--auth: this cluster has no "sms"[\s\S]+local, browser/],
      ['--format=xml', /--format must be text, json/],
      ['--add-keys-to-agent=maybe', /--add-keys-to-agent must be/],
    ] as const) {
      const { status, stderr } = await cluster.tsh('bob', login('bob', `--ca-pin=${cluster.pin}`, flag));
      assert.equal(status, 2, flag);
      assert.match(stderr, says);
      assert.doesNotMatch(stderr, /nobody to ask/);
    }
    const nowhere = await cluster.tsh('bob', ['login', '--proxy=localhost:1', '--user=bob']);
    assert.equal(nowhere.status, 6);
    assert.match(nowhere.stderr, /localhost:1 cannot be reached[\s\S]+Check --proxy/);
    const silent = await cluster.tsh('bob', login('bob', `--ca-pin=${cluster.pin}`), { input: '' });
    assert.equal(silent.status, 2);
    assert.match(silent.stderr, /nobody to ask for: Enter password[\s\S]+stdin/);
  });

  test('a wrong password and a wrong code are refused alike, and leave nothing behind', async () => {
    for (const input of [
      'not the password\n123456\n',
      'correct horse alice\n000000\n',
      'correct horse alice\n\n',
    ]) {
      const { status, stdout, stderr } = await cluster.tsh(
        'alice',
        login('alice', `--ca-pin=${cluster.pin}`),
        {
          input,
        },
      );
      assert.equal(status, 3);
      assert.equal(stdout, '');
      assert.equal(stderr, 'ERROR: User name, password or second factor is wrong.\n');
    }
    assert.deepEqual(await readdir(cluster.home('alice')).catch(() => []), []);
    assert.deepEqual(
      (await cluster.events('user.login')).map(({ code }) => code),
      ['T1000W', 'T1000W', 'T1000W'],
    );
  });

  test('password and code on a terminal: the password is never shown', async () => {
    await cluster.makeHome('alice');
    const command = [tshProgram, ...login('alice', `--ca-pin=${cluster.pin}`)].join(' ');
    const terminal = new Terminal(command, cluster.env('alice'));
    await terminal.shows(/Enter password for Teleport user alice: $/);
    terminal.type('wrongx\u007f\b\u007f\u007f\u007f\u007f\u007fcorrect horse alice\r');
    await terminal.shows(/Enter your OTP token[^\n]*: $/);
    const code = await cluster.code('alice');
    terminal.type(`${code}\r`);
    assert.equal(await terminal.ended(), 0, terminal.shown);
    assert.match(terminal.shown, /> Profile URL: +https:\/\/localhost/);
    assert.doesNotMatch(terminal.shown, /correct|horse|wrong|\*/);
    assert.match(terminal.shown, new RegExp(`OTP token[^\n]*: ${code}`), 'a code is');
  });

  test('ctrl-c at the password ends it, with the terminal as it was', async () => {
    const command = `${tshProgram} ${login('zoe', `--ca-pin=${cluster.pin}`).join(' ')}; echo "status $?"; stty -a`;
    const terminal = new Terminal(command, cluster.env('zoe'));
    await terminal.shows(/Enter password/);
    terminal.type('half a pass\u0003');
    await terminal.ended();
    assert.match(terminal.shown, /Interrupted[\s\S]+status [1-9]/);
    assert.match(terminal.shown, / icanon/);
    assert.match(terminal.shown, / echo /);
  });

  test('what is kept is readable by its owner alone', async () => {
    const home = cluster.home('alice');
    const entries = await readdir(home, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile());
    assert.ok(files.length >= 9, String(files.length));
    for (const entry of entries) {
      const { mode } = await stat(join(entry.parentPath, entry.name));
      assert.equal(mode & 0o777, entry.isDirectory() ? 0o700 : 0o600, entry.name);
    }
  });

  test('status in text and JSON', async () => {
    const text = await cluster.tsh('alice', ['status']);
    assert.equal(text.status, 0);
    assert.match(
      text.stdout,
      /> Profile URL: +https:\/\/localhost:\d+\n {2}Logged in as: +alice\n {2}Cluster: +tsh\.test\n/,
    );
    assert.match(text.stdout, /Logins: +nobody, root\n {2}Valid until: .+ \[valid for 1[12]h/);
    const json = JSON.parse((await cluster.tsh('alice', ['status', '--format=json'])).stdout);
    assert.deepEqual(
      [json.username, json.cluster, json.logins, json.roles],
      ['alice', 'tsh.test', ['nobody', 'root'], ['access']],
    );
    assert.equal((await cluster.tsh('alice', ['status', '--format=xml'])).status, 2);
  });

  test('ls in text, JSON and names, by labels', async () => {
    const ls = async (...args: string[]) => {
      const ran = await cluster.tsh('alice', ['ls', ...args]);
      assert.equal(ran.status, 0, ran.stderr);
      return ran.stdout;
    };
    assert.match(
      await ls(),
      /^Node Name +Address +Labels *\n-+ -+ -+\nnode-1 +127\.0\.0\.1:\d+ +env=test,role=web\n$/,
    );
    assert.equal(await ls('--format=names', 'env=test,role=web'), 'node-1\n');
    assert.equal(await ls('--format=names', 'env=test', 'role=db'), '');
    assert.deepEqual(
      JSON.parse(await ls('--format=json')).map((node: { spec: { hostname: string } }) => node.spec.hostname),
      ['node-1'],
    );
    assert.match(
      (await cluster.tsh('alice', ['ls', 'production'])).stderr,
      /"production" is not a label: KEY=VALUE/,
    );
    assert.equal((await cluster.tsh('alice', ['ls', '--format=xml'])).status, 2);
  });

  test('--ttl shortens the certificates, in minutes or with a unit', async () => {
    for (const [ttl, shows] of [
      ['--ttl=5', /valid for [45]m\]/],
      ['--ttl=90m', /valid for 1h(29|30)m\]/],
    ] as const) {
      const { status, stdout, stderr } = await cluster.logIn('bob', ttl);
      assert.equal(status, 0, stderr);
      assert.match(stdout, shows);
    }
  });

  test('--insecure says what it does and works without a pin, also afterwards', async () => {
    await cluster.person('carl', { app: false });
    const answers = await cluster.answers('carl');
    const { status, stderr } = await cluster.tsh('carl', login('carl', '--insecure'), { input: answers });
    assert.equal(status, 0, stderr);
    assert.match(stderr, /WARNING: --insecure/);
    assert.equal((await cluster.tsh('carl', ['ls', '--format=names'])).stdout, 'node-1\n');
    assert.equal((await cluster.tsh('carl', ['ssh', 'node-1', 'true'])).status, 0);
  });

  test('a second log-in needs no pin: the authority is known, and proxy and user as well', async () => {
    const again = await cluster.tsh('bob', ['login'], { input: await cluster.answers('bob') });
    assert.equal(again.status, 0, again.stderr);
    assert.match(again.stdout, /Logged in as: +bob/);
  });

  test('TELEPORT_PROXY and TELEPORT_USER stand for the flags', async () => {
    await cluster.person('dora', { app: false });
    const env = { TELEPORT_PROXY: cluster.proxy, TELEPORT_USER: 'dora' };
    const input = await cluster.answers('dora');
    const { status, stdout, stderr } = await cluster.tsh('dora', ['login', `--ca-pin=${cluster.pin}`], {
      env,
      input,
    });
    assert.equal(status, 0, stderr);
    assert.match(stdout, /Logged in as: +dora/);
  });

  test('two clusters side by side: the last log-in is the default, --proxy and TELEPORT_PROXY choose', async () => {
    await second.person('bob', { app: false });
    const proxy = second.proxy.replace('localhost', '127.0.0.1');
    const args = ['login', `--proxy=${proxy}`, '--user=bob', `--ca-pin=${second.pin}`];
    const { status, stderr } = await cluster.tsh('bob', args, { input: 'correct horse bob\n' });
    assert.equal(status, 0, stderr);
    const clusterOf = async (flags: string[], env: NodeJS.ProcessEnv = {}) =>
      JSON.parse((await cluster.tsh('bob', ['status', '--format=json', ...flags], { env })).stdout).cluster;
    assert.equal(await clusterOf([]), 'second.test');
    assert.equal(await clusterOf([`--proxy=${cluster.proxy}`]), 'tsh.test');
    assert.equal(await clusterOf([], { TELEPORT_PROXY: cluster.proxy }), 'tsh.test');
    assert.equal(
      (await cluster.tsh('bob', ['ls', '--format=names', `--proxy=${cluster.proxy}`])).stdout,
      'node-1\n',
    );
    const hosts = await readFile(join(cluster.home('bob'), 'known_hosts'), 'utf8');
    assert.match(hosts, /sallyport cluster tsh\.test\n/);
    assert.match(hosts, /sallyport cluster second\.test\n/);
    const out = await cluster.tsh('bob', ['logout']);
    assert.match(out.stdout, /Logged out bob from 127\.0\.0\.1/);
    assert.equal((await cluster.tsh('bob', ['status'])).status, 3);
    assert.equal(await clusterOf([`--proxy=${cluster.proxy}`]), 'tsh.test', 'the other log-in is untouched');
  });

  test('an expired log-in is told with the command that renews it, and status says EXPIRED by status 3', async () => {
    await cluster.person('erin', { app: false });
    assert.equal((await cluster.logIn('erin')).status, 0);
    const path = join(cluster.home('erin'), 'localhost.yaml');
    const profile = await readFile(path, 'utf8');
    await writeFile(path, profile.replace(/valid_until: .*/, 'valid_until: "2026-01-01T00:00:00.000Z"'));
    const ls = await cluster.tsh('erin', ['ls']);
    assert.equal(ls.status, 3);
    assert.match(ls.stderr, /expired at 2026-01-01[\s\S]+tsh login --proxy=localhost:\d+ --user=erin/);
    const status = await cluster.tsh('erin', ['status']);
    assert.equal(status.status, 3);
    assert.match(status.stdout, /Valid until: .+\[EXPIRED\]/);
  });

  test('keys others can read are refused', async () => {
    await cluster.person('finn', { app: false });
    assert.equal((await cluster.logIn('finn')).status, 0);
    const { chmod } = await import('node:fs/promises');
    await chmod(join(cluster.home('finn'), 'keys/localhost/finn'), 0o644);
    const { status, stderr } = await cluster.tsh('finn', ['ssh', 'node-1', 'true']);
    assert.notEqual(status, 0);
    assert.match(stderr, /Refusing to use .+ its mode is 0?644/);
  });

  test('logout removes keys and certificates', async () => {
    await mkdir(cluster.home('alice'), { recursive: true });
    assert.match((await cluster.tsh('alice', ['logout'])).stdout, /Logged out alice from localhost/);
    const left = await readdir(cluster.home('alice'), { recursive: true, withFileTypes: true });
    assert.deepEqual(
      left
        .filter((entry) => entry.isFile())
        .map(({ name }) => name)
        .sort(),
      ['certs.pem', 'known_hosts'],
    );
    assert.equal((await cluster.tsh('alice', ['ls'])).status, 3);
  });
});
