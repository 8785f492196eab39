import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { collect } from './audit-log.contract.ts';
import { commandEvent } from './event.fixture.ts';
import { Outbox } from './outbox.ts';

const skip = process.getuid?.() === 0 ? false : 'mounting a tiny tmpfs needs root';

async function tinyDisk(t: TestContext, kib: number): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-tiny-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kib}k`, 'tmpfs', dir]);
  t.after(async () => {
    execFileSync('umount', ['--lazy', dir]); // the outbox is closed by a later hook
    await rm(dir, { recursive: true });
  });
  return dir;
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);

describe('an outbox on a full disk', { skip }, () => {
  it('refuses what it cannot hold, holds no half of it, and goes on once there is room', async (t) => {
    const dir = await tinyDisk(t, 128);
    const ballast = join(dir, 'ballast');
    await writeFile(ballast, Buffer.alloc(90 * 1024));
    const options = { dir: join(dir, 'outbox') };
    const outbox = await Outbox.open(options);
    t.after(() => outbox.close());
    let held = 0;
    const fill = async () => {
      for (; ; held++) await outbox.append([commandEvent(held)]);
    };
    await assert.rejects(fill, { code: 'audit.disk_full', kind: 'unavailable' });
    assert.ok(held > 10);
    await rm(ballast);
    await outbox.append([commandEvent(held)]);
    assert.deepEqual(
      (await collect(outbox)).map(({ ei }) => ei),
      range(0, held + 1),
    );
    await outbox.close();
    const again = await Outbox.open(options);
    assert.deepEqual(
      (await collect(again)).map(({ ei }) => ei),
      range(0, held + 1),
    );
    await again.close();
  });

  it('gives up what the auth service has before it refuses anything', async (t) => {
    const dir = await tinyDisk(t, 256);
    const outbox = await Outbox.open({ dir: join(dir, 'outbox'), segmentBytes: 8_000 });
    t.after(() => outbox.close());
    // Several times what the disk holds, each acknowledged at once: kept for searches, as far as there is room.
    for (const n of range(0, 2_000)) {
      await outbox.append([commandEvent(n)]);
      await outbox.acknowledge(outbox.next);
    }
    const found = (await collect(outbox)).map(({ ei }) => ei);
    assert.ok(found.length > 50);
    assert.deepEqual(found, range(2_000 - found.length, 2_000));
  });
});
