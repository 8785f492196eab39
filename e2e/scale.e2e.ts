/**
 * A cluster of some size on this machine: 500 people with certificates, 200 nodes behind reverse tunnels, 100 live
 * sessions on one real node that records everything. What is asserted is that it is all there and nothing is lost;
 * memory, CPU and times are printed and fail nothing.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type AuthRoutes, authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type Client, createClient } from '@sallyport/contracts/api/client.ts';
import { temporaryLogin } from '../bench/login.ts';
import { quantile } from '../bench/statistics.ts';
import { generateEd25519 } from '../packages/teleport/src/ca/openssh-private-key.ts';
import { publicKeyBlob } from '../packages/teleport/src/ca/public-key.ts';
import { socketTransport } from '../packages/teleport/src/membership/transport.ts';
import { Cluster } from './cluster.ts';
import { recordersOf } from './host-remains.ts';
import { type Event, until } from './one-host.ts';
import { agentName, agentsProgram } from './scale-agents.ts';
import { type PeopleResult, peopleProgram } from './scale-people.ts';
import { writeSshIdentity } from './ssh-identity.ts';

const userCount = Number(process.env['SCALE_USERS'] ?? 500);
const nodeCount = Number(process.env['SCALE_NODES'] ?? 200);
const sessionCount = Number(process.env['SCALE_SESSIONS'] ?? 100);
const logInCount = Math.min(50, userCount);
/** An address may log in some 30 times a minute: nobody sits with more than five others at one. */
const peopleAnAddress = 5;
const token = 'static-token-of-the-test';
const listens = /the ssh service (listens|is off)/;
const logIns = 'a real log-in: password checked (argon2id), certificates made';

const userName = (index: number) => `user-${String(index).padStart(3, '0')}`;
const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
const say = (line: string) => console.log(`scale: ${line}`);
const spread = (times: readonly number[]) =>
  `median ${quantile(times, 0.5).toFixed(0)} ms, p99 ${quantile(times, 0.99).toFixed(0)} ms, n ${times.length}`;

let cluster: Cluster;
let login: string;
let admin: Client<AuthRoutes>;
let pin: string;
const closing: (() => unknown)[] = [];

/** A client's command line: keys of that user, through the proxy's gateway. */
async function certify(name: string): Promise<string> {
  const key = generateEd25519();
  const issued = await admin.issueCertificates({
    params: { name },
    body: { ssh_public_key: publicKeyBlob(key).toString('base64') },
  });
  return writeSshIdentity(join(cluster.folder, 'people', name), name, key, issued);
}

const sshArgs = (user: string, node: string, command: string) => [
  ...['-F', join(cluster.folder, 'people', user, 'config')],
  ...['-J', `${user}@${cluster.get('proxy').host.address}:3023`, `${login}@${node}`, command],
];

/** At most `lanes` at a time. */
async function inLanes(count: number, lanes: number, work: (index: number) => Promise<unknown>) {
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < count; index = next++) await work(index);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

// -- what processes use -------------------------------------------------------------------------------------

interface Usage {
  readonly rss: number;
  readonly cpuSeconds: number;
}

function usage(pids: readonly number[]): Usage {
  let [rss, cpuSeconds] = [0, 0];
  for (const pid of pids) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      rss += Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
      // proc(5): utime and stime are fields 14 and 15; a tick is 10 ms.
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      cpuSeconds += (Number(fields[11]) + Number(fields[12])) / 100;
    } catch {
      // Gone in the meantime.
    }
  }
  return { rss, cpuSeconds };
}

function childrenNamed(parent: number, name: string): number[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        return (
          stat.includes(`(${name})`) && stat.slice(stat.lastIndexOf(')')).split(' ')[2] === String(parent)
        );
      } catch {
        return false;
      }
    })
    .map(Number);
}

let before_: Record<string, Usage> = {};

async function sayUsage(when: string): Promise<void> {
  const node = cluster.get('node');
  const recorders = (await recordersOf(node.dataDir)).map(({ pid }) => pid);
  const groups: Record<string, number[]> = {
    auth: [cluster.get('auth').pid],
    proxy: [cluster.get('proxy').pid],
    node: [node.pid],
    recorder: recorders,
    launchers: childrenNamed(node.pid, 'launcher'),
  };
  const now: Record<string, Usage> = {};
  const parts = Object.entries(groups).map(([name, pids]) => {
    const used = usage(pids);
    now[name] = used;
    const more = used.cpuSeconds - (before_[name]?.cpuSeconds ?? 0);
    return `${name}${pids.length > 1 ? ` (${pids.length})` : ''} ${mib(used.rss)} +${more.toFixed(1)} s`;
  });
  before_ = now;
  say(`${when}: RSS and CPU since the line before: ${parts.join(', ')}`);
}

// -- the test -----------------------------------------------------------------------------------------------

describe(`${userCount} users, ${nodeCount} nodes, ${sessionCount} sessions`, { timeout: 400_000 }, () => {
  before(async () => {
    login = temporaryLogin('sp-scale');
    cluster = await Cluster.create();
    const auth = await cluster.machine('auth', (host) => ({
      nodename: 'auth',
      services: `auth_service:
  enabled: true
  cluster_name: example.test
  listen_addr: ${host.address}:3025
  tokens: ["proxy,node:${token}"]
  authentication: {type: local, second_factor: "off"}`,
    }));
    await auth.start(listens);
    pin = JSON.parse(await cluster.tctlOk('status', '--format=json')).ca_pin;
    const joins = `  auth_server: ${auth.host.address}:3025\n  ca_pin: ${pin}\n  auth_token: ${token}`;
    const proxy = await cluster.machine('proxy', (host) => ({
      nodename: 'proxy',
      teleport: joins,
      services: `proxy_service:\n  enabled: true\n  public_addr: "${host.address}:3080"`,
    }));
    await proxy.start(listens);
    const node = await cluster.machine('node', (host) => ({
      nodename: 'web-1',
      teleport: `${joins}\n  advertise_ip: ${host.address}`,
      services: `ssh_service:
  enabled: true
  listen_addr: 0.0.0.0:3022
  labels: {env: staging}
  enhanced_recording: {enabled: true, cgroup_path: CGROUP_PATH, root_path: ROOT_PATH}`,
    }));
    await node.start(listens);
    const transport = socketTransport(join(auth.dataDir, 'auth.sock'));
    closing.push(() => transport.close());
    admin = createClient(authRoutes, transport);
    await sayUsage('at the start');
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
    await cluster?.remove();
  });

  test('gives every user certificates, and lets those with a password log in', async () => {
    let from = performance.now();
    await inLanes(userCount, 8, async (index) => {
      const name = userName(index);
      const spec = { roles: ['access'], traits: { logins: [login] } };
      await admin.putResource({
        params: { kind: 'user', name },
        body: { kind: 'user', metadata: { name }, spec },
      });
      await certify(name);
    });
    say(`${userCount} users made, each with a certificate: ${seconds(performance.now() - from)}`);
    from = performance.now();
    const { logInMs, problems } = await people();
    assert.deepEqual(problems, []);
    assert.equal(logInMs.length, logInCount);
    say(
      `${logInCount} signed up and logged in within ${seconds(performance.now() - from)}; ${logIns}: ${spread(logInMs)}`,
    );
    const { resources } = await admin.listResources({ params: { kind: 'user' } });
    assert.equal(resources.length, userCount);
    const events = await cluster.events();
    assert.equal(
      events.filter(({ event, success }) => event === 'user.login' && success === true).length,
      logInCount,
    );
    await sayUsage('users');
  });

  test('holds the tunnels of all nodes, and reaches them', async () => {
    const { host } = cluster.get('proxy');
    const agents = cluster.network.host('agents');
    const plan = {
      count: nodeCount,
      proxy: { host: host.address, port: 3080 },
      token,
      pin,
      folder: join(cluster.folder, 'agents'),
    };
    const from = performance.now();
    const helper = program([...agents.enter, process.execPath, agentsProgram, JSON.stringify(plan)]);
    closing.push(() => ended(helper, 'SIGTERM'));
    let shown = '';
    helper.stdout?.on('data', (bytes: Buffer) => {
      shown += bytes;
    });
    await until(
      'every agent is up',
      () => {
        assert.equal(helper.exitCode, null, 'the agents ended');
        return shown.includes(`${nodeCount} up`);
      },
      180_000,
    );
    say(
      `${nodeCount} nodes joined through the proxy and keep a tunnel: ${seconds(performance.now() - from)}`,
    );
    await sayUsage('nodes');
    // A node of every tenth, each by another person.
    const reached: string[] = [];
    await inLanes(Math.ceil(nodeCount / 10), 4, async (index) => {
      const name = agentName(index * 10);
      const ssh = ['ssh', ...sshArgs(userName(index), name, 'hostname')];
      const { stdout, stderr } = await cluster.at(cluster.desk, ssh);
      assert.equal(stdout, `${name}\n`, stderr);
      reached.push(name);
    });
    assert.equal(reached.length, Math.ceil(nodeCount / 10));
  });

  test('lists them all', async () => {
    const proxy = cluster.get('proxy').host.address;
    const logIn = ['login', `--proxy=${proxy}:3080`, `--user=${userName(0)}`, `--ca-pin=${pin}`];
    const loggedIn = await cluster.tsh('lister', logIn, { input: `correct horse ${userName(0)}\n` });
    assert.equal(loggedIn.status, 0, loggedIn.stderr);
    const times: number[] = [];
    // What it takes to get to the desk and run a program there is not of tsh.
    const ways: number[] = [];
    for (let i = 0; i < 11; i++) {
      const from = performance.now();
      await cluster.at(cluster.desk, ['/bin/true']);
      const begun = performance.now();
      const { stdout, stderr } = await cluster.tsh('lister', ['ls', '--format=names']);
      times.push(performance.now() - begun);
      ways.push(begun - from);
      assert.equal(stdout.trim().split('\n').length, nodeCount + 1, stderr);
    }
    say(`tsh ls, ${nodeCount + 1} nodes, with start of the process: ${spread(times)} (target ≤ 300 ms)`);
    say(`of that, getting to the host of the person and back: ${spread(ways)}`);
  });

  test('keeps and records all sessions that live at one time', async () => {
    const go = join('/home', login, 'go');
    const live: ChildProcess[] = [];
    const outputs: string[] = Array.from({ length: sessionCount }, () => '');
    // A line and a program a second until all are there, then the end.
    const command = `echo in; while ! test -e ${go}; do echo tick; /bin/sleep 1; done; echo out`;
    const opened: number[] = [];
    let from = performance.now();
    await inLanes(sessionCount, 6, async (index) => {
      const begun = performance.now();
      const child = program([...cluster.desk.enter, 'ssh', ...sshArgs(userName(index), 'web-1', command)]);
      live.push(child);
      closing.push(() => ended(child, 'SIGKILL'));
      child.stdout?.on('data', (bytes: Buffer) => {
        outputs[index] = `${outputs[index]}${bytes}`;
      });
      await until(`session ${index} is in`, () => outputs[index]?.startsWith('in\n'), 60_000);
      opened.push(performance.now() - begun);
    });
    say(
      `${sessionCount} sessions opened, 6 at a time, in ${seconds(performance.now() - from)}: ${spread(opened)}`,
    );
    await sayUsage(`${sessionCount} live sessions, opening them included`);
    assert.ok(
      live.every(({ exitCode }) => exitCode === null),
      'all live at one time',
    );
    from = performance.now();
    const ticks = () => outputs.reduce((sum, text) => sum + text.split('tick').length - 1, 0);
    const ticksBefore = ticks();
    await until('ten seconds of work', () => performance.now() - from > 10_000, 20_000);
    say(
      `10 s of ${sessionCount} sessions with a program and a line a second each: ${ticks() - ticksBefore} lines`,
    );
    await sayUsage('those 10 s');
    writeFileSync(go, '');
    const codes = await Promise.all(live.map((child) => ended(child)));
    assert.ok(
      codes.every((code) => code === 0),
      `codes: ${codes.join(' ')}`,
    );
    assert.ok(
      outputs.every((text) => /^in\n(tick\n)+out\n$/.test(text)),
      'every line came, in order',
    );
    const ends = await until(
      'every session.end is in the log of auth',
      async () => {
        const found = (await cluster.events()).filter(({ event }) => event === 'session.end');
        return found.length >= sessionCount && found;
      },
      60_000,
    );
    checkEnds(ends);
    await checkCommands(outputs);
    await sayUsage('ending them');
  });
});

/** Signs up and logs in through the proxy, from several addresses at the desk. */
async function people(): Promise<PeopleResult> {
  const { desk } = cluster;
  const addresses = Array.from(
    { length: Math.ceil(logInCount / peopleAnAddress) },
    (_, index) => `10.77.0.${150 + index}`,
  );
  for (const address of addresses)
    await cluster.at(desk, ['ip', 'addr', 'add', `${address}/24`, 'dev', 'eth0']);
  const list = [];
  for (let index = 0; index < logInCount; index++) {
    const name = userName(index);
    const { url } = await admin.createInvite({ params: { name }, body: { purpose: 'invite' } });
    list.push({ name, url, from: addresses[index % addresses.length] });
  }
  const plan = join(cluster.folder, 'people.json');
  const proxy = { host: cluster.get('proxy').host.address, port: 3080 };
  writeFileSync(plan, JSON.stringify({ people: list, proxy }), { mode: 0o600 });
  const ran = await cluster.at(desk, [process.execPath, peopleProgram, plan], { timeoutMs: 120_000 });
  assert.equal(ran.status, 0, ran.stderr);
  return JSON.parse(ran.stdout) as PeopleResult;
}

interface Totals {
  readonly emitted: number;
  readonly recorded: number;
  readonly lost: number;
}

function checkEnds(ends: readonly Event[]): void {
  assert.equal(ends.length, sessionCount);
  assert.equal(new Set(ends.map(({ sid }) => sid)).size, sessionCount, 'a session each');
  assert.equal(new Set(ends.map(({ user }) => user)).size, sessionCount, 'a user each');
  let [emitted, lost] = [0, 0];
  for (const end of ends) {
    assert.equal(end['enhanced_recording'], true);
    const totals = end['enhanced_totals'] as Record<string, Totals>;
    for (const [kind, each] of Object.entries(totals)) {
      assert.equal(each.recorded + each.lost, each.emitted, `${String(end['sid'])}: ${kind} balances`);
      emitted += each.emitted;
      lost += each.lost;
    }
  }
  assert.equal(lost, 0, 'nothing lost');
  say(`${sessionCount} session.end, ${emitted} kernel records, ${lost} lost`);
}

/** What people saw and what the kernel saw is the same; the recordings are there. */
async function checkCommands(outputs: readonly string[]): Promise<void> {
  const events = await cluster.events();
  const sleeps = events.filter(({ event, path }) => event === 'session.command' && path === '/bin/sleep');
  const ticks = outputs.reduce((sum, text) => sum + text.split('tick').length - 1, 0);
  assert.equal(sleeps.length, ticks, 'a command for each line');
  const node = cluster.get('node');
  const uuid = readFileSync(join(node.dataDir, 'host_uuid'), 'utf8').trim();
  const recordings = join(node.dataDir, 'log', uuid, 'sessions', 'default');
  // Written behind session.end: packing is not what anybody waits for.
  const indexes = () => readdirSync(recordings).filter((name) => name.endsWith('.index')).length;
  await until('a finished recording each', () => indexes() >= sessionCount, 30_000);
  assert.equal(indexes(), sessionCount);
}

function program([file = '', ...args]: readonly string[]): ChildProcess {
  return spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
}

/** Its exit code. */
async function ended(child: ChildProcess, signal?: NodeJS.Signals): Promise<number | null> {
  if (signal !== undefined) child.kill(signal);
  await until('it ends', () => child.exitCode !== null || child.signalCode !== null, 60_000);
  return child.exitCode;
}
