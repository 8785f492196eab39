// `teleport start` as an operator has it: a process, its signals, its log.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { recorderBinary } from '@sallyport/kernel/binaries.ts';
import { cannotLaunch } from '../../ssh/host.fixture.ts';
import { type Daemon, isAlive, OneNode, until } from './one-node.fixture.ts';
import { assertWhole, commandLines, only } from './session-assertions.fixture.ts';

const skip = cannotLaunch() || (!existsSync(recorderBinary) && 'the recorder is not built (make)');

describe('teleport start', { skip }, () => {
  let node: OneNode;
  const daemons: Daemon[] = [];
  before(async () => {
    node = await OneNode.create({ teleportYaml: 'log: { format: json, severity: info }' });
  });
  after(async () => {
    for (const daemon of daemons) await daemon.end('SIGKILL');
    await node?.remove();
  });

  const start = async () => {
    const daemon = await node.startCommand();
    daemons.push(daemon);
    return daemon;
  };

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`stops in order when ${signal} comes while it starts`, async () => {
      const daemon = await start();
      await daemon.says('teleport starts');
      assert.equal(daemon.saidOnce('the ssh service listens'), undefined, 'it was still starting');
      assert.equal(await daemon.end(signal), 0);
      assert.ok(daemon.saidOnce('teleport has stopped'), daemon.said);
      const recorder = daemon.saidOnce('the kernel recorder runs');
      await until('its recorder has ended', () => !isAlive(Number(recorder?.['pid'])));
    });
  }

  test('takes an idle recorder down with it when it stops', async () => {
    const daemon = await start();
    await daemon.ready();
    const { ran, events } = await node.session('/bin/echo one');
    assert.equal(ran.stdout, 'one\n');
    assertWhole(events);
    const pid = Number(daemon.saidOnce('the kernel recorder runs')?.['pid']);
    assert.ok(isAlive(pid));
    assert.equal(await daemon.end('SIGTERM'), 0);
    await until('its recorder has ended', () => !isAlive(pid));
    assert.equal(existsSync(join(node.dataDir, 'recorder.sock')), false);
  });

  test('leaves a recorder that watches a lingering session, and finds it again', async () => {
    const daemon = await start();
    await daemon.ready();
    // It lingers for as long as the daemon waits for it and longer: until it is told.
    const sign = join(node.folder, 'sign');
    const task = `while [ ! -e ${sign} ]; do sleep 0.1; done; /bin/echo lingered`;
    const ran = await node.ssh(`setsid sh -c '${task}' >/dev/null 2>&1 </dev/null &`);
    assert.equal(ran.status, 0);
    const pid = Number(daemon.saidOnce('the kernel recorder runs')?.['pid']);
    const before = only(await node.events(), 'session.end').length;
    await daemon.end('SIGTERM');
    const next = await start();
    await next.ready();
    assert.equal(next.saidOnce('the kernel recorder runs')?.['pid'], pid);
    await writeFile(sign, '');
    const events = (await node.ended(before + 1)).at(-1) ?? [];
    assertWhole(events);
    assert.ok(commandLines(events).includes('/bin/echo lingered'));
    await next.end('SIGTERM');
    await until('its recorder has ended', () => !isAlive(pid));
  });

  test('goes on as it is when SIGHUP finds a configuration that it cannot use', async () => {
    const daemon = await start();
    await daemon.ready();
    const yaml = await readFile(daemon.config, 'utf8');
    await writeFile(daemon.config, 'not: [valid');
    daemon.child.kill('SIGHUP');
    const refused = await daemon.says('the reload failed; the service goes on as it is');
    assert.match(String((refused['err'] as { message?: string }).message), /teleport\.yaml:1:\d+/);
    await writeFile(daemon.config, yaml.replace('cluster_name: demo', 'cluster_name: other'));
    daemon.child.kill('SIGHUP');
    await until('the other cluster is refused', () =>
      daemon.log.some(({ err }) =>
        /cluster_name cannot change/.test((err as { message?: string })?.message ?? ''),
      ),
    );
    await writeFile(daemon.config, yaml);
    assert.equal((await node.ssh('/bin/echo on')).stdout, 'on\n');
    assert.equal(await daemon.end('SIGTERM'), 0);
  });
});
