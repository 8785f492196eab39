// A recorder makes way for one of another build, with the same layouts, while sessions flood it.
import assert from 'node:assert/strict';
import { appendFile, copyFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { recorderBinary } from './binaries.ts';
import { alive, KernelHost, ofType, program, skip, until } from './kernel-host.fixture.ts';
import { RecorderClient } from './recorder-client.ts';

describe('a recorder of another build', { skip }, () => {
  let host: KernelHost;
  let other = '';
  before(async () => {
    host = await KernelHost.start();
    other = join(host.dir, 'other-build');
    await copyFile(recorderBinary, other);
    await appendFile(other, 'other');
  });
  after(() => host?.stop());

  test('takes over in the middle of a flood: nothing lost, nothing twice, no interruption declared', async (t) => {
    const floods = 3;
    const count = 20_000;
    const sessions = await Promise.all(
      Array.from({ length: floods }, () =>
        host.open(t, [program('opens'), 'flood', '/etc/passwd', String(count)]),
      ),
    );
    const { client } = host;
    const left = new Promise((resolve) => client.once('closed', resolve));
    for (const session of sessions) session.go();
    await until('the flood runs', async () => (await client.stats()).drainedRecords > 1_000);
    const began = performance.now();
    await host.connect(other);
    const ms = Math.round(performance.now() - began);
    await left;
    assert.notEqual(host.client.hello.pid, client.hello.pid);
    assert.equal(alive(client.hello.pid), false);
    assert.equal(await readlink(`/proc/${host.client.hello.pid}/exe`), other);
    for (const session of sessions) {
      await session.idle();
      // `end` checks the whole spool: seq without a hole, emitted = recorded + lost.
      const { events, totals } = await session.end();
      assert.ok(totals.kinds.disk.recorded >= count);
      assert.equal(totals.kinds.disk.lost, 0);
      assert.deepEqual(ofType(events, 'lost'), []);
      const seqs = events.map(({ seq }) => seq).filter((seq) => seq > 0);
      assert.equal(seqs.length, totals.lastSeq, 'a hole');
    }
    console.log(`      handed over in ${ms} ms, ${floods} × ${count} opens meanwhile`);
  });

  test('is found again by whoever starts the same build, and is not replaced', async () => {
    const { pid } = host.client.hello;
    host.client.close();
    await host.connect(other);
    assert.equal(host.client.hello.pid, pid);
  });

  test('is not shut down by one daemon while another one uses it', async () => {
    const second = await RecorderClient.connect({ socketPath: host.socketPath });
    await assert.rejects(second.shutdown(), { code: 'recorder_ebusy' });
    second.close();
    assert.ok((await host.client.stats()).ringSize > 0);
  });
});
