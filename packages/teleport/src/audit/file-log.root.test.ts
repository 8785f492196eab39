import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { AppendQueue } from './append-queue.ts';
import { collect } from './audit-log.contract.ts';
import { commandEvent, hostId } from './event.fixture.ts';
import { FileLog } from './file-log.ts';

const skip = process.getuid?.() === 0 ? false : 'mounting a tiny tmpfs needs root';

async function tinyDisk(t: TestContext, kib: number): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-tiny-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kib}k`, 'tmpfs', dir]);
  t.after(async () => {
    execFileSync('umount', ['--lazy', dir]); // the log is closed by a later hook
    await rm(dir, { recursive: true });
  });
  return dir;
}

describe('a full disk', { skip }, () => {
  it('makes the append fail, leaves no half line, and the queue writes everything once there is room', async (t) => {
    const dir = await tinyDisk(t, 256);
    const logDir = join(dir, 'log');
    const ballast = join(dir, 'ballast');
    await writeFile(ballast, Buffer.alloc(180 * 1024));
    const log = await FileLog.open({ logDir, hostId });
    t.after(() => log.close());

    let written = 0;
    const fill = async () => {
      for (; ; written++) await log.append([commandEvent(written)]);
    };
    await assert.rejects(fill, { code: 'audit.disk_full', kind: 'unavailable' });
    assert.ok(written > 10);

    const text = await readFile(join(logDir, 'events.log'), 'utf8');
    assert.ok(text.endsWith('}\n'), 'a half line stayed');
    assert.equal(text.split('\n').length - 1, written);

    const queue = new AppendQueue(log, {
      retryMs: 5,
      onRetry: () => void rm(ballast, { force: true }),
    });
    await Promise.all(Array.from({ length: 50 }, (_, n) => queue.push([commandEvent(written + n)])));
    assert.deepEqual(
      (await collect(log)).map((event) => event.ei),
      Array.from({ length: written + 50 }, (_, n) => n),
    );
    await queue.close();
  });

  it('does not keep the log from being opened with its torn end', async (t) => {
    const dir = await tinyDisk(t, 64);
    const options = { logDir: join(dir, 'log'), hostId };
    const log = await FileLog.open(options);
    await log.append([commandEvent(0)]);
    await log.close();
    await appendFile(join(options.logDir, 'events.log'), '{"torn');
    const ballast = join(dir, 'ballast');
    await writeFile(ballast, Buffer.alloc(256 * 1024)).catch(() => {}); // takes all there is
    // The link is replaced, which takes no room on this file system; nothing else is written.
    const again = await FileLog.open(options);
    t.after(() => again.close());
    await rm(ballast);
    await again.append([commandEvent(1)]);
    assert.deepEqual(
      (await collect(again)).map((event) => event.ei),
      [0, 1],
    );
  });

  it('at midnight keeps the old file current until the new one can be made', async (t) => {
    const dir = await tinyDisk(t, 64);
    let nowMs = Date.UTC(2026, 0, 2, 23, 59);
    const log = await FileLog.open({ logDir: join(dir, 'log'), hostId, now: () => nowMs });
    t.after(() => log.close());
    await log.append([commandEvent(0)]);
    const ballast = join(dir, 'ballast');
    await writeFile(ballast, Buffer.alloc(256 * 1024)).catch(() => {}); // takes all there is
    nowMs += 120_000;
    await assert.rejects(log.append([commandEvent(1)]), { code: 'audit.disk_full' });
    await rm(ballast);
    await log.append([commandEvent(1)]);
    assert.deepEqual(
      (await collect(log)).map((event) => event.ei),
      [0, 1],
    );
    const names = (await readdir(join(dir, 'log', hostId))).filter((name) => name.includes('.log'));
    assert.deepEqual(names.sort(), ['2026-01-02.00:00:00.log', '2026-01-03.00:00:00.log']);
  });
});
