// What a service shows to whoever watches over it, asked over HTTP.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { AppError } from '@sallyport/contracts/errors.ts';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch } from '../../ssh/host.fixture.ts';
import { OneNode, testRecorder, until } from './one-node.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');

describe('the diagnostics of a node', { skip }, () => {
  let node: OneNode;
  let binary = '';
  before(async () => {
    node = await OneNode.create({ teleportYaml: 'diag_addr: 127.0.0.1:0' });
    binary = join(node.folder, 'recorder');
    await copyFile(testRecorder().recorder ?? recorderBinary, binary);
    await node.start({ recorder: binary });
  });
  after(() => node?.remove());

  const get = async (path: string, method = 'GET') => {
    const { host, port } = node.service?.diagAddress ?? {};
    const response = await fetch(`http://${host}:${port}${path}`, { method });
    return { status: response.status, text: await response.text() };
  };
  const figure = async (name: string) => {
    const { text } = await get('/metrics');
    const line = text.split('\n').find((one) => one.startsWith(`sallyport_${name} `));
    assert.ok(line, `${name} in\n${text}`);
    return Number(line.split(' ').at(-1));
  };

  test('say that it lives and is ready', async () => {
    assert.deepEqual(await get('/healthz'), { status: 200, text: '{"status":"ok"}\n' });
    assert.deepEqual(await get('/readyz'), { status: 200, text: '{"status":"ok"}\n' });
    assert.equal((await get('/other')).status, 404);
    assert.equal((await get('/metrics', 'POST')).status, 405);
  });

  test('count a session’s events as its session.end does', async () => {
    assert.equal(await figure('sessions_live'), 0);
    const { events } = await node.session('for i in 1 2 3; do cat /etc/hostname; done');
    const totals = events.at(-1)?.['enhanced_totals'] as Record<string, Record<string, number>>;
    for (const kind of ['command', 'disk']) {
      const { emitted, recorded, lost } = totals[kind] ?? {};
      assert.equal(await figure(`kernel_events_emitted_total{kind="${kind}"}`), emitted);
      assert.equal(await figure(`kernel_events_recorded_total{kind="${kind}"}`), recorded);
      assert.equal(await figure(`kernel_events_lost_total{kind="${kind}"}`), lost);
    }
    assert.ok((await figure('audit_append_seconds_count')) > 0);
    assert.ok((await figure('kernel_event_delay_seconds_count')) > 0);
    assert.equal(await figure('recorder_up'), 1);
    assert.ok((await figure('recorder_ring_bytes')) > 0);
    await until('nothing waits', async () => (await figure('spool_backlog_bytes')) === 0);
  });

  test('show sessions and spools while they live', async () => {
    await until('the one before is over', async () => (await figure('sessions_live')) === 0);
    const client = node.spawnSsh('cat /etc/hostname; sleep 60');
    await until('it lives', async () => (await figure('sessions_live')) === 1);
    assert.equal(await figure('ssh_connections'), 1);
    await until('its spool grows', async () => (await figure('spool_bytes')) > 0);
    const [sid] = (node.service?.registry.list() ?? []).map((facts) => facts.sid);
    node.service?.registry.end(String(sid), new AppError('denied', 'test.over', 'the test is over'));
    await until('it is over', async () => (await figure('sessions_live')) === 0);
    client.kill();
  });

  test('say why it is not ready while the recorder is away', async () => {
    await rm(binary);
    process.kill(node.service?.recorderPid ?? 0, 'SIGKILL');
    const gone = await until('it is not ready', async () => {
      const answer = await get('/readyz');
      return answer.status === 503 && answer.text;
    });
    assert.deepEqual(JSON.parse(gone).failing, [{ name: 'recorder', reason: 'the kernel recorder is away' }]);
    assert.equal(await figure('recorder_up'), 0);
    assert.equal((await get('/healthz')).status, 200);
    await copyFile(testRecorder().recorder ?? recorderBinary, binary);
    await until('it is ready again', async () => (await get('/readyz')).status === 200, 30_000);
  });

  test('show the renewed host certificate to whoever connects next', async () => {
    const certificate = async () => {
      const args = ['-c', '-t', 'ed25519', '-p', String(node.port), '127.0.0.1'];
      return (await promisify(execFile)('ssh-keyscan', args)).stdout;
    };
    const before = await certificate();
    assert.match(before, /ssh-ed25519-cert-v01@openssh.com/);
    await node.service?.authorities?.rotate('host', 'init');
    await node.service?.authorities?.rotate('host', 'update_clients');
    await node.service?.authorities?.rotate('host', 'update_servers'); // other keys sign from here on
    await until('another one is shown', async () => (await certificate()) !== before);
    // As `tctl auth export` would tell the client in the phase `init`.
    const trusted = node.service?.authorities?.trust().ssh_host_cas ?? [];
    const lines = trusted.map((key) => `@cert-authority * ${key}\n`);
    await writeFile(join(node.folder, 'known_hosts'), lines.join(''));
    assert.equal((await node.ssh('/bin/echo in')).stdout, 'in\n');
  });

  test('keep a service from starting where they cannot listen', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await until('it listens', () => taken.listening);
    const { port } = taken.address() as { port: number };
    const other = await OneNode.create({ teleportYaml: `diag_addr: "127.0.0.1:${port}"` });
    await assert.rejects(other.start(), /The diagnostics cannot listen on 127.0.0.1/);
    await other.remove();
    taken.close();
  });
});
