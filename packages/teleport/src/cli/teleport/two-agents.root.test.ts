// Two agents on one host, each with a data_dir and a root_path: neither sees or disturbs what is the other's.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cannotLaunch } from '../../ssh/host.fixture.ts';
import { OneNode, until } from './one-node.fixture.ts';
import { assertWhole, commandLines, only } from './session-assertions.fixture.ts';

const cgroups = '/sys/fs/cgroup/unified';

describe('two agents on one host', { skip: cannotLaunch() }, () => {
  let one: OneNode;
  let other: OneNode;
  before(async () => {
    [one, other] = await Promise.all([OneNode.create(), OneNode.create()]);
    await Promise.all([one.startChild(), other.startChild()]);
  });
  after(async () => {
    await one?.remove();
    await other?.remove();
  });

  const sidsBelow = (node: OneNode) =>
    readdirSync(join(cgroups, node.rootPath), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  const spools = (node: OneNode) =>
    readdirSync(join(node.dataDir, 'spool')).filter((name) => name.endsWith('.spool'));

  test('sessions of each are in its own cgroups, spools and log only', async () => {
    const [mine, theirs] = await Promise.all([
      one.session('echo of-one; cat /etc/hostname'),
      other.session('echo of-other; cat /etc/hostname'),
    ]);
    for (const events of [mine.events, theirs.events]) assertWhole(events);
    const sids = [one, other].map(
      async (node) => new Set((await node.events()).flatMap((event) => event['sid'] ?? [])),
    );
    const [a, b] = await Promise.all(sids);
    assert.deepEqual(
      [...(a ?? [])].filter((sid) => b?.has(sid)),
      [],
    );
    assert.ok(!commandLines(mine.events).join('\n').includes('of-other'));
  });

  test('a kill -9 of one and the cleaning of its start leave the other’s sessions alone', async () => {
    const client = other.spawnSsh('echo up; read line; cat /etc/hostname');
    const lost = one.spawnSsh('echo up; read line');
    for (const each of [client, lost]) await new Promise((resolve) => each.stdout.once('data', resolve));
    const [livingSid = ''] = sidsBelow(other);
    const orphans = [one, other].map((node) => join(cgroups, node.rootPath, randomUUID()));
    for (const orphan of orphans) mkdirSync(orphan);
    const foreign = join(cgroups, one.rootPath, 'not-a-session');
    mkdirSync(foreign);
    const recordedBefore = spools(other);

    await one.killChild('SIGKILL');
    await one.startChild();
    await one.ended(2);
    await until('the orphan is gone', () => !existsSync(orphans[0] ?? ''));
    assert.ok(existsSync(orphans[1] ?? ''), 'the other’s cgroup');
    assert.ok(existsSync(foreign), 'a cgroup that is no session’s');
    assert.ok(sidsBelow(other).includes(livingSid));
    assert.deepEqual(spools(other), recordedBefore);

    client.stdin.end('\n');
    const sessions = await other.ended(2);
    const events = sessions.at(-1) ?? [];
    assertWhole(events);
    assert.equal(events.at(-1)?.['interrupted'], undefined);
    assert.ok(commandLines(events).some((line) => line.includes('/cat')));
    assert.equal(only(await other.events(), 'session.events_lost').length, 0);
    lost.kill();
  });

  test('the same root_path for both is refused at the start, by name', async () => {
    const third = await OneNode.create({ rootPath: one.rootPath });
    try {
      const daemon = await third.startCommand();
      assert.equal(await daemon.end(), 5); // conflict
      assert.match(
        daemon.said,
        new RegExp(`${one.rootPath} is another teleport's \\(data_dir ${one.dataDir}, process \\d+\\)`),
      );
      assert.match(daemon.said, /root_path of its own/);
    } finally {
      rmSync(third.folder, { recursive: true }); // not remove(): the cgroups are the other's
    }
    const { ran } = await one.session('echo still here');
    assert.equal(ran.stdout, 'still here\n');
  });
});
