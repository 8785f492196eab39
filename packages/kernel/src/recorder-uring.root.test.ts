// What a session does through an io_uring, where no system call's end tells of it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  KernelHost,
  ofType,
  program,
  type Recording,
  type SessionOptions,
  skip,
} from './kernel-host.fixture.ts';

interface Said {
  readonly pid: number;
  readonly ring: number;
  readonly result: number;
}

const ENOENT = 2;
const EINPROGRESS = 115;

describe('io_uring', { skip }, () => {
  let host: KernelHost;
  let dir = '';
  let file = '';
  before(async () => {
    host = await KernelHost.start();
    dir = await mkdtemp(join(tmpdir(), 'uring-root-'));
    file = join(dir, 'through-the-ring');
    await writeFile(file, 'x');
  });
  after(async () => {
    await host?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  const said = ({ stdout }: Recording): Said => JSON.parse(stdout);
  /** What the ring itself opened, and not the program's own system calls. */
  const through = ({ events }: Recording) =>
    ofType(events, 'open').filter((event) => event.source === 'io_uring' && event.kind === 'disk');
  /** Only where the kernel tells of submissions (Linux 6.3); elsewhere the ring's record is the tell-tale. */
  const seesInside = () => host.client.hello.features.has('io_uring');

  test('a ring made in a session is told, whatever kinds are recorded', async (t) => {
    for (const kinds of [['command'], ['command', 'disk', 'network']] as SessionOptions['kinds'][]) {
      const recording = await host.record(t, [program('uring'), 'ring'], kinds ? { kinds } : {});
      const rings = ofType(recording.events, 'open').filter((event) => event.source === 'io_uring');
      assert.equal(rings.length, 1);
      assert.equal(rings[0]?.kind, 'meta');
      assert.equal(String(rings[0]?.path), 'anon_inode:[io_uring]');
      assert.equal(rings[0]?.pathSource, 'uring');
      assert.equal(rings[0]?.result, said(recording).ring);
      assert.equal(rings[0]?.pid, said(recording).pid);
    }
  });

  for (const way of ['open', 'async', 'sqpoll']) {
    test(`a file opened through a ring (${way}) is recorded under its own path`, async (t) => {
      if (!seesInside()) return t.skip('this kernel has no io_uring_submit_req tracepoint');
      const recording = await host.record(t, [program('uring'), way, `${dir}//./through-the-ring`]);
      const [open, ...more] = through(recording);
      assert.equal(more.length, 0);
      assert.ok(open, 'not recorded');
      assert.equal(String(open.path), file);
      assert.equal(open.pathSource, 'uring');
      assert.ok(said(recording).result >= 0);
      assert.equal(open.result, said(recording).result);
      assert.equal(open.pid, said(recording).pid);
    });
  }

  test('an open through a ring that fails is recorded with its error', async (t) => {
    if (!seesInside()) return t.skip('this kernel has no io_uring_submit_req tracepoint');
    const recording = await host.record(t, [program('uring'), 'open', join(dir, 'nowhere')]);
    const [open] = through(recording);
    assert.equal(open?.result, -ENOENT);
    assert.equal(String(open?.userPath), join(dir, 'nowhere'));
  });

  test('an open without a completion is told as tried, one into a slot by the name given', async (t) => {
    if (!seesInside()) return t.skip('this kernel has no io_uring_submit_req tracepoint');
    const [skipped] = through(await host.record(t, [program('uring'), 'skip', file]));
    assert.equal(skipped?.result, -EINPROGRESS);
    assert.equal(String(skipped?.userPath), file);
    const [slotted] = through(await host.record(t, [program('uring'), 'slot', file]));
    assert.equal(slotted?.result, 0);
    assert.equal(slotted?.pathSource, 'user');
    assert.equal(String(slotted?.userPath), file);
  });

  test('a connection made through a ring is recorded like any other', async (t) => {
    const server = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const recording = await host.record(t, [program('uring'), 'connect', String(port)]);
    assert.equal(said(recording).result, 0);
    const connects = ofType(recording.events, 'connect').filter((event) => event.dstPort === port);
    assert.equal(connects.length, 1);
    assert.equal(connects[0]?.outcome, 'established');
    assert.equal(connects[0]?.dstAddr, '127.0.0.1');
    assert.equal(connects[0]?.pid, said(recording).pid);
  });
});
