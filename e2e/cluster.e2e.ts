/**
 * The cluster as the guides build it, on hosts of their own: auth, two proxies, a node that proxies dial and one
 * behind NAT that dials the proxies. Log in with password and second factor, reach both nodes with tsh and with
 * OpenSSH, lose a proxy, lose the link to auth under load: nothing lost, nothing twice.
 */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { generateSync } from 'otplib';
import { Cluster } from './cluster.ts';
import { type Event, until } from './one-host.ts';

const staticToken = 'static-token-of-the-test';
const sshService = (port: number, labels: string) => `ssh_service:
  enabled: true
  listen_addr: 0.0.0.0:${port}
  labels: {${labels}}
  enhanced_recording: {enabled: true, cgroup_path: CGROUP_PATH, root_path: ROOT_PATH}`;
const listens = /the ssh service (listens|is off)/;

let cluster: Cluster;
let pin: string;

/** What a person does behind the sign-up link: the form of the page, posted. Gives the secret of the app. */
async function signUp(url: string, password: string): Promise<string> {
  const curl = ['curl', '-sk', '--max-time', '20'];
  const page = await cluster.at(cluster.desk, [...curl, url]);
  const secret = /id="secret">([A-Z2-7]+)</.exec(page.stdout)?.[1];
  assert.ok(secret, `no key on the page: ${page.stdout.slice(0, 500)}`);
  const fields = { password, again: password, otp: await code(secret) };
  const data = Object.entries(fields).flatMap(([name, value]) => ['--data-urlencode', `${name}=${value}`]);
  const done = await cluster.at(cluster.desk, [...curl, ...data, url]);
  assert.match(done.stdout, /is ready/, done.stdout);
  return secret;
}

const stepSeconds = 30;
const lastStep = new Map<string, number>();

/** A code is good once, half a minute before its time at the earliest: whoever is faster waits. */
async function code(secret: string): Promise<string> {
  const step = await until(
    'the next code',
    () => {
      const now = Math.floor(Date.now() / 1000 / stepSeconds);
      const next = Math.max(now, (lastStep.get(secret) ?? 0) + 1);
      return next <= now + 1 && next;
    },
    40_000,
  );
  lastStep.set(secret, step);
  return generateSync({ secret, epoch: step * stepSeconds });
}

const people = new Map<string, { password: string; secret: string }>();

async function person(name: string, logins = 'root', roles = 'access'): Promise<void> {
  const added = await cluster.tctlOk('users', 'add', name, `--logins=${logins}`, `--roles=${roles}`);
  const url = /https:\/\/\S+/.exec(added)?.[0];
  assert.ok(url, added);
  const password = `correct horse ${name}`;
  people.set(name, { password, secret: await signUp(url, password) });
}

async function logIn(name: string, proxy = 'proxy1') {
  const { password, secret } = people.get(name) ?? { password: '', secret: '' };
  const address = `${cluster.get(proxy).host.address}:3080`;
  const args = ['login', `--proxy=${address}`, `--user=${name}`, `--ca-pin=${pin}`];
  return cluster.tsh(name, args, { input: `${password}\n${await code(secret)}\n` });
}

const sessionsOf = (events: readonly Event[], user: string) =>
  events.filter(({ event, user: who }) => event === 'session.end' && who === user);

describe('a cluster on six hosts', { timeout: 400_000 }, () => {
  before(async () => {
    cluster = await Cluster.create();
    const auth = await cluster.machine('auth', (host) => ({
      nodename: 'auth',
      services: `auth_service:
  enabled: true
  cluster_name: example.test
  listen_addr: ${host.address}:3025
  tokens: ["proxy,node:${staticToken}"]
  authentication: {type: local, second_factor: otp}`,
    }));
    await auth.start(listens);
    const status = await cluster.tctlOk('status', '--format=json');
    pin = JSON.parse(status).ca_pin;
    const joins = `  auth_server: ${auth.host.address}:3025\n  ca_pin: ${pin}`;
    for (const name of ['proxy1', 'proxy2']) {
      const proxy = await cluster.machine(name, (host) => ({
        nodename: name,
        teleport: `${joins}\n  auth_token: ${staticToken}`,
        services: `proxy_service:\n  enabled: true\n  public_addr: "${host.address}:3080"`,
      }));
      await proxy.start(listens);
    }
    // As the seeds: a token of five minutes, and its line.
    const [token] = JSON.parse(
      await cluster.tctlOk('nodes', 'add', '--ttl=5m', '--roles=node', '--format=json'),
    );
    const direct = await cluster.machine('direct', (host) => ({
      nodename: 'web-1',
      teleport: `${joins}\n  auth_token: ${token}\n  advertise_ip: ${host.address}`,
      services: sshService(3022, 'env: staging'),
    }));
    await direct.start(listens);
    const natted = await cluster.machine(
      'natted',
      () => ({
        nodename: 'db-1',
        teleport: `  proxy_server: ${cluster.get('proxy1').host.address}:3080\n  ca_pin: ${pin}\n  auth_token: ${token}`,
        services: sshService(3022, 'env: production'),
      }),
      true,
    );
    await natted.start(listens);
  });
  after(() => cluster.remove());

  test('says its version where the seeds ask for it', async () => {
    const { address } = cluster.get('proxy1').host;
    for (const path of ['/v1/webapi/find', '/v1/webapi/ping', '/webapi/find', '/webapi/ping']) {
      const { stdout } = await cluster.at(cluster.desk, [
        'sh',
        '-c',
        `curl -sk https://${address}:3080${path} | jq -r .server_version`,
      ]);
      assert.match(stdout, /^\d+\.\d+\.\d+\n$/, path);
    }
  });

  test('lets a person sign up by a link, once, and log in with a second factor', async () => {
    await person('alice');
    const failed = await cluster.tsh(
      'alice',
      ['login', `--proxy=${cluster.get('proxy1').host.address}:3080`, '--user=alice', `--ca-pin=${pin}`],
      { input: 'not the password\n000000\n' },
    );
    assert.notEqual(failed.status, 0);
    const { status, stdout, stderr } = await logIn('alice');
    assert.equal(status, 0, stderr);
    assert.match(stdout, /Logged in as: +alice[\s\S]+Cluster: +example\.test[\s\S]+Logins: +root/);
    const logIns = (await cluster.events()).filter(({ event }) => event === 'user.login');
    assert.deepEqual(
      logIns.map(({ code: each }) => each),
      ['T1000W', 'T1000I'],
    );
  });

  test('lists both nodes', async () => {
    const names = await until('both nodes', async () => {
      const { stdout, status, stderr } = await cluster.tsh('alice', ['ls', '--format=names']);
      assert.equal(status, 0, stderr);
      const found = stdout.trim().split('\n').sort();
      return found.length === 2 && found;
    });
    assert.deepEqual(names, ['db-1', 'web-1']);
    assert.equal((await cluster.tsh('alice', ['ls', '--format=names', 'env=staging'])).stdout, 'web-1\n');
  });

  test('runs commands on both, passes exit codes on, and tells in one log what ran', async () => {
    for (const node of ['web-1', 'db-1']) {
      const ran = await cluster.tsh('alice', ['ssh', `root@${node}`, '/bin/echo', `on ${node}; exit 7`]);
      assert.deepEqual([ran.stdout, ran.status], [`on ${node}\n`, 7], ran.stderr);
    }
    const ended = await until('two session.end', async () => {
      const ends = sessionsOf(await cluster.events(), 'alice');
      return ends.length === 2 && ends;
    });
    assert.ok(ended.every((event) => event['enhanced_recording'] === true));
    // One is dialled by the proxy, the other keeps a tunnel to it: neither takes the person for the proxy.
    for (const event of ended)
      assert.equal(String(event['addr.remote']).replace(/:\d+$/, ''), cluster.desk.address);
    const commands = (await cluster.events()).filter(
      ({ event, path }) => event === 'session.command' && path === '/bin/echo',
    );
    assert.deepEqual(commands.map((event) => event['server_hostname']).sort(), ['db-1', 'web-1']);
  });

  test('is reached by OpenSSH with what `tsh config` prints', async () => {
    const config = await cluster.tsh('alice', ['config']);
    const path = join(cluster.home('alice'), 'ssh_config');
    await writeFile(path, config.stdout);
    for (const node of ['web-1', 'db-1']) {
      const ssh = ['ssh', '-F', path, '-o', 'StrictHostKeyChecking=yes', '-o', 'BatchMode=yes'];
      const ran = await cluster.at(cluster.desk, [...ssh, `root@${node}.example.test`, 'echo by ssh'], {
        env: cluster.env('alice'),
      });
      assert.equal(ran.stdout, 'by ssh\n', ran.stderr);
    }
  });

  test('is reached by ssh -J through the gateway', async () => {
    const { address } = cluster.get('proxy2').host;
    const path = join(cluster.home('alice'), 'jump_config');
    const tsh = join(cluster.home('alice'), '.tsh');
    const keys = join(tsh, 'keys', cluster.get('proxy1').host.address);
    await writeFile(
      path,
      `Host *
  IdentityFile ${keys}/alice
  CertificateFile ${keys}/alice-ssh/example.test-cert.pub
  IdentitiesOnly yes
  UserKnownHostsFile ${tsh}/known_hosts
  StrictHostKeyChecking yes
  BatchMode yes
`,
    );
    for (const node of ['web-1', 'db-1']) {
      const ran = await cluster.at(
        cluster.desk,
        ['ssh', '-F', path, '-J', `alice@${address}:3023`, `root@${node}`, 'echo jumped'],
        { env: cluster.env('alice') },
      );
      assert.equal(ran.stdout, 'jumped\n', ran.stderr);
    }
  });

  test('goes on with one proxy when the other is killed', async () => {
    assert.equal((await logIn('alice', 'proxy2')).status, 0);
    await cluster.get('proxy1').kill('SIGKILL');
    for (const node of ['web-1', 'db-1']) {
      const ran = await cluster.tsh('alice', ['ssh', `root@${node}`, 'echo still here']);
      assert.equal(ran.stdout, 'still here\n', ran.stderr);
    }
    await cluster.get('proxy1').start(listens);
  });

  test('loses nothing and tells nothing twice when the link to auth is cut under load', async () => {
    await person('bob');
    assert.equal((await logIn('bob', 'proxy2')).status, 0);
    const auth = cluster.get('auth').host;
    cluster.network.link(auth, 'down');
    const cutMs = Number(process.env['CUT_MS'] ?? 60_000);
    const until_ = Date.now() + cutMs;
    let runs = 0;
    try {
      // The proxies know the user's authority, the nodes the roles: nobody needs auth for this.
      while (Date.now() < until_) {
        const both = await Promise.all(
          ['web-1', 'db-1'].map((node) =>
            cluster.tsh('bob', ['ssh', `root@${node}`, `for i in 1 2 3 4 5; do /bin/true ${runs}; done`]),
          ),
        );
        for (const ran of both) assert.equal(ran.status, 0, ran.stderr);
        runs++;
        if (runs > 20) await delay(500);
      }
    } finally {
      cluster.network.link(auth, 'up');
    }
    const wanted = runs * 2;
    const events = await until(
      `${wanted} session.end after the link is back`,
      async () => {
        const found = (await cluster.events()).filter(({ user }) => user === 'bob');
        return sessionsOf(found, 'bob').length >= wanted && found;
      },
      90_000,
    );
    assert.equal(sessionsOf(events, 'bob').length, wanted);
    const ids = events.map(({ uid }) => uid);
    assert.equal(new Set(ids).size, ids.length, 'no event twice');
    const trues = events.filter(({ event, path }) => event === 'session.command' && path === '/bin/true');
    assert.equal(trues.length, wanted * 5, 'no command lost');
    const last = new Map<unknown, number>();
    for (const { sid, ei, event } of events) {
      if (sid === undefined || event === 'session.data' || event === 'session.upload') continue;
      assert.ok(Number(ei) > (last.get(sid) ?? -1), `in order: ${event} ${String(ei)} of ${String(sid)}`);
      last.set(sid, Number(ei));
    }
    console.log(
      `cut for ${cutMs / 1000} s: ${wanted} sessions, ${events.length} events, none lost, none twice`,
    );
  });

  test('ends a live session within seconds when its user is locked, and lets nobody back in', async () => {
    const live = cluster.spawnAtDesk('alice', cluster.tshCommand('ssh', 'root@db-1', 'echo in; sleep 300'));
    let shown = '';
    live.stdout?.on('data', (bytes: Buffer) => {
      shown += bytes;
    });
    const ended = new Promise<number>((done) => live.once('close', () => done(Date.now())));
    await until('the session runs', () => shown.includes('in'));
    const from = Date.now();
    await cluster.tctlOk('lock', '--user=alice', '--message=laptop stolen', '--ttl=1h');
    const tookMs = (await ended) - from;
    assert.ok(tookMs < 5_000, `${tookMs} ms`);
    const again = await cluster.tsh('alice', ['ssh', 'root@web-1', 'true']);
    assert.equal(again.status, 255);
    console.log(`a lock ended a live session ${tookMs} ms after tctl was started`);
    const locks = JSON.parse(await cluster.tctlOk('get', 'locks', '--format=json'));
    await cluster.tctlOk('rm', `lock/${locks[0].metadata.name}`);
    await until(
      'the lock is gone at the nodes',
      async () => (await cluster.tsh('alice', ['ssh', 'root@web-1', 'true'])).status === 0,
    );
  });

  test('refuses a removed token, a wrong pin and a host that poses as another, each with its reason', async () => {
    const [token] = JSON.parse(await cluster.tctlOk('nodes', 'add', '--ttl=5m', '--format=json'));
    await cluster.tctlOk('tokens', 'rm', token);
    const auth = cluster.get('auth').host.address;
    const tries = [
      ['stranger', `auth_server: ${auth}:3025\n  auth_token: ${token}\n  ca_pin: ${pin}`, /token/i],
      [
        'mistaken',
        `auth_server: ${auth}:3025\n  auth_token: ${staticToken}\n  ca_pin: sha256:${'0'.repeat(64)}`,
        /pin/i,
      ],
    ] as const;
    for (const [name, teleport, reason] of tries) {
      const machine = await cluster.machine(name, () => ({
        nodename: name,
        teleport: `  ${teleport}`,
        services: 'ssh_service:\n  enabled: true\n  listen_addr: 0.0.0.0:3022',
      }));
      await assert.rejects(machine.start(listens), (error: Error) => reason.test(error.message));
    }
    const impostor = await cluster.machine('impostor', () => ({
      nodename: 'web-1',
      teleport: `  auth_server: ${auth}:3025\n  auth_token: ${staticToken}\n  ca_pin: ${pin}`,
      services: 'ssh_service:\n  enabled: true\n  listen_addr: 0.0.0.0:3022',
    }));
    const uuid = await readFile(join(cluster.get('direct').dataDir, 'host_uuid'), 'utf8');
    await cluster.at(impostor.host, ['mkdir', '-m', '700', '-p', impostor.dataDir]);
    await writeFile(join(impostor.dataDir, 'host_uuid'), uuid, { mode: 0o600 });
    await assert.rejects(impostor.start(listens), /registered|another key/i);
    const refused = (await cluster.events()).filter(({ code: each }) => each === 'TJ002E');
    assert.ok(refused.length >= 2, JSON.stringify(refused));
  });
});
