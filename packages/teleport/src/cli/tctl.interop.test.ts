// tctl as an administrator runs it, by each of its three ways to the cluster: the daemon's socket, the files of a
// daemon that does not run, and the log-in of `tsh login`. What a command prints is looked at on one of them.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Authorities } from '../ca/authorities.ts';
import { loadConfig } from '../config/load-config.ts';
import { parseYamlDocuments } from '../config/yaml-text.ts';
import { administers, bin, type Document, json, ok, onAuthHost, type Way } from './tctl-ways.fixture.ts';
import { run, skip, TestCluster, until } from './tsh/cluster.fixture.ts';

describe('tctl beside a daemon that does not run', () => {
  let folder = '';
  let config = '';
  const way = () => onAuthHost(config);
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sallyport-tctl-'));
    config = join(folder, 'teleport.yaml');
    const dataDir = join(folder, 'data');
    await writeFile(
      config,
      `teleport: {nodename: auth-1, data_dir: ${dataDir}, advertise_ip: 192.0.2.7}
auth_service: {cluster_name: prod, tokens: ["proxy,node:from-the-file"]}\n`,
    );
    await Authorities.open({ dataDir, clusterName: 'prod', create: true, now: () => new Date() });
  });
  after(() => rm(folder, { recursive: true, force: true }));

  test('shows the tokens of the configuration, which only the configuration takes away', async () => {
    const listed = await ok(way(), ['tokens', 'ls', '--with-secrets']);
    assert.match(listed, /^from-the-file +Proxy,Node +never$/m);
    const refused = await way().tctl(['tokens', 'rm', 'from-the-file']);
    assert.equal(refused.status, 5);
    assert.match(refused.stderr, /configuration/);
    await writeFile(
      config,
      `teleport: {nodename: auth-1, data_dir: ${folder}/data, advertise_ip: 192.0.2.7}\nauth_service: {cluster_name: prod}\n`,
    );
  });

  administers(way);

  test('prints the command that joins, with what must be reachable', async () => {
    const { ca_pin } = JSON.parse(await ok(way(), ['status', '--format=json']));
    const printed = await ok(way(), [
      'nodes',
      'add',
      '--roles=node,proxy',
      '--token=chosen-by-hand',
      '--ttl=2h',
    ]);
    const command = `> teleport start \\\n   --roles=node,proxy \\\n   --token=chosen-by-hand \\\n   --ca-pin=${ca_pin} \\\n   --auth-server=192.0.2.7:3025\n`;
    assert.ok(printed.includes(command), printed);
    assert.match(printed, /will expire in 2h\.\n/);
    assert.match(printed, /192\.0\.2\.7:3025 must be reachable from the new node/);
    await ok(way(), ['tokens', 'rm', 'chosen-by-hand']);
  });

  test('takes a socket that a killed daemon left for what it is', async () => {
    const path = join(folder, 'data/auth.sock');
    const killed = createServer().listen(path);
    await until('it listens', () => killed.listening);
    // As the kernel leaves it: close() of Node would remove the file.
    await run(process.execPath, [
      '-e',
      `require('node:net').createServer().listen('${path}.2', () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    await new Promise((closed) => killed.close(closed));
    await run('mv', [`${path}.2`, path]);
    assert.equal((await way().tctl(['status'])).status, 0);
    await rm(path);
  });
});

describe('tctl at the socket of a daemon, and by a log-in', { skip }, () => {
  let cluster: TestCluster;
  let socket: Way;
  let nowhere = '';
  before(async () => {
    cluster = await TestCluster.start({ name: 'tctl.test' });
    socket = onAuthHost(join(cluster.folder, 'teleport.yaml'));
    // A workstation: a configuration whose data directory holds no cluster.
    nowhere = join(cluster.folder, 'workstation.yaml');
    await writeFile(nowhere, `teleport: {data_dir: ${cluster.folder}/workstation}\n`);
  });
  after(() => cluster?.remove());

  const as = (name: string): Way => ({
    tctl: (args, input, env) =>
      run(bin('tctl'), args, {
        ...(input === undefined ? {} : { input }),
        env: { ...cluster.env(name), TELEPORT_CONFIG_FILE: nowhere, ...env },
      }),
  });

  describe('at the socket', () => {
    administers(() => socket);

    test('lists the nodes as text, JSON and YAML', async () => {
      const [node] = await until('the node is there', async () => {
        const nodes = await json(socket, 'nodes', 'ls');
        return nodes.length > 0 && nodes;
      });
      assert.equal(node?.spec['hostname'], 'node-1');
      const uuid = node?.metadata.name ?? '';
      const text = await ok(socket, ['nodes', 'ls']);
      assert.match(text, /^Host +UUID +Address +Labels +Version\n/);
      assert.match(text, new RegExp(`^node-1 ${uuid} 127\\.0\\.0\\.1:\\d+ env=test,role=web \\d`, 'm'));
      const [fromYaml] = parseYamlDocuments(
        await ok(socket, ['nodes', 'ls', '--format=yaml']),
        'yaml',
      ) as Document[];
      assert.equal(fromYaml?.metadata.name, uuid);
      const [token = ''] = JSON.parse(await ok(socket, ['nodes', 'add', '--format=json']));
      assert.match(token, /^[0-9a-f]{32}$/);
      await ok(socket, ['tokens', 'rm', token]);
    });

    test('makes tokens for several services, with labels and a number of uses', async () => {
      const args = [
        '--type=node,proxy',
        '--value=roll-it-out',
        '--labels=env=prod,team=web',
        '--uses=3',
        '--ttl=90m',
      ];
      const added = JSON.parse(await ok(socket, ['tokens', 'add', ...args, '--format=json']));
      assert.deepEqual([added.token, added.roles], ['roll-it-out', ['node', 'proxy']]);
      assert.match(
        await ok(socket, ['tokens', 'ls']),
        /^roll\*{7} Node,Proxy env=prod,team=web \S+ \S+ \((1h30m|1h29m\d+s)\)$/m,
      );
      const [, first] = await Promise.all([
        ok(socket, ['tokens', 'ls', '--format=yaml']),
        json(socket, 'get', 'token/roll-it-out', '--with-secrets'),
      ]);
      assert.deepEqual(first[0]?.spec, {
        roles: ['node', 'proxy'],
        labels: { env: 'prod', team: 'web' },
        uses_left: 3,
      });
      assert.equal(
        (await socket.tctl(['tokens', 'add', '--type=node', '--value=roll-it-out'])).status,
        5,
        'taken',
      );
      await ok(socket, ['rm', 'token/roll-it-out']);
    });

    test('prints of every kind what `create -f` takes back', async () => {
      await ok(socket, ['tokens', 'add', '--type=node', '--value=kept-for-now']);
      await ok(socket, ['users', 'add', 'erin', '--logins=root']);
      await ok(socket, ['lock', '--role=nobody-has-it']);
      for (const kind of [
        'role',
        'user',
        'token',
        'lock',
        'node',
        'cert_authority',
        'proxy',
        'cluster_settings',
      ]) {
        const [yaml, documents] = await Promise.all([
          ok(socket, ['get', kind, '--with-secrets']),
          json(socket, 'get', kind, '--with-secrets'),
        ]);
        const parsed = parseYamlDocuments(yaml, kind) as Document[];
        const names = (some: readonly Document[]) => some.map(({ metadata }) => metadata.name).sort();
        assert.deepEqual(names(parsed), names(documents), kind);
        assert.ok(parsed.length > 0 && parsed.every((document) => document.kind === kind), kind);
        if (['role', 'user', 'lock'].includes(kind)) {
          const back = await socket.tctl(['create', '-f'], yaml);
          assert.equal(back.status, 0, `${kind}: ${back.stderr}\n${yaml}`);
        }
      }
      const [lock] = await json(socket, 'get', 'locks');
      for (const name of ['token/kept-for-now', 'user/erin', `lock/${lock?.metadata.name}`])
        await ok(socket, ['rm', name]);
    });

    test('creates a lock and a token from YAML, and knows what cannot be made by hand', async () => {
      const name = randomUUID();
      const lock = `kind: lock\nmetadata: {name: ${name}}\nspec: {target: {login: daemon}}\n`;
      const token = 'kind: token\nmetadata: {name: made-by-hand}\nspec: {roles: [node]}\n';
      await ok(socket, ['create'], `${lock}---\n${token}`);
      await ok(socket, ['rm', `lock/${name}`]);
      await ok(socket, ['rm', 'token/made-by-hand']);
      const [ca] = await json(socket, 'get', 'cas');
      const refused = await socket.tctl(['create', '-f'], JSON.stringify(ca));
      assert.notEqual(refused.status, 0);
    });

    test('edits in the person’s editor, and loses nobody’s change', async () => {
      await ok(socket, ['users', 'add', 'eve', '--logins=root']);
      const edit = (script: string) =>
        socket.tctl(['edit', 'user/eve'], '', { EDITOR: `sh -c '${script}' sh` });
      const edited = await edit('sed -i s/root/ubuntu/ "$1"');
      assert.deepEqual([edited.status, edited.stdout], [0, 'user "eve" has been updated.\n'], edited.stderr);
      const [user] = await json(socket, 'get', 'user/eve');
      assert.deepEqual(user?.spec['traits'], { logins: ['ubuntu'] });
      assert.equal((await edit('true')).stdout, 'Nothing was changed.\n');
      const left = await edit('exit 3');
      assert.equal(left.status, 2);
      assert.match(left.stderr, /ended with status 3; nothing was changed/);
      const renamed = await edit('sed -i "s/name: eve/name: mallory/" "$1"');
      assert.equal(renamed.status, 2);
      assert.match(renamed.stderr, /cannot be edited/);
      const other = `${bin('tctl')} -c ${cluster.folder}/teleport.yaml users update eve --set-logins=first >/dev/null`;
      const late = await edit(`${other}; sed -i s/ubuntu/second/ "$1"`);
      assert.equal(late.status, 5);
      assert.match(late.stderr, /changed by somebody else/);
      const [after] = await json(socket, 'get', 'user/eve');
      assert.deepEqual(after?.spec['traits'], { logins: ['first'] });
      await ok(socket, ['users', 'rm', 'eve']);
    });

    test('gives a new user a link, and a reset one another; the old password ends', async () => {
      const invited = await cluster.invite('fay', 'root');
      assert.match(invited, new RegExp(`^https://${cluster.proxy.replace('.', '\\.')}/`));
      const page = async (url: string) => (await run('curl', ['-sk', '--max-time', '20', url])).stdout;
      const reset = JSON.parse(await ok(socket, ['users', 'reset', 'fay', '--ttl=10m', '--format=json']));
      assert.equal(reset.name, 'fay');
      assert.ok(Date.parse(reset.reset_expires) - Date.now() < 11 * 60_000);
      assert.match(await page(reset.reset_url), /name="password"/);
      assert.doesNotMatch(await page(invited), /name="password"/);
      assert.equal((await socket.tctl(['users', 'reset', 'nobody'])).status, 4);
      assert.equal((await socket.tctl(['users', 'add', 'fay', '--logins=root'])).status, 5);
      await ok(socket, ['users', 'rm', 'fay']);
    });

    test('exports every authority in the form its reader takes', async () => {
      const exported = (type: string) => ok(socket, ['auth', 'export', `--type=${type}`]);
      assert.match(await exported('host'), /^@cert-authority \S+ ssh-ed25519 \S+/);
      assert.match(await exported('user'), /^cert-authority\S* ssh-ed25519 \S+/);
      assert.match(await exported('openssh'), /^ssh-ed25519 \S+/);
      for (const type of ['tls-host', 'tls-user']) {
        const shown = await run('openssl', ['x509', '-noout', '-subject'], { input: await exported(type) });
        assert.equal(shown.status, 0, shown.stderr);
      }
      assert.match(await ok(socket, ['auth', 'export', '--fingerprint']), /^SHA256:\S+\nSHA256:\S+\n$/);
      assert.equal((await socket.tctl(['auth', 'export', '--type=db'])).status, 2);
    });

    test('rotates an authority in its phases, and refuses what does not follow', async () => {
      const rotate = (phase: string) => socket.tctl(['auth', 'rotate', '--type=user', `--phase=${phase}`]);
      const early = await rotate('update_servers');
      assert.equal(early.status, 5);
      assert.match(early.stderr, /cannot go to update_servers.*\n.*init/);
      assert.match((await rotate('init')).stdout, /^user +init$/m);
      assert.equal((await ok(socket, ['auth', 'export', '--type=openssh'])).trim().split('\n').length, 2);
      assert.match(await ok(socket, ['status']), /^user .* trusted +init$/m);
      assert.match((await rotate('rollback')).stdout, /^user +rollback$/m);
      const phases = JSON.parse(
        await ok(socket, ['auth', 'rotate', '--type=user', '--phase=standby', '--format=json']),
      );
      assert.deepEqual(phases, { host: 'standby', user: 'standby' });
    });

    test('names what it does not know, with an exit code for each kind of mistake', async () => {
      const mistakes: readonly (readonly [code: number, args: string, says: RegExp])[] = [
        [2, 'get frobs', /names no resource.*\n.*role, user, token/],
        [2, 'get role/', /names no resource/],
        [2, 'rm roles', /names no resource/],
        [4, 'get role/absent', /absent/],
        [4, 'rm user/absent', /absent/],
        [4, 'users rm absent', /absent/],
        [2, 'lock', /exactly one target/],
        [2, 'lock --user=a --role=b', /exactly one target/],
        [2, 'lock --user=a --ttl=1s', /at least 1m/],
        [2, 'tokens add --type=kube', /"kube" is not a service/],
        [2, 'tokens add --type=node --labels=env', /not KEY=VALUE/],
        [2, 'tokens add --type=node --uses=0', /above 0/],
        [2, 'tokens add --type=node --value=short', /at least 8 characters/],
        [2, 'nodes ls --format=xml', /--format must be/],
        [2, 'auth rotate --phase=soon', /--phase must be/],
        [4, `create ${join(tmpdir(), 'absent.yaml')}`, /cannot be read/],
      ];
      const ran = await Promise.all(mistakes.map(([, args]) => socket.tctl(args.split(' '))));
      for (const [i, [code, args, says]] of mistakes.entries()) {
        assert.equal(ran[i]?.status, code, `${args}: ${ran[i]?.stderr}`);
        assert.match(ran[i]?.stderr ?? '', says, args);
        assert.equal(ran[i]?.stdout, '', args);
      }
    });
  });

  describe('by the log-in of somebody who may', () => {
    before(async () => {
      await cluster.person('admin', { roles: 'access,editor' });
      await cluster.person('plain');
      for (const name of ['admin', 'plain']) {
        await mkdir(cluster.home(name), { recursive: true });
        const ran = await cluster.logIn(name);
        assert.equal(ran.status, 0, ran.stderr);
      }
    });

    administers(() => as('admin'));

    test('prints the configuration that joins through the proxy', async () => {
      const printed = await ok(as('admin'), ['nodes', 'add', '--token=over-the-proxy']);
      const yaml = printed.slice(printed.indexOf('version: v3'), printed.indexOf('\nPlease note'));
      const { config, warnings } = loadConfig(yaml);
      assert.deepEqual(warnings, []);
      assert.deepEqual(
        [config.upstream.kind, config.join?.token, config.caPins, config.ssh.enabled, config.proxy.enabled],
        ['proxy', 'over-the-proxy', [cluster.pin], true, false],
      );
      assert.ok(printed.includes(`${cluster.proxy} must be reachable`));
      await ok(as('admin'), ['tokens', 'rm', 'over-the-proxy']);
    });

    test('is told to whom in the audit log: the person, not the host', async () => {
      await ok(as('admin'), ['users', 'add', 'gil', '--logins=root']);
      const [told] = (await cluster.events('user.create')).filter(({ name }) => name === 'gil');
      assert.equal(told?.['user'], 'admin');
      await ok(as('admin'), ['users', 'rm', 'gil']);
    });

    test('is refused to somebody who may not, and to nobody at all', async () => {
      const refused = await as('plain').tctl(['users', 'add', 'mallory', '--logins=root']);
      assert.equal(refused.status, 3, refused.stderr);
      assert.equal((await as('plain').tctl(['tokens', 'ls'])).status, 3);
      const unknown = await as('nobody').tctl(['status']);
      assert.equal(unknown.status, 3);
      assert.match(unknown.stderr, /not logged in.*\n.*tsh login/);
    });
  });
});
