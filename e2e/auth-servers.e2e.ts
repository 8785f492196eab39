/**
 * Two auth servers on one PostgreSQL, a proxy and two nodes, each on a host of its own, under load: log-ins with a
 * second factor, sessions, writes. One auth server is killed (kill -9) and started again, then the other is killed; later
 * each is stopped (SIGSTOP: its connections stand, and nothing comes): nobody's call fails, nothing is lost, nothing is
 * told twice, and locks reach the nodes as ever.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { type AuthRoutes, authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type Client, createClient } from '@sallyport/contracts/api/client.ts';
import { generateSync } from 'otplib';
import { generateEd25519 } from '../packages/teleport/src/ca/openssh-private-key.ts';
import { publicKeyBlob } from '../packages/teleport/src/ca/public-key.ts';
import { productVersion } from '../packages/teleport/src/cli/version.ts';
import { socketTransport } from '../packages/teleport/src/membership/transport.ts';
import { PostgresServer } from '../packages/teleport/src/postgres/postgres.fixture.ts';
import { type LoadPlan, type LoadResult, loadProgram } from './auth-servers-load.ts';
import { Cluster } from './cluster.ts';
import { repository, until } from './one-host.ts';
import { writeSshIdentity } from './ssh-identity.ts';

const staticToken = 'static-token-of-the-test';
const listens = /the ssh service (listens|is off)/;
const people = 50;
/** Of the desk: where people log in from. */
const places = ['10.77.0.201', '10.77.0.202', '10.77.0.203', '10.77.0.204'];
/** Of a call that was on its way to a server that falls silent, or dials it, ms. */
const boundMs = 8_000;
const nodes = ['node1', 'node2'] as const;
const lockedOut = ['first', 'second', 'third', 'fourth'] as const;
const transportModule = join(repository, 'packages/teleport/src/membership/transport.ts');

let cluster: Cluster;
let postgres: PostgresServer;
let pin: string;
let admin: LoadPlan['admin'];
let load: ChildProcess;
let result: Promise<LoadResult>;
const figures: Record<string, string | number> = {};
const begun = performance.now();
const since = (begin: number) => Math.round(performance.now() - begin);

function authConfig(address: string): string {
  return `auth_service:
  enabled: true
  cluster_name: example.test
  listen_addr: ${address}:3025
  tokens: ["proxy,node:${staticToken}"]
  authentication: {type: local, second_factor: otp}`;
}

function storage(): string {
  return `  storage:
    type: postgresql
    conn_string: "${postgres.uri()}"
    encryption_key_file: ${join(cluster.folder, 'store.key')}`;
}

async function startAuth(name: string): Promise<void> {
  const machine = await cluster.machine(name, (host) => ({
    nodename: name,
    teleport: storage(),
    services: authConfig(host.address),
  }));
  await machine.start(listens);
}

/** The administrator of an auth host, without the start of a program for each call. */
async function asAdmin<T>(name: string, work: (api: Client<AuthRoutes>) => Promise<T>): Promise<T> {
  const transport = socketTransport(join(cluster.get(name).dataDir, 'auth.sock'));
  try {
    return await work(createClient(authRoutes, transport, { 'x-sallyport-version': productVersion() }));
  } finally {
    transport.close();
  }
}

/** Somebody with a password and an authenticator app. */
async function signUp(api: Client<AuthRoutes>, name: string): Promise<LoadPlan['people'][number]> {
  const body = {
    kind: 'user' as const,
    metadata: { name },
    spec: { roles: ['access'], traits: { logins: ['root'] } },
  };
  await api.putResource({ params: { kind: 'user', name }, query: { mode: 'create' }, body });
  const { token } = await api.createInvite({ params: { name }, body: { purpose: 'invite' } });
  const from = { token, remote_addr: '10.77.0.1' };
  const secret = (await api.readInvite({ body: from })).totp?.secret ?? '';
  const password = `correct horse ${name}`;
  // The code of the step before: the one of now is for the log-in.
  const otp = generateSync({ secret, epoch: Math.floor(Date.now() / 1000) - 30 });
  await api.redeemInvite({ body: { ...from, password, otp } });
  return { name, password, secret };
}

/** Keys of a user for OpenSSH and for the API; resolves to the folder they are in. */
async function certify(api: Client<AuthRoutes>, name: string) {
  const key = generateEd25519();
  const tls = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issued = await api.issueCertificates({
    params: { name },
    body: {
      ssh_public_key: publicKeyBlob(key).toString('base64'),
      tls_public_key: tls.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    },
  });
  await writeSshIdentity(join(cluster.folder, 'people', name), name, key, issued);
  const key_ = tls.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { pair: { key: key_, cert: issued.tls_certificate ?? '' }, trust: issued.trust };
}

const sshTo = (user: string, node: string, command: string) => [
  ...['ssh', '-F', join(cluster.folder, 'people', user, 'config')],
  ...['-J', `${user}@${cluster.get('proxy').host.address}:3023`, `root@${node}`, command],
];

async function count(what: string): Promise<number> {
  const [row] = await postgres.sql(`SELECT count(*) AS n FROM sallyport.events WHERE ${what}`);
  return Number(row?.['n']);
}

async function waiting(): Promise<number> {
  const [left] = await postgres.sql(`SELECT count(*) AS n FROM sallyport.items WHERE key LIKE 'outbox/%'`);
  return Number(left?.['n']);
}

/** A session that would go on for long, locked out by name; resolves to how long it lived after the lock, ms. */
async function lockEnds(user: string, node: string, auth: string): Promise<number> {
  const [file = '', ...args] = [...cluster.desk.enter, ...sshTo(user, node, 'echo in; sleep 60')];
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  await once(child.stdout, 'data');
  const begin = performance.now();
  await asAdmin(auth, (api) =>
    api.putResource({
      params: { kind: 'lock', name: `lock-of-${user}` },
      query: { mode: 'create' },
      body: { kind: 'lock', metadata: { name: `lock-of-${user}` }, spec: { target: { user } } },
    }),
  );
  await ended;
  return since(begin);
}

/** People who can log in, made by one server. */
function signUpCrowd(auth: string, prefix: string): Promise<LoadPlan['people']> {
  return asAdmin(auth, async (api) => {
    const found: LoadPlan['people'][number][] = [];
    const names = Array.from({ length: people }, (_, index) => `${prefix}-${index}`);
    const lane = async () => {
      for (let name = names.shift(); name !== undefined; name = names.shift())
        found.push(await signUp(api, name));
    };
    await Promise.all([lane(), lane(), lane(), lane()]);
    return found;
  });
}

/** Who works, who is locked out, and who writes resources. */
async function administrator(): Promise<LoadPlan['admin']> {
  await asAdmin('auth1', async (api) => {
    const body = (name: string, roles: string[]) => ({
      params: { kind: 'user' as const, name },
      query: { mode: 'create' as const },
      body: { kind: 'user' as const, metadata: { name }, spec: { roles, traits: { logins: ['root'] } } },
    });
    await api.putResource(body('worker', ['access']));
    await api.putResource(body('boss', ['access', 'editor']));
    for (const name of lockedOut) await api.putResource(body(name, ['access']));
  });
  return asAdmin('auth2', async (api) => {
    for (const name of ['worker', ...lockedOut]) await certify(api, name);
    admin = await certify(api, 'boss');
    return admin;
  });
}

/** Goes on until `load` hears the end of its input. */
async function startLoad(
  crowd: LoadPlan['people'],
  boss: LoadPlan['admin'],
  roles: string,
  logInEveryMs: number,
): Promise<LoadResult> {
  const proxy = { host: cluster.get('proxy').host.address, port: 3080 };
  const sessions = nodes.map((node) => sshTo('worker', node, 'true'));
  const plan: LoadPlan = {
    proxy,
    version: productVersion(),
    people: crowd,
    logInEveryMs,
    places,
    sessions,
    roles,
    admin: boss,
  };
  const path = join(cluster.folder, 'load.json');
  await writeFile(path, JSON.stringify(plan));
  const [file = '', ...args] = [...cluster.desk.enter, process.execPath, loadProgram, path];
  load = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  load.stdout?.setEncoding('utf8').on('data', (part: string) => {
    said += part;
  });
  await once(load, 'close');
  return JSON.parse(said);
}

/** Keeps the figures; nothing may have failed. */
function assertAllDone({ logIns, sessions, writes }: LoadResult, when: string): void {
  for (const [name, work] of Object.entries({ 'log-ins': logIns, sessions, writes })) {
    figures[`${name}${when}`] =
      `${work.done}, median ${work.medianMs} ms, slowest ${work.slowestMs} ms, failed ${work.failures.length}`;
    assert.deepEqual(work.failures, [], name);
    assert.ok(work.done >= 10, `${name}: ${work.done}`);
  }
}

const told = (code: string, atLeast: number) =>
  until(`${atLeast} of ${code}`, async () => (await count(`code = '${code}'`)) >= atLeast, 40_000);

describe('two auth servers on one PostgreSQL', { timeout: 400_000 }, () => {
  before(async () => {
    [postgres, cluster] = await Promise.all([PostgresServer.start(), Cluster.create()]);
    for (const place of places)
      await cluster.at(cluster.desk, ['ip', 'addr', 'add', `${place}/24`, 'dev', 'eth0']);
    await writeFile(join(cluster.folder, 'store.key'), `${'5a'.repeat(32)}\n`, { mode: 0o600 });
    // At once: the first to come makes the cluster, the other one takes it as it is.
    await Promise.all([startAuth('auth1'), startAuth('auth2')]);
    pin = (await asAdmin('auth2', (api) => api.ping())).ca_pins[0] ?? '';
    const [auth1, auth2] = ['auth1', 'auth2'].map((name) => cluster.get(name).host.address);
    const joins = (addresses: readonly (string | undefined)[]) =>
      `  auth_servers: [${addresses.map((address) => `"${address}:3025"`).join(', ')}]
  ca_pin: ${pin}
  auth_token: ${staticToken}`;
    const proxy = await cluster.machine('proxy', (host) => ({
      nodename: 'proxy',
      version: 'v2',
      // The other one it hears of from the cluster.
      teleport: joins([auth1]),
      services: `proxy_service:\n  enabled: true\n  public_addr: "${host.address}:3080"`,
    }));
    await proxy.start(listens);
    const startNode = async (name: string, upstream: readonly (string | undefined)[]) => {
      const machine = await cluster.machine(name, (host) => ({
        nodename: name,
        version: 'v2',
        teleport: `${joins(upstream)}\n  advertise_ip: ${host.address}`,
        services: `ssh_service:
  enabled: true
  listen_addr: 0.0.0.0:3022
  enhanced_recording: {enabled: true, cgroup_path: CGROUP_PATH, root_path: ROOT_PATH}`,
      }));
      await machine.start(listens);
    };
    await Promise.all([startNode('node1', [auth2, auth1]), startNode('node2', [auth1])]);
  });

  after(async () => {
    load?.kill('SIGKILL');
    await cluster?.remove();
    await postgres?.close();
    figures['seconds in all'] = Math.round((performance.now() - begun) / 1000);
    for (const [name, value] of Object.entries(figures)) console.log(`${name}: ${value}`);
  });

  test('both are one cluster: the same authorities, each lists both, secrets are sealed', async () => {
    const trusts = await Promise.all(['auth1', 'auth2'].map((name) => asAdmin(name, (api) => api.trust())));
    assert.deepEqual(trusts[0], trusts[1]);
    const auth1 = cluster.get('auth1');
    const listed = await cluster.tctlAt('auth2', 'status', '--format=json');
    assert.equal(listed.status, 0, listed.stderr);
    const servers: { hostname: string; addr: string }[] = JSON.parse(listed.stdout).auth_servers;
    assert.deepEqual(servers.map(({ hostname }) => hostname).sort(), ['auth1', 'auth2']);
    assert.ok(servers.some(({ addr }) => addr === `${auth1.host.address}:3025`));
    const [plain] = await postgres.sql(
      `SELECT count(*) AS n FROM sallyport.items WHERE value LIKE '%PRIVATE KEY%'`,
    );
    assert.equal(Number(plain?.['n']), 0);
  });

  test('auth hears from the proxy whose connection it is', async () => {
    // A join through the proxy that nobody can prove: its refusal is told with the address it came from.
    const host = cluster.get('proxy').host.address;
    const program = `
      import { authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
      import { createClient } from '@sallyport/contracts/api/client.ts';
      import { tlsTransport } from '${transportModule}';
      const trust = ${JSON.stringify(await asAdmin('auth1', (api) => api.trust()))};
      const transport = tlsTransport({ addresses: [{ host: '${host}', port: 3080 }], trust: () => trust });
      const api = createClient(authRoutes, transport, { 'x-sallyport-version': '${productVersion()}' });
      const { nonce } = await api.joinChallenge();
      const keys = { ssh_public_key: nonce, tls_public_key: '', signature: nonce, signature_version: 2 };
      const body = { token: '${staticToken}', nonce, ...keys, host_uuid: crypto.randomUUID(), nodename: 'nobody' };
      const refused = await api.join({ body: { ...body, roles: ['node'], principals: [], version: '1.0.0' } }).catch((e) => e);
      console.log(refused.code);
      process.exit(0);`;
    const args = ['--input-type=module', '-e', program];
    const ran = await cluster.at(cluster.desk, [process.execPath, ...args]);
    assert.equal(ran.stdout, 'join.no_possession\n', ran.stderr);
    const told = `code = 'TJ002E' AND line LIKE '%(from ${cluster.desk.address})%'`;
    await until('the refusal in the log', async () => (await count(told)) === 1);
  });

  test('people work while one is killed, started again, and the other is killed', async () => {
    result = startLoad(await signUpCrowd('auth1', 'person'), await administrator(), 'load', 350);

    await told('T1000I', 5);
    await cluster.get('auth1').kill('SIGKILL');
    const [logIns, ends] = [await count(`code = 'T1000I'`), await count(`code = 'T2004I'`)];
    let begin = performance.now();
    await told('T1000I', logIns + 1);
    figures['first log-in told after auth1 was killed, ms'] = since(begin);
    await told('T2004I', ends + 1);
    figures['first session told after auth1 was killed, ms'] = since(begin);
    figures['from a lock to the end of a session, auth1 dead, ms'] = await lockEnds(
      'first',
      'node2',
      'auth2',
    );

    begin = performance.now();
    await cluster.get('auth1').start(listens);
    figures['start of auth1, ms'] = since(begin);
    await told('T1000I', (await count(`code = 'T1000I'`)) + 5);
    await cluster.get('auth2').kill('SIGKILL');
    begin = performance.now();
    await told('T1000I', (await count(`code = 'T1000I'`)) + 1);
    figures['first log-in told after auth2 was killed, ms'] = since(begin);
    figures['from a lock to the end of a session, auth2 dead, ms'] = await lockEnds(
      'second',
      'node1',
      'auth1',
    );
    await told('T1000I', (await count(`code = 'T1000I'`)) + 5);
    load.stdin?.end();

    assertAllDone(await result, '');
  });

  test('everything is in the log, once', async () => {
    const { logIns, sessions, writes } = await result;
    // Two more, which the locks ended.
    const all = sessions.done + 2;
    await until('the end of each session', async () => (await count(`code = 'T2004I'`)) >= all, 40_000);
    // What a server that was killed had changed and not told yet, the other one tells.
    const begin = performance.now();
    await until('nothing waits to be told', async () => (await waiting()) === 0, 30_000);
    figures['until the last event was told, ms'] = since(begin);
    const [row] = await postgres.sql(
      'SELECT count(*) AS n, count(DISTINCT uid) AS ids FROM sallyport.events',
    );
    assert.equal(row?.['n'], row?.['ids']);
    figures['events in the log'] = Number(row?.['n']);
    const logged = await postgres.sql(
      `SELECT "user", count(*) AS n FROM sallyport.events WHERE code = 'T1000I' GROUP BY "user"`,
    );
    assert.equal(logged.length, logIns.done);
    assert.ok(
      logged.every(({ n }) => Number(n) === 1),
      JSON.stringify(logged.filter(({ n }) => Number(n) !== 1)),
    );
    assert.equal(await count(`code = 'T1000W'`), 0, 'no log-in was refused, not behind the scenes either');
    assert.equal(await count(`code = 'T9000I'`), writes.done, 'roles created');
    assert.equal(await count(`code = 'T9001I'`), Math.floor(writes.done / 2), 'roles deleted');
    for (const code of ['T2000I', 'T2004I']) {
      const perSession = await postgres.sql(
        `SELECT sid, count(*) AS n FROM sallyport.events WHERE code = '${code}' GROUP BY sid`,
      );
      assert.equal(perSession.length, all, code);
      assert.ok(
        perSession.every(({ n }) => Number(n) === 1),
        code,
      );
    }
    const gaps = await postgres.sql(
      `SELECT sid, max((line::json->>'seq')::bigint) AS last, count(*) AS n FROM sallyport.events
       WHERE line::json->>'seq' IS NOT NULL GROUP BY sid HAVING count(DISTINCT line::json->>'seq') <> count(*)`,
    );
    assert.deepEqual(gaps, [], 'no kernel event twice');
    assert.equal(await count(`code = 'T4020W'`), 0, 'no kernel event lost');
  });

  test('people work while one is stopped, goes on, and the other is stopped', async () => {
    await cluster.get('auth2').start(listens);
    const before = { made: await count(`code = 'T9000I'`), refused: await count(`code = 'T1000W'`) };
    const working = startLoad(await signUpCrowd('auth2', 'late'), admin, 'stop', 1_000);
    await told('T1000I', (await count(`code = 'T1000I'`)) + 3);
    for (const [silent, other, user, node] of [
      ['auth1', 'auth2', 'third', 'node2'],
      ['auth2', 'auth1', 'fourth', 'node1'],
    ] as const) {
      const { pid } = cluster.get(silent);
      process.kill(pid, 'SIGSTOP');
      try {
        const begin = performance.now();
        await told('T1000I', (await count(`code = 'T1000I'`)) + 2);
        figures[`second log-in told after ${silent} was stopped, ms`] = since(begin);
        figures[`from a lock to the end of a session, ${silent} stopped, ms`] = await lockEnds(
          user,
          node,
          other,
        );
        await told('T1000I', (await count(`code = 'T1000I'`)) + 2);
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await told('T1000I', (await count(`code = 'T1000I'`)) + 3);
    }
    load.stdin?.end();
    const done = await working;
    assertAllDone(done, ', servers stopped');
    for (const { slowestMs } of [done.logIns, done.sessions, done.writes])
      assert.ok(slowestMs < boundMs, `the slowest took ${slowestMs} ms`);
    await until('nothing waits to be told', async () => (await waiting()) === 0, 30_000);
    const [row] = await postgres.sql(
      'SELECT count(*) AS n, count(DISTINCT uid) AS ids FROM sallyport.events',
    );
    assert.equal(row?.['n'], row?.['ids']);
    assert.equal(await count(`code = 'T1000W'`), before.refused, 'no log-in was refused behind the scenes');
    assert.equal(
      (await count(`code = 'T9000I'`)) - before.made,
      done.writes.done,
      'each role was created once',
    );
  });
});
