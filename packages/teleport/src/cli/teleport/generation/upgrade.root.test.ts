// A package is replaced under live sessions: a new daemon of the new program takes over, the old one stays for what
// lives in it, and no event is missing or there twice.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readlink, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch, createLogin, type TestLogin } from '../../../ssh/host.fixture.ts';
import { OneNode, type SeenEvent } from '../one-node.fixture.ts';
import { assertWhole, commandLines, only } from '../session-assertions.fixture.ts';
import { isAlive, until } from '../until.fixture.ts';
import { Installation, Service } from './installation.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');
const sessions = 10;
const failed = 'the reload failed; the service goes on as it is';

describe('an upgrade under live sessions', { skip }, () => {
  let folder = '';
  let installation: Installation;
  let node: OneNode;
  let service: Service;
  let login: TestLogin;
  const works: Work[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sp-'));
    await chmod(folder, 0o711); // sessions look for their signs in it
    installation = new Installation(join(folder, 'versions'));
    for (const version of ['1.0.0', '1.0.1']) await installation.add(version);
    await installation.use('1.0.0');
    login = createLogin('up');
    node = await OneNode.create({
      logins: [login.name],
      role: { enhancedRecording: ['command', 'network'] },
      teleportYaml: Service.yamlOf(folder),
    });
    // Not any port: a daemon that replaces a dead one binds it anew.
    node.listensOn(await freePort());
    service = new Service(node, installation, folder);
    await service.start();
  });

  after(async () => {
    // Those of a test that failed, too.
    for (const work of works) work.kill();
    await service?.stop();
    await node?.remove();
    login?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  const begin = async (): Promise<Work> => {
    const work = new Work(node, login.name, join(folder, `sign-${works.length}`));
    works.push(work);
    await work.ticks(1);
    return work;
  };
  /** The events of a session, once it has ended. */
  const ended = (work: Work): Promise<SeenEvent[]> =>
    until(
      'the session has its session.end',
      async () => {
        const events = await node.events();
        const start = only(events, 'session.start').find((event) =>
          String(event['initial_command']).includes(work.sign),
        );
        const own = events.filter(({ sid }) => sid === start?.['sid']);
        return own.at(-1)?.event === 'session.end' && own;
      },
      60_000,
    );
  const versionOf = (events: readonly SeenEvent[]) => events[0]?.['server_version'];
  const gone = (pid: number) => until(`process ${pid} is gone`, () => !isAlive(pid), 30_000);

  test('all go on and end whole; who comes next is served by the new daemon', async () => {
    const running = await Promise.all(Array.from({ length: sessions }, begin));
    const probe = new Probe(node.port);
    await installation.use('1.0.1');
    const { before: old, now, ms } = await service.reload();
    const longestMs = await probe.stop();
    const recorder = (await service.says('the kernel recorder runs', 1))['pid'];
    assert.equal(
      await readlink(`/proc/${recorder}/exe`),
      installation.path('1.0.1', 'kernel/build/recorder'),
      'the recorder is the new one, too',
    );
    // Each of the old ones does something after the new daemon serves.
    await Promise.all(running.map((work) => work.ticks(3)));
    const { ran, events: next } = await node.session('/bin/echo next', { login: login.name });
    assert.equal(ran.stdout, 'next\n');
    assert.equal(versionOf(next), '1.0.1');
    assertWhole(next);
    assert.ok(isAlive(old), 'it stays for its sessions');
    for (const work of running) assert.equal(await work.end(), 0, work.said);
    for (const work of running) {
      const events = await ended(work);
      assert.equal(versionOf(events), '1.0.0');
      assert.equal('interrupted' in (events.at(-1) ?? {}), false);
      assert.equal(only(events, 'session.events_lost').length, 0, 'nothing was lost, nor interrupted');
      assertWhole(events);
      const ticks = commandLines(events).filter((line) => line === '/bin/echo tick').length;
      assert.equal(ticks, work.count, 'a command that ran is in the log');
    }
    await gone(old);
    assert.deepEqual(await service.living(), [now]);
    const uids = (await node.events()).map(({ uid }) => uid);
    assert.equal(new Set(uids).size, uids.length, 'an event is there twice');
    console.log(
      `      ${sessions} sessions lived on; ready after ${ms} ms; slowest greeting meanwhile ${longestMs} ms; ${uids.length} events, each once`,
    );
  });

  test('a daemon killed while it drains leaves its sessions to the one that serves', async () => {
    const work = await begin();
    const { before: old } = await service.reload();
    process.kill(old, 'SIGKILL');
    assert.equal(await work.ended, 255, 'its connection went with it');
    const events = await ended(work);
    assert.equal(events.at(-1)?.['interrupted'], true);
    assertWhole(events);
  });

  test('a daemon killed after it took over is replaced, and sessions of before go on', async () => {
    const work = await begin();
    const { before: old, now } = await service.reload();
    process.kill(now, 'SIGKILL');
    const third = await until(
      'another one serves',
      async () => {
        const pid = await service.pid();
        return pid !== now && isAlive(pid) && pid;
      },
      90_000,
    );
    const { ran } = await node.session('/bin/echo replaced', { login: login.name });
    assert.equal(ran.stdout, 'replaced\n');
    await work.ticks(1);
    assert.equal(await work.end(), 0);
    const events = await ended(work);
    assert.equal('interrupted' in (events.at(-1) ?? {}), false);
    assertWhole(events);
    await gone(old);
    assert.deepEqual(await service.living(), [third]);
  });

  test('a new program that does not come up changes nothing', async () => {
    await installation.add('1.0.2');
    await writeFile(
      installation.path('1.0.2', 'teleport/src/cli/teleport/service.ts'),
      'throw new Error("a broken package");\n',
    );
    await installation.use('1.0.2');
    const work = await begin();
    const pid = await service.pid();
    process.kill(pid, 'SIGHUP');
    const refused = await service.says(failed);
    assert.match(JSON.stringify(refused['err']), /The new daemon does not serve/);
    assert.equal(await service.pid(), pid);
    const { ran } = await node.session('/bin/echo still here', { login: login.name });
    assert.equal(ran.stdout, 'still here\n');
    assert.equal(await work.end(), 0);
    assertWhole(await ended(work));
    await installation.use('1.0.1');
  });

  test('a stop ends the daemon that serves and those that drain', async () => {
    const work = await begin();
    const { before: old, now } = await service.reload();
    process.kill(now, 'SIGTERM');
    await Promise.all([gone(old), gone(now)]);
    await work.ended;
    assert.match(work.said, /The node is going down/);
  });

  test('a new program that hangs is given up when its time is over, and nothing has changed', async () => {
    await installation.add('1.0.3');
    await writeFile(
      installation.path('1.0.3', 'teleport/src/cli/teleport/service.ts'),
      'export const startTeleport = () => new Promise(() => setInterval(() => {}, 1_000));\n',
    );
    await installation.use('1.0.1');
    await service.start('--ready-timeout=3s');
    const work = await begin();
    await installation.use('1.0.3');
    const failures = (await service.log()).filter(({ msg }) => msg === failed).length;
    const { status, stderr } = spawnSync(installation.program, ['reload', `--pid-file=${service.pidFile}`], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.notEqual(status, 0);
    assert.match(stderr, /still serves: the reload failed/);
    const refused = await service.says(failed, failures);
    assert.match(JSON.stringify(refused['err']), /not ready within 3000 ms/);
    assert.deepEqual(await service.living(), [await service.pid()], 'what hung is gone');
    const { ran } = await node.session('/bin/echo as before', { login: login.name });
    assert.equal(ran.stdout, 'as before\n');
    assert.equal(await work.end(), 0);
    assertWhole(await ended(work));
  });
});

/** A session that says `tick` again and again, each time by a command, until it is told to end. */
class Work {
  readonly sign: string;
  /** Resolves with the client's exit status. */
  readonly ended: Promise<number | null>;
  readonly #client: ChildProcess;
  #said = '';

  constructor(node: OneNode, login: string, sign: string) {
    this.sign = sign;
    const command = `while [ ! -e ${sign} ]; do /bin/echo tick; sleep 0.3; done`;
    this.#client = spawn('ssh', [...node.sshArgs(login), command], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#client.stdout, this.#client.stderr])
      stream?.on('data', (chunk: Buffer) => {
        this.#said += chunk;
      });
    this.ended = new Promise((resolve) => this.#client.once('close', resolve));
  }

  get said(): string {
    return this.#said;
  }

  get count(): number {
    return this.#said.split('tick').length - 1;
  }

  /** Resolves when there are so many more. */
  async ticks(more: number): Promise<void> {
    const before = this.count;
    await until('the session goes on', () => this.count >= before + more, 60_000).catch((thrown: unknown) => {
      throw new Error(`${thrown}\n${this.#said}`);
    });
  }

  async end(): Promise<number | null> {
    await writeFile(this.sign, '');
    return this.ended;
  }

  kill(): void {
    this.#client.kill();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Connects again and again and waits for the greeting of SSH: how long does somebody wait who comes just then? */
class Probe {
  readonly #port: number;
  readonly #running: Promise<void>;
  #stopped = false;
  #longestMs = 0;

  constructor(port: number) {
    this.#port = port;
    this.#running = this.#run();
  }

  /** The longest wait, ms. Rejects when a connection was refused or reset. */
  async stop(): Promise<number> {
    this.#stopped = true;
    await this.#running;
    return Math.round(this.#longestMs);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const began = performance.now();
      await greeting(this.#port);
      this.#longestMs = Math.max(this.#longestMs, performance.now() - began);
      await delay(20);
    }
  }
}

function greeting(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('data', () => {
      socket.destroy();
      resolve();
    });
    socket.once('error', reject);
    socket.once('end', () => reject(new Error('a connection was ended without a greeting')));
  });
}
