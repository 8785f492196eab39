// Opened files of a session, seen by the real recorder on the real kernel.
import assert from 'node:assert/strict';
import { realpathSync } from 'node:fs';
import { link, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { KernelHost, ofType, program, type Recording, skip } from './kernel-host.fixture.ts';

interface Said {
  readonly pid: number;
  readonly fd: number;
  readonly errno: number;
  readonly inode: number;
  readonly device: number;
  readonly nlink: number;
}

describe('opened files', { skip }, () => {
  let host: KernelHost;
  let dir = '';
  let real = '';
  before(async () => {
    host = await KernelHost.start();
    dir = realpathSync(await mkdtemp(join(tmpdir(), 'files-root-')));
    await mkdir(join(dir, 'a/b'), { recursive: true });
    real = join(dir, 'a/b/real');
    await writeFile(real, 'x');
    await symlink(real, join(dir, 'link'));
    await symlink(join(dir, 'a'), join(dir, 'dirlink'));
  });
  after(async () => {
    await host?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  /** The open that the program itself says it did. */
  function opened({ events, stdout }: Recording) {
    const said: Said = JSON.parse(stdout);
    const found = ofType(events, 'open').filter((event) =>
      said.fd >= 0 ? event.result === said.fd && event.inode === BigInt(said.inode) : event.result < 0,
    );
    const event = found.at(-1);
    assert.ok(event, `not recorded: ${stdout}`);
    return { event, said };
  }

  test('every way to a file is recorded under the file’s own path', async (t) => {
    const ways: string[][] = [
      ['open', real],
      ['open', join(dir, 'link')],
      ['open', `${dir}/dirlink/b/../b/./real`],
      ['open', `${dir}//a///b//real`],
      ['openat', join(dir, 'a'), 'b/real'],
      ['openat2', join(dir, 'link')],
      ['open', `/proc/self/root${real}`],
    ];
    for (const way of ways) {
      const { event, said } = opened(await host.record(t, [program('opens'), ...way]));
      assert.equal(String(event.path), real, way.join(' '));
      assert.deepEqual(
        [event.inode, event.device, event.nlink, event.pid, event.result],
        [BigInt(said.inode), said.device, said.nlink, said.pid, said.fd],
        way.join(' '),
      );
      assert.equal(event.pathPartial, false);
      assert.equal(event.openFlags & 3, 0);
    }
  });

  test('a relative path is resolved from where the program stands', async (t) => {
    const { event } = opened(
      await host.record(t, [program('opens'), 'open', 'b/real'], { cwd: join(dir, 'a') }),
    );
    assert.equal(String(event.path), real);
  });

  test('a hard link shows the name that was opened, and that it is not the only one', async (t) => {
    const second = join(dir, 'second-name');
    await link(real, second);
    t.after(() => rm(second));
    const { event } = opened(await host.record(t, [program('opens'), 'open', second]));
    assert.deepEqual([String(event.path), event.nlink], [second, 2]);
  });

  test('a created file has its flags and its new inode', async (t) => {
    const path = join(dir, 'new');
    const { event } = opened(await host.record(t, [program('opens'), 'creat', path]));
    assert.equal(String(event.path), path);
    assert.equal(event.inode, (await stat(path, { bigint: true })).ino);
    assert.equal(event.openFlags & 3, 1);
  });

  test('an open by int 0x80 is seen and marked', {
    skip: process.arch !== 'x64' && 'amd64 only',
  }, async (t) => {
    const { event } = opened(await host.record(t, [program('opens'), 'int80', real]));
    assert.deepEqual([String(event.path), event.compat32], [real, true]);
  });

  test('a failed open has its errno, the caller’s own string and where it starts', async (t) => {
    const missing = await host.record(t, [program('opens'), 'openat', join(dir, 'a'), 'nope']);
    const { event, said } = opened(missing);
    assert.equal(event.result, -said.errno);
    assert.deepEqual([String(event.userPath), event.pathSource], ['nope', 'user']);
    assert.equal(String(event.cwd), join(dir, 'a'));
    assert.equal(event.path.length, 0);

    const here = opened(await host.record(t, [program('opens'), 'open', 'nope'], { cwd: dir }));
    assert.equal(String(here.event.cwd), dir);
    const absolute = opened(await host.record(t, [program('opens'), 'open', join(real, 'below')]));
    assert.deepEqual([absolute.event.result, String(absolute.event.userPath)], [-20, join(real, 'below')]);
  });

  test('odd names keep their bytes and a deep path stays whole', async (t) => {
    const odd = Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0x1b, 0x5b, 0x0a, 0xff, 0xfe])]);
    await writeFile(odd, '');
    const printf = `'${program('opens')}' open "$(printf '%s/\\033[\\n\\377\\376' ${dir})"`;
    const { event } = opened(await host.record(t, ['/bin/sh', '-c', printf]));
    assert.deepEqual(event.path, odd);

    const deep = join(dir, ...Array.from({ length: 40 }, (_, i) => `level-${i}-${'x'.repeat(20)}`));
    await mkdir(deep, { recursive: true });
    const file = join(deep, 'bottom');
    await writeFile(file, '');
    const bottom = opened(await host.record(t, [program('opens'), 'open', file]));
    assert.equal(String(bottom.event.path), file);
    assert.equal(bottom.event.pathPartial, false);
  });

  test('a flood of opens is recorded to the last one with the default ring', async (t) => {
    const { events, totals } = await host.record(t, [program('opens'), 'flood', real, '20000']);
    assert.equal(totals.kinds.disk.lost, 0);
    assert.equal(ofType(events, 'open').filter((event) => String(event.path) === real).length, 20_000);
  });
});
