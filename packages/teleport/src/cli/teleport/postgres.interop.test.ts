// `teleport` and `tctl` as programs, on a real PostgreSQL: moving there, running there, and what it says when the
// database goes away.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { PostgresServer } from '../../postgres/postgres.fixture.ts';

const run = promisify(execFile);
const cli = join(import.meta.dirname, '..');
let server: PostgresServer;
before(async () => {
  server = await PostgresServer.start();
});
after(() => server.close());

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** An auth host and nothing else: `storage` is its section of teleport.yaml. */
async function authHost(t: TestContext, dir: string, storage: string) {
  const [authPort, diagPort] = [await freePort(), await freePort()];
  const file = join(dir, `teleport-${authPort}.yaml`);
  await writeFile(
    file,
    `teleport:
  nodename: auth-1
  data_dir: ${dir}/data
  diag_addr: 127.0.0.1:${diagPort}
  storage:
${storage.replaceAll(/^/gm, '    ')}
auth_service: { enabled: true, cluster_name: test, listen_addr: "127.0.0.1:${authPort}" }
ssh_service: { enabled: false }
proxy_service: { enabled: false }
`,
  );
  const start = async () => {
    const daemon = spawn(process.execPath, [join(cli, 'teleport/main.ts'), 'start', '-c', file], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    daemon.stderr?.on('data', (chunk) => {
      said += chunk;
    });
    t.after(() => daemon.kill('SIGKILL'));
    await until(
      async () => (await get('/readyz')).status === 200,
      () => `it is ready:\n${said}`,
    );
    return daemon;
  };
  const get = async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${diagPort}${path}`).catch(() => undefined);
    return { status: answer?.status, text: (await answer?.text()) ?? '' };
  };
  const tctl = async (...args: string[]) =>
    (await run(process.execPath, [join(cli, 'tctl/main.ts'), ...args, '-c', file])).stdout;
  return { file, start, get, tctl };
}

/** Whom the audit log says to have been created, by the API of the daemon. */
function created(socketPath: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: '/v1/events?include=user.create' }, (answer) => {
      let text = '';
      answer.on('data', (chunk) => {
        text += chunk;
      });
      answer.on('end', () => {
        const { events } = JSON.parse(text) as { events: { name: string }[] };
        resolve(events.map(({ name }) => name));
      });
    });
    asked.on('error', reject).end();
  });
}

async function stop(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return;
  const ended = once(daemon, 'exit');
  daemon.kill('SIGTERM');
  await ended;
}

async function until(holds: () => Promise<boolean>, what: () => string): Promise<void> {
  const deadline = Date.now() + 40_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, what());
    await delay(50);
  }
}

const teleport = (...args: string[]) => run(process.execPath, [join(cli, 'teleport/main.ts'), ...args]);

describe('an auth host on PostgreSQL', { timeout: 180_000 }, () => {
  it('takes over the state of SQLite, runs, says when the database is away, and is served offline, too', async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'sallyport-pgcli-'));
    await chmod(dir, 0o700);
    t.after(() => rm(dir, { recursive: true, force: true, maxRetries: 3 }));
    const uri = server.uri(await server.freshDatabase());

    const sqlite = await authHost(t, dir, 'type: sqlite');
    const first = await sqlite.start();
    await sqlite.tctl('users', 'add', 'ana', '--roles=access', '--logins=root');
    const pins = (await sqlite.tctl('status')).match(/sha256:\w+/g);
    const cloneFile = join(dir, 'clone.yaml');
    await writeFile(
      cloneFile,
      `src: { type: sqlite, path: ${dir}/data }
dst: { type: postgresql, conn_string: "${uri}" }
audit_events: { src: "file://${dir}/data/log", dst: "${uri}" }
`,
    );
    const early = await teleport('backend', 'clone', '-c', cloneFile).catch((error) => error);
    assert.match(early.stderr, /uses the data directory/);
    await stop(first);
    const { stdout: cloned } = await teleport('backend', 'clone', '-c', cloneFile);
    assert.match(
      cloned,
      /^(\d+) items cloned from .*backend\.db to postgresql:.*\n\1 items compared: the same/,
    );
    assert.match(cloned, /\d+ events of \d+ day files are in postgresql:/);

    const postgres = await authHost(t, dir, `type: postgresql\nconn_string: "${uri}"`);
    const daemon = await postgres.start();
    assert.match(await postgres.tctl('users', 'ls'), /ana/);
    assert.deepEqual((await postgres.tctl('status')).match(/sha256:\w+/g), pins, 'the cluster is the same');
    await postgres.tctl('users', 'add', 'ben', '--roles=access', '--logins=root');
    const names = await created(`${dir}/data/auth.sock`);
    assert.deepEqual(names, ['ana', 'ben'], 'the events of before and of now');
    const { text: metrics } = await postgres.get('/metrics');
    assert.match(
      metrics,
      /sallyport_database_operation_seconds_count\{of="store",operation="commit",failed="false"\} \d+/,
    );
    assert.match(metrics, /sallyport_database_connections\{of="audit"\} \d+/);
    assert.match(metrics, /sallyport_store_watch_lag_seconds \d/);

    await server.killAll();
    await until(
      async () => (await postgres.get('/readyz')).status === 503,
      () => 'not ready without its database',
    );
    assert.match((await postgres.get('/readyz')).text, /"name":"database"/);
    assert.equal((await postgres.get('/healthz')).status, 200);
    await server.boot();
    await until(
      async () => (await postgres.get('/readyz')).status === 200,
      () => 'ready when it is back',
    );
    await postgres.tctl('users', 'add', 'cleo', '--roles=access', '--logins=root');
    await stop(daemon);
    assert.match(await postgres.tctl('users', 'ls'), /ana.*ben.*cleo/s, 'with no daemon running');

    const other = server.uri(await server.freshDatabase());
    const clone = async (dst: string) => {
      await writeFile(cloneFile, `src: { type: postgresql, conn_string: "${uri}" }\ndst: ${dst}\n`);
      return teleport('backend', 'clone', '-c', cloneFile).catch((error) => error);
    };
    assert.match((await clone(`{ type: postgresql, conn_string: "${other}" }`)).stdout, /the same in both/);
    assert.match((await clone(`{ type: sqlite, path: ${dir} }`)).stderr, /authorities of the cluster/);
  });

  it('is examined by the doctor: what it finds of each database, and that one does not answer', async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'sallyport-pgcli-'));
    t.after(() => rm(dir, { recursive: true, force: true, maxRetries: 3 }));
    const uri = server.uri();
    const nowhere = `postgresql://nobody:hunter2@127.0.0.1:1/none?sslmode=disable`;
    const { file } = await authHost(
      t,
      dir,
      `type: postgresql\nconn_string: "${uri}"\naudit_events_uri: ["${uri}", "${nowhere}"]`,
    );
    const { stdout } = await teleport('doctor', '-c', file, '--format=json').catch((error) => error);
    const { databases, ok } = JSON.parse(stdout) as {
      ok: boolean;
      databases: { use: string; place: string; found: string; ok: boolean; fix?: string }[];
    };
    assert.equal(ok, false);
    assert.deepEqual(
      databases.map(({ use, place, ok: well }) => [use, place, well]),
      [
        ['store, events', `postgresql://sallyport@${server.dir}/sallyport`, false],
        ['events', 'postgresql://nobody@127.0.0.1:1/none', false],
      ],
    );
    // The server of the tests runs without fsync, which is exactly what the doctor is there to notice.
    assert.match(databases[0]?.found ?? '', /^PostgreSQL 1\d\.\d+.*fsync is off$/);
    assert.match(databases[1]?.found ?? '', /ECONNREFUSED/);
    const { stdout: shown } = await teleport('doctor', '-c', file).catch((error) => error);
    assert.match(shown, /Database +Of +Found +OK/);
    assert.doesNotMatch(stdout + shown, /hunter2/);
  });
});
