import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { RecordingReader } from './reader.ts';
import { resizeEvent, scene, sid } from './recording.fixture.ts';

const skip = process.getuid?.() === 0 ? false : 'mounting a tiny tmpfs needs root';

describe('a recording on a full disk', { skip }, () => {
  it('fails the print, keeps what it had, and goes on when there is room', async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'sallyport-tiny-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', dir]);
    t.after(async () => {
      execFileSync('umount', ['--lazy', dir]); // the recording is closed by a later hook
      await rm(dir, { recursive: true });
    });
    const ballast = join(dir, 'ballast');
    await writeFile(ballast, Buffer.alloc(256 * 1024));
    const s = await scene(t, { logDir: join(dir, 'log'), coalesceMs: 1 });

    const block = Buffer.alloc(10_000, 'y');
    let accepted = 0;
    const fill = async () => {
      for (; ; accepted++) await s.recording.print(block);
    };
    await assert.rejects(fill, { code: 'recording.disk_full', kind: 'unavailable' });
    assert.ok(accepted > 5);
    await assert.rejects(s.recording.print(block), { code: 'recording.disk_full' });
    assert.equal((await readFile(join(s.live, `${sid}-0.chunks`))).length, accepted * block.length);

    await rm(ballast);
    await s.recording.print(Buffer.from('z'));
    await s.recording.events([resizeEvent(s.ei++)]);
    await s.recording.finish();
    let printed = 0;
    for await (const frame of (await RecordingReader.open(s.finished, sid)).frames()) {
      if (frame.type === 'print') printed += frame.bytes.length;
    }
    assert.equal(printed, accepted * block.length + 1);
  });

  it('keeps its live files when the finished parts find no room, and can be finished later', async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'sallyport-tiny-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', dir]);
    t.after(async () => {
      execFileSync('umount', ['--lazy', dir]);
      await rm(dir, { recursive: true });
    });
    const s = await scene(t, { logDir: join(dir, 'log') });
    await s.recording.print(Buffer.from('kept'));
    const ballast = join(dir, 'ballast');
    await s.recording.events([resizeEvent(s.ei++)]);
    await writeFile(ballast, Buffer.alloc(1024 * 1024)).catch(() => {}); // takes all there is
    await assert.rejects(s.recording.finish(), { code: 'recording.disk_full' });
    await rm(ballast);
    await s.recording.finish();
    let output = '';
    for await (const bytes of (await RecordingReader.open(s.finished, sid)).output()) output += bytes;
    assert.equal(output, 'kept');
  });
});
