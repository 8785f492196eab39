import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { execRecord, frameBytes, openRecord, recordBytes, spoolHeaderBytes } from './record-bytes.fixture.ts';
import { type SpoolItem, SpoolReader } from './spool.ts';
import { SPOOL_FRAME_MAGIC, spool_header } from './wire.gen.ts';

const sid = '11111111-2222-3333-4444-555555555555';
let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'spool-test-'));
});
after(() => rm(dir, { recursive: true }));

let files = 0;
async function spoolOf(...parts: Buffer[]): Promise<string> {
  const path = join(dir, `${files++}.spool`);
  await writeFile(path, Buffer.concat([spoolHeaderBytes(sid), ...parts]));
  return path;
}

async function readAll(path: string, options: { windowBytes?: number; from?: number; to?: number } = {}) {
  const reader = await SpoolReader.open(
    path,
    options.windowBytes ? { windowBytes: options.windowBytes } : {},
  );
  try {
    const items: SpoolItem[] = [];
    const frames = reader.read(options.from, options.to);
    for (;;) {
      const step = await frames.next();
      if (step.done) return { items, offset: step.value };
      items.push(step.value);
    }
  } finally {
    await reader.close();
  }
}

const seqs = (items: readonly SpoolItem[]) =>
  items.map((item) => (item.type === 'event' ? item.event.seq : item.type));
const opens = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) =>
    frameBytes(openRecord(from + i, `/f/${'x'.repeat(i % 50)}`)),
  );

test('every event comes in order with the offset to go on from', async () => {
  const path = await spoolOf(...opens(1, 500));
  const { items } = await readAll(path);
  assert.deepEqual(
    seqs(items),
    Array.from({ length: 500 }, (_, i) => i + 1),
  );
  const half = items[249];
  assert.ok(half);
  const rest = await readAll(path, { from: half.nextOffset });
  assert.deepEqual(seqs(rest.items).slice(0, 2), [251, 252]);
  assert.equal(rest.items.length, 250);
});

test('a window smaller than a frame still reads it', async () => {
  const path = await spoolOf(frameBytes(execRecord(1, ['x'.repeat(9000)])), ...opens(2, 20));
  const { items } = await readAll(path, { windowBytes: 32 });
  assert.deepEqual(
    seqs(items),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
});

test('an incomplete last frame is waited for, at every place it may be cut', async () => {
  const whole = Buffer.concat(opens(1, 2));
  const last = frameBytes(openRecord(3, '/last'));
  for (let cut = 0; cut < last.length; cut++) {
    const { items, offset } = await readAll(await spoolOf(whole, last.subarray(0, cut)));
    assert.deepEqual(seqs(items), [1, 2]);
    assert.equal(offset, spool_header.SIZE + whole.length);
  }
});

test('reading stops at the given end although the file goes on', async () => {
  const frames = opens(1, 3);
  const path = await spoolOf(...frames);
  const to = spool_header.SIZE + (frames[0]?.length ?? 0);
  assert.deepEqual(seqs((await readAll(path, { to })).items), [1]);
  assert.deepEqual(seqs((await readAll(path, { to: to + 9 })).items), [1]);
});

test('an end beyond the file yields what is there', async () => {
  const path = await spoolOf(...opens(1, 3));
  assert.deepEqual(seqs((await readAll(path, { to: 1e9 })).items), [1, 2, 3]);
});

test('a damaged frame is reported once and reading goes on behind it', async () => {
  const frames = opens(1, 5);
  const damaged = Buffer.from(frames[2] ?? '');
  damaged[40] = (damaged[40] ?? 0) ^ 0xff;
  frames[2] = damaged;
  const { items } = await readAll(await spoolOf(...frames));
  assert.deepEqual(seqs(items), [1, 2, 'corruption', 4, 5]);
  const corruption = items[2];
  assert.ok(corruption?.type === 'corruption');
  assert.deepEqual([corruption.reason, corruption.skippedBytes], ['bad_crc', damaged.length]);
});

test('a hole of zeros, as a crashed host leaves it, is skipped across windows', async () => {
  const path = await spoolOf(...opens(1, 3), Buffer.alloc(4096), ...opens(4, 6));
  for (const windowBytes of [64, 256 * 1024]) {
    const { items } = await readAll(path, { windowBytes });
    assert.deepEqual(seqs(items), [1, 2, 3, 'corruption', 4, 5, 6]);
  }
});

test('damage that looks like a long frame does not hide the frames behind it', async () => {
  const liar = Buffer.alloc(32);
  liar.writeUInt32LE(SPOOL_FRAME_MAGIC, 8);
  liar.writeUInt32LE(200_000, 12);
  const { items } = await readAll(await spoolOf(...opens(1, 2), liar, ...opens(3, 4)));
  assert.deepEqual(seqs(items), [1, 2, 'corruption', 3, 4]);
});

test('a record of a type this build does not know is a drop, not an end', async () => {
  const odd = frameBytes(recordBytes({ type: 99, fixed: Buffer.alloc(0) }));
  const { items } = await readAll(await spoolOf(...opens(1, 1), odd, ...opens(2, 2)));
  assert.deepEqual(seqs(items), [1, 'drop', 2]);
});

test('what is no spool, or one of another layout, is refused by name', async () => {
  const refused = async (content: Buffer, code: string) => {
    const path = join(dir, `${files++}.spool`);
    await writeFile(path, content);
    await assert.rejects(SpoolReader.open(path), { name: 'RecorderError', code });
  };
  await refused(Buffer.alloc(0), 'spool_not_a_spool');
  await refused(Buffer.alloc(200), 'spool_not_a_spool');
  await refused(spoolHeaderBytes(sid, '00'.repeat(32)), 'spool_wire_mismatch');
  const damaged = spoolHeaderBytes(sid);
  damaged.writeUInt32LE(8, spool_header.header_length);
  await refused(damaged, 'spool_header');
});

test('any damage leaves the events before it, terminates, and never invents one', async () => {
  const frames = opens(1, 12);
  const clean = Buffer.concat(frames);
  const flips = fc.array(fc.tuple(fc.nat(clean.length - 1), fc.integer({ min: 1, max: 255 })), {
    minLength: 1,
    maxLength: 8,
  });
  await fc.assert(
    fc.asyncProperty(
      flips,
      fc.nat(clean.length),
      fc.constantFrom(48, 512, 65536),
      async (changes, cut, window) => {
        const bytes = Buffer.from(clean);
        for (const [at, xor] of changes) bytes[at] = (bytes[at] ?? 0) ^ xor;
        const first = Math.min(...changes.map(([at]) => at));
        const { items } = await readAll(await spoolOf(bytes.subarray(0, cut)), { windowBytes: window });
        let intact = 0;
        let end = 0;
        for (const frame of frames) {
          end += frame.length;
          if (end <= Math.min(first, cut)) intact++;
        }
        const seen = items.flatMap((item) => (item.type === 'event' ? [item.event.seq] : []));
        assert.deepEqual(
          seen.slice(0, intact),
          Array.from({ length: intact }, (_, i) => i + 1),
        );
        assert.deepEqual(
          seen,
          [...new Set(seen)].sort((a, b) => a - b),
        );
      },
    ),
    { numRuns: 150 },
  );
});
