/**
 * Reloads in a cluster: a node behind NAT, whose events wait in outboxes and whose people come by its tunnels, and the
 * host of auth and proxy. Sessions live on through both; a daemon that dies while it drains loses nothing.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Cluster, type Machine } from './cluster.ts';
import { type Event, until } from './one-host.ts';

const listens = /the ssh service (listens|is off)/;

let cluster: Cluster;
let auth: Machine;
let node: Machine;
const works: Work[] = [];

describe('reloads in a cluster', { timeout: 300_000 }, () => {
  before(async () => {
    cluster = await Cluster.create();
    auth = await cluster.machine('auth', (host) => ({
      nodename: 'auth',
      services: `auth_service:
  enabled: true
  cluster_name: example.test
  listen_addr: ${host.address}:3025
  authentication: {type: local, second_factor: off}
proxy_service:
  enabled: true
  public_addr: "${host.address}:3080"`,
    }));
    await auth.start(listens);
    const pin = JSON.parse(await cluster.tctlOk('status', '--format=json')).ca_pin;
    const [token] = JSON.parse(await cluster.tctlOk('nodes', 'add', '--roles=node', '--format=json'));
    const plan = () => ({
      nodename: 'db-1',
      teleport: `  proxy_server: ${auth.host.address}:3080\n  ca_pin: ${pin}\n  auth_token: ${token}`,
      services: `ssh_service:
  enabled: true
  enhanced_recording: {enabled: true, cgroup_path: CGROUP_PATH, root_path: ROOT_PATH}`,
    });
    node = await cluster.machine('natted', plan, true);
    await node.start(listens);
    await cluster.tctlOk('users', 'add', 'alice', '--logins=root', '--roles=access');
    await cluster.tctlOk(
      'auth',
      'sign',
      '--user=alice',
      `--out=${join(cluster.folder, 'alice')}`,
      '--ttl=1h',
    );
  });
  after(async () => {
    for (const work of works) work.kill();
    for (const machine of cluster?.machines.values() ?? [])
      for (const pid of await daemons(machine)) process.kill(pid, 'SIGTERM');
    await cluster?.remove();
  });

  test('a node behind NAT: sessions live on, who comes next comes by the new daemon’s tunnel', async () => {
    const work = await begin('one');
    const [old] = await daemons(node);
    await reload(node);
    await work.ticks(2);
    await visit('two');
    assert.equal(await work.end(), 0);
    const events = await ended('one');
    assert.equal('interrupted' in (events.at(-1) ?? {}), false);
    assertWhole(events);
    await until('the old daemon has ended', async () => !(await daemons(node)).includes(old ?? 0));
    await onlyOneOutbox();
  });

  test('a node’s daemon that is killed while it drains: what it had not sent is sent, each event once', async () => {
    await begin('three');
    const [old = 0] = await daemons(node);
    await reload(node);
    process.kill(old, 'SIGKILL');
    const events = await ended('three');
    assert.equal(events.at(-1)?.['interrupted'], true);
    assertWhole(events);
    await onlyOneOutbox();
  });

  test('auth and proxy: sessions through the old proxy live on, nodes dial the new one', async () => {
    const work = await begin('four');
    const [old] = await daemons(auth);
    await reload(auth);
    await visit('five');
    await work.ticks(2);
    assert.equal(await work.end(), 0);
    assertWhole(await ended('four'));
    await until('the old daemon has ended', async () => !(await daemons(auth)).includes(old ?? 0));
    await visit('six');
    const uids = (await cluster.events()).map(({ uid }) => uid);
    assert.equal(new Set(uids).size, uids.length, 'an event is there twice');
  });
});

/** Process ids, the oldest first. */
async function daemons(machine: Machine): Promise<number[]> {
  const folder = join(machine.dataDir, 'generations');
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.json'));
  const texts = await Promise.all(
    names.map((name) => readFile(join(folder, name), 'utf8').catch(() => '{}')),
  );
  const found = texts.map((text) => JSON.parse(text) as { pid?: number; started?: string });
  found.sort((a, b) => (a.started ?? '').localeCompare(b.started ?? ''));
  return found.flatMap(({ pid }) => (pid !== undefined && isAlive(pid) ? [pid] : []));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function reload(machine: Machine): Promise<void> {
  const serves = 'a new daemon serves';
  const times = async () => (await readFile(machine.log, 'utf8')).split(serves).length;
  const before = await times();
  process.kill((await daemons(machine)).at(-1) ?? 0, 'SIGHUP');
  await until(`${machine.host.name} has a new daemon`, async () => (await times()) > before, 60_000).catch(
    async (thrown: unknown) => {
      throw new Error(`${thrown}\n${(await readFile(machine.log, 'utf8')).slice(-4_000)}`);
    },
  );
}

/** The others were sent to their end, and are gone. */
async function onlyOneOutbox(): Promise<void> {
  await until(
    'one outbox is left',
    async () => (await readdir(node.dataDir)).filter((name) => name.startsWith('outbox')).length === 1,
    20_000,
  );
}

function sshToNode(command: string): string[] {
  const file = (name: string) => join(cluster.folder, name);
  const options = [
    ...['-F', 'none', '-i', file('alice'), '-o', `CertificateFile=${file('alice-cert.pub')}`],
    ...[
      '-o',
      `UserKnownHostsFile=${file('alice-known_hosts')}`,
      '-o',
      'BatchMode=yes',
      '-o',
      'LogLevel=ERROR',
    ],
    ...['-o', 'IdentitiesOnly=yes', '-o', 'IdentityAgent=none', '-o', 'StrictHostKeyChecking=yes'],
  ];
  const jump = ['ssh', ...options, '-p', '3023', '-W', '%h:3022', `alice@${auth.host.address}`].join(' ');
  return ['ssh', ...options, '-o', `ProxyCommand=${jump}`, 'root@db-1', command];
}

/** A short session, from its first to its last event. */
async function visit(name: string): Promise<void> {
  const ran = await cluster.at(cluster.desk, sshToNode(`/bin/echo ${name}`), { timeoutMs: 30_000 });
  assert.equal(ran.stdout, `${name}\n`, ran.stderr);
  assertWhole(await ended(name));
}

async function begin(name: string): Promise<Work> {
  const work = new Work(name);
  works.push(work);
  await work.ticks(1);
  return work;
}

function ended(name: string): Promise<Event[]> {
  return until(
    `session ${name} has its end in the log of auth`,
    async () => {
      const events = await cluster.events();
      const start = events.find(
        ({ event, initial_command: command }) => event === 'session.start' && String(command).includes(name),
      );
      const own = events.filter(({ sid }) => sid !== undefined && sid === start?.['sid']);
      return own.at(-1)?.event === 'session.end' && own;
    },
    40_000,
  );
}

/** Every kernel event once, none missing, and the kernel's own totals agree. */
function assertWhole(events: readonly Event[]): void {
  const seqs = events.flatMap(({ seq }) => (typeof seq === 'number' ? [seq] : [])).sort((a, b) => a - b);
  assert.deepEqual(
    seqs,
    seqs.map((_, i) => i + 1),
    'seq is not contiguous',
  );
  const end = events.at(-1);
  assert.equal(end?.['enhanced_recording'], true);
  const totals = Object.values(end?.['enhanced_totals'] as Record<string, Record<string, number>>);
  for (const { emitted = 0, recorded = 0, lost = 0 } of totals) assert.equal(emitted, recorded + lost);
  assert.equal(
    totals.reduce((sum, { recorded = 0 }) => sum + recorded, 0),
    seqs.length,
  );
}

/** A session that says `tick` by a command again and again. */
class Work {
  readonly #client: ChildProcess;
  readonly #ended: Promise<number | null>;
  readonly #sign: string;
  #said = '';

  constructor(name: string) {
    this.#sign = join(cluster.folder, `end-${name}`);
    const [file = '', ...args] = [
      ...cluster.desk.enter,
      ...sshToNode(`: ${name}; while [ ! -e ${this.#sign} ]; do /bin/echo tick; sleep 0.3; done`),
    ];
    this.#client = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#client.stdout, this.#client.stderr])
      stream?.on('data', (chunk: Buffer) => {
        this.#said += chunk;
      });
    this.#ended = new Promise((resolve) => this.#client.once('close', resolve));
  }

  async ticks(more: number): Promise<void> {
    const count = () => this.#said.split('tick').length;
    const before = count();
    await until('the session goes on', () => count() >= before + more, 40_000).catch((thrown: unknown) => {
      throw new Error(`${thrown}\n${this.#said}`);
    });
  }

  async end(): Promise<number | null> {
    await writeFile(this.#sign, '');
    return this.#ended;
  }

  kill(): void {
    this.#client.kill();
  }
}
