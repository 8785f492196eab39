import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { appendFile, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { RecordingReader } from './reader.ts';
import {
  commandEvent,
  endEvent,
  hostId,
  networkEvent,
  resizeEvent,
  scene,
  sid,
  startEvent,
} from './recording.fixture.ts';
import { recoverRecordings } from './recover.ts';
import { TerminalRecording } from './terminal-recording.ts';

/** The JSON lines of a part, read as the documentation says: zcat and jq. */
function zcatJq(path: string): Record<string, unknown>[] {
  const text = execFileSync('sh', ['-c', 'zcat "$1" | jq -c .', 'sh', path], { encoding: 'utf8' });
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

describe('a finished recording', () => {
  it('has the documented parts, an index, and nothing else', async (t) => {
    const s = await scene(t);
    await s.recording.events([startEvent(s.ei++)]);
    await s.recording.print(Buffer.from('hello'));
    await s.recording.events([commandEvent(s.ei++), networkEvent(s.ei++)]);
    await s.recording.events([endEvent(s.ei++)]);
    await s.recording.finish();
    assert.deepEqual((await readdir(s.finished)).sort(), [
      `${sid}-0.chunks.gz`,
      `${sid}-0.events.gz`,
      `${sid}-0.session.command-events.gz`,
      `${sid}-0.session.network-events.gz`,
      `${sid}.index`,
    ]);
    assert.deepEqual(await readdir(s.live), []);
    const index = (await readFile(join(s.finished, `${sid}.index`), 'utf8')).trimEnd().split('\n');
    assert.deepEqual(index, [
      `{"file_name":"${sid}-0.chunks.gz","index":0,"offset":0,"type":"chunks"}`,
      `{"file_name":"${sid}-0.events.gz","index":0,"offset":0,"type":"events"}`,
      `{"file_name":"${sid}-0.session.command-events.gz","index":2,"offset":0,"type":"session.command"}`,
      `{"file_name":"${sid}-0.session.network-events.gz","index":3,"offset":0,"type":"session.network"}`,
    ]);
  });

  it('can be read with zcat and jq, part by part', async (t) => {
    const s = await scene(t);
    await s.recording.events([startEvent(s.ei++)]);
    s.nowMs += 1500;
    await s.recording.print(Buffer.from('\u001b[1mhé'));
    await s.recording.events([commandEvent(s.ei++), resizeEvent(s.ei++), endEvent(s.ei++)]);
    await s.recording.finish();
    const chunks = execFileSync('zcat', [join(s.finished, `${sid}-0.chunks.gz`)]);
    assert.equal(chunks.toString(), '\u001b[1mhé');
    const lines = zcatJq(join(s.finished, `${sid}-0.events.gz`));
    assert.deepEqual(
      lines.map((line) => [line['event'], line['ei']]),
      [
        ['session.start', 0],
        ['print', 1],
        ['resize', 3],
        ['session.end', 4],
      ],
    );
    assert.deepEqual(lines[1], {
      event: 'print',
      time: '2026-01-02T03:04:06.500Z',
      ms: 1500,
      offset: 0,
      bytes: 7,
      ei: 1,
      ci: 0,
    });
    assert.deepEqual(zcatJq(join(s.finished, `${sid}-0.session.command-events.gz`)), [commandEvent(2)]);
  });

  for (const umask of [0o077, 0o022]) {
    it(`is 0640, and so are its live files, with umask 0${umask.toString(8)}`, async (t) => {
      const before = process.umask(umask);
      t.after(() => process.umask(before));
      const s = await scene(t);
      await s.recording.print(Buffer.from('x'));
      await s.recording.events([commandEvent(s.ei++)]);
      const modes = async (dir: string) =>
        Promise.all((await readdir(dir)).map(async (name) => (await stat(join(dir, name))).mode & 0o777));
      assert.deepEqual(await modes(s.live), [0o640, 0o640, 0o640]);
      await s.recording.finish();
      assert.deepEqual(await modes(s.finished), [0o640, 0o640, 0o640, 0o640]);
    });
  }

  it('is read back by the reader: every byte, at its time, with the events in between', async (t) => {
    const s = await scene(t);
    const sent: { ms: number; bytes: Buffer }[] = [];
    await s.recording.events([startEvent(s.ei++)]);
    for (let n = 0; n < 60; n++) {
      s.nowMs += 100;
      const bytes = randomBytes(1 + ((n * 7919) % 60_000));
      sent.push({ ms: 100 * (n + 1), bytes });
      await s.recording.print(bytes);
      if (n === 30) await s.recording.events([resizeEvent(s.ei++), commandEvent(s.ei++)]);
    }
    await s.recording.events([endEvent(s.ei++)]);
    await s.recording.finish();

    const reader = await RecordingReader.open(s.finished, sid);
    const prints: { ms: number; bytes: Buffer }[] = [];
    const seen: string[] = [];
    const eis: number[] = [];
    for await (const frame of reader.frames()) {
      if (frame.type === 'print') prints.push({ ms: frame.print.ms, bytes: frame.bytes });
      else seen.push(frame.event.event);
      eis.push(frame.type === 'print' ? frame.print.ei : frame.event.ei);
    }
    assert.deepEqual(prints, sent);
    assert.deepEqual(seen, ['session.start', 'resize', 'session.end']);
    assert.deepEqual(
      eis,
      eis.toSorted((a, b) => a - b),
    );
    const commands = [];
    for await (const event of reader.kernelEvents('command')) commands.push(event.event);
    assert.deepEqual(commands, ['session.command']);
    for await (const _ of reader.kernelEvents('disk')) assert.fail('disk was off');
  });

  it('exists also for a session that printed nothing', async (t) => {
    const s = await scene(t);
    await s.recording.finish();
    const reader = await RecordingReader.open(s.finished, sid);
    for await (const _ of reader.frames()) assert.fail('nothing was recorded');
    assert.equal(reader.index.length, 2);
  });

  it('holds what was printed right before, awaited or not', async (t) => {
    const s = await scene(t);
    const printed = Promise.all([
      s.recording.print(Buffer.from('last ')),
      s.recording.print(Buffer.from('words')),
    ]);
    await s.recording.finish();
    await printed;
    const outputs: string[] = [];
    for await (const frame of (await RecordingReader.open(s.finished, sid)).frames()) {
      if (frame.type === 'print') outputs.push(frame.bytes.toString());
    }
    assert.deepEqual(outputs, ['last words']);
  });

  it('takes no more, and finishing it twice is finishing it once', async (t) => {
    const s = await scene(t);
    await Promise.all([s.recording.finish(), s.recording.finish()]);
    await s.recording.finish();
    await assert.rejects(s.recording.print(Buffer.from('late')), {
      code: 'recording.finished',
      kind: 'conflict',
    });
    await assert.rejects(TerminalRecording.create(s.options), { code: 'recording.exists' });
  });
});

describe('print', () => {
  it('resolves when the bytes are in the file', async (t) => {
    const s = await scene(t);
    await s.recording.print(Buffer.from('first'));
    assert.equal(await readFile(join(s.live, `${sid}-0.chunks`), 'utf8'), 'first');
  });

  it('makes one line of what comes close together, and the line follows by itself', async (t) => {
    const s = await scene(t);
    for (const word of ['a', 'bc', 'def']) await s.recording.print(Buffer.from(word));
    s.nowMs += 21;
    await s.recording.print(Buffer.from('later'));
    const lines = await linesWhen(join(s.live, `${sid}-0.events`), 2);
    assert.deepEqual(
      lines.map(({ ei, ci, offset, bytes, ms }) => [ei, ci, offset, bytes, ms]),
      [
        [0, 0, 0, 6, 0],
        [1, 1, 6, 5, 21],
      ],
    );
  });

  it('keeps the order of concurrent calls', async (t) => {
    const s = await scene(t);
    await Promise.all(Array.from({ length: 500 }, (_, n) => s.recording.print(Buffer.from(`${n},`))));
    const text = await readFile(join(s.live, `${sid}-0.chunks`), 'utf8');
    assert.equal(text, Array.from({ length: 500 }, (_, n) => `${n},`).join(''));
  });

  it('needs bounded memory for 100 MB of output', async (t) => {
    const s = await scene(t, { now: Date.now });
    const block = Buffer.alloc(64 * 1024, 'drwxr-xr-x 2 root root 4096 name\r\n'); // compresses fast
    const hash = createHash('sha256');
    globalThis.gc?.();
    const before = process.memoryUsage.rss();
    let peak = 0;
    for (let n = 0; n < 1600; n++) {
      block.writeUInt32LE(n, 0);
      hash.update(block);
      await s.recording.print(block);
      if (n % 50 === 0) peak = Math.max(peak, process.memoryUsage.rss());
    }
    await s.recording.finish();
    peak = Math.max(peak, process.memoryUsage.rss());
    assert.ok(peak - before < 80 * 1024 * 1024, `grew by ${Math.round((peak - before) / 1048576)} MiB`);
    const read = createHash('sha256');
    for await (const bytes of (await RecordingReader.open(s.finished, sid)).output()) read.update(bytes);
    assert.equal(read.digest('hex'), hash.digest('hex'));
  });
});

describe('a recording whose process died', () => {
  it('is finished with every byte that print had acknowledged before kill -9', async (t) => {
    const s = await scene(t);
    await s.recording.abandon();
    await rm(s.live, { recursive: true });
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'endless-printer.fixture.ts'), s.logDir],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let acknowledged = 0;
    createInterface({ input: child.stdout }).on('line', (line) => {
      acknowledged = Number(line);
      if (acknowledged > 3000) child.kill('SIGKILL');
    });
    await new Promise((resolve) => child.once('close', resolve));

    const recovered = await recoverRecordings({ logDir: s.logDir, hostId });
    assert.deepEqual(recovered, { finished: [sid], failed: [] });
    let text = '';
    let printed = 0;
    let last = { ei: -1, ci: -1 };
    for await (const frame of (await RecordingReader.open(s.finished, sid)).frames()) {
      if (frame.type !== 'print') continue;
      text += frame.bytes.toString();
      printed += frame.print.bytes;
      assert.ok(frame.print.ei > last.ei && frame.print.ci === last.ci + 1);
      last = frame.print;
    }
    const numbers = text.trimEnd().split('\n').map(Number);
    assert.deepEqual(
      numbers,
      Array.from({ length: numbers.length }, (_, n) => n),
    );
    assert.ok(numbers.length >= acknowledged, `${acknowledged} acknowledged, ${numbers.length} found`);
    assert.equal(printed, text.length);
    assert.deepEqual(await readdir(s.live), []);
  });

  it('loses torn lines only, and goes on with its counters when it is resumed', async (t) => {
    const s = await scene(t);
    await s.recording.events([startEvent(s.ei++)]);
    await s.recording.print(Buffer.from('seen'));
    await s.recording.events([resizeEvent(s.ei++), commandEvent(s.ei++)]);
    await s.recording.abandon();
    await appendFile(join(s.live, `${sid}-0.chunks`), 'unlined');
    await appendFile(join(s.live, `${sid}-0.events`), '{"event":"print","bytes":7,"of');
    await appendFile(join(s.live, `${sid}-0.session.command-events`), '\0\0\0\n{"ev');

    const resumed = await TerminalRecording.resume(s.options);
    assert.equal(resumed.lastEi, 3);
    s.ei = resumed.lastEi + 1;
    s.nowMs += 60_000;
    await resumed.print(Buffer.from('after'));
    await resumed.events([commandEvent(s.ei++), endEvent(s.ei++)]);
    await resumed.finish();
    const lines = zcatJq(join(s.finished, `${sid}-0.events.gz`));
    assert.deepEqual(
      lines.map(({ event, ei, ci, offset, bytes }) =>
        [event, ei, ci, offset, bytes].filter((v) => v !== undefined),
      ),
      [
        ['session.start', 0],
        ['print', 1, 0, 0, 4],
        ['resize', 2],
        ['print', 4, 1, 4, 7],
        ['print', 5, 2, 11, 5],
        ['session.end', 7],
      ],
    );
    assert.equal(lines[4]?.['ms'], 60_000);
    assert.deepEqual(zcatJq(join(s.finished, `${sid}-0.session.command-events.gz`)), [
      commandEvent(3),
      commandEvent(6),
    ]);
  });

  it('has each kernel event once, however often it is handed over', async (t) => {
    const s = await scene(t);
    const numbered = (seq: number) => ({ ...commandEvent(s.ei++), seq });
    // Two processors may hand over their events out of order: a highest number would not do.
    await s.recording.events([numbered(1), numbered(4), numbered(3)]);
    await s.recording.events([numbered(3), numbered(1)]);
    await s.recording.abandon();
    const resumed = await TerminalRecording.resume(s.options);
    assert.deepEqual(
      [1, 2, 3, 4, 5].map((seq) => resumed.hasKernelSeq(seq)),
      [true, false, true, true, false],
    );
    await resumed.events([1, 2, 3, 4, 5].map(numbered));
    await resumed.finish();
    const seqs = zcatJq(join(s.finished, `${sid}-0.session.command-events.gz`)).map((line) => line['seq']);
    assert.deepEqual(seqs, [1, 4, 3, 2, 5]);
  });

  it('keeps its offsets true when a power loss took the end of the output', async (t) => {
    const s = await scene(t);
    await s.recording.print(Buffer.from('0123456789'));
    await s.recording.events([resizeEvent(s.ei++)]);
    await s.recording.abandon();
    await truncate(join(s.live, `${sid}-0.chunks`), 4);
    const resumed = await TerminalRecording.resume(s.options);
    await resumed.print(Buffer.from('new'));
    await resumed.finish();
    const outputs: string[] = [];
    for await (const frame of (await RecordingReader.open(s.finished, sid)).frames()) {
      if (frame.type === 'print') outputs.push(frame.bytes.toString());
    }
    assert.deepEqual(outputs, ['0123\0\0\0\0\0\0', 'new']);
  });

  it('is left alone by the recovery while its session lives on', async (t) => {
    const s = await scene(t);
    await s.recording.abandon();
    const recovered = await recoverRecordings({ logDir: s.logDir, hostId, except: new Set([sid]) });
    assert.deepEqual(recovered, { finished: [], failed: [] });
    assert.equal((await readdir(s.live)).length, 2);
  });

  it('is finished by the next recovery when the one before was cut off anywhere', async (t) => {
    const s = await scene(t);
    await s.recording.print(Buffer.from('x'));
    await s.recording.abandon();
    await writeFile(join(s.finished, `${sid}-0.chunks.gz.tmp`), 'half');
    await writeFile(join(s.finished, `${sid}-0.chunks.gz`), 'an older try');
    assert.deepEqual((await recoverRecordings({ logDir: s.logDir, hostId })).finished, [sid]);
    const reader = await RecordingReader.open(s.finished, sid);
    const before = (await readdir(s.finished)).sort();
    // Cut off between the index and the removal of the live files: the finished one stays as it is.
    await writeFile(join(s.live, `${sid}-0.events`), '');
    assert.deepEqual((await recoverRecordings({ logDir: s.logDir, hostId })).failed, []);
    assert.deepEqual((await readdir(s.finished)).sort(), before);
    let output = '';
    for await (const bytes of reader.output()) output += bytes;
    assert.equal(output, 'x');
  });
});

describe('the reader', () => {
  it('says when there is no such recording, and when a part is missing', async (t) => {
    const s = await scene(t);
    await assert.rejects(RecordingReader.open(s.finished, sid), { code: 'recording.not_found' });
    await s.recording.finish();
    await rm(join(s.finished, `${sid}-0.chunks.gz`));
    await assert.rejects(RecordingReader.open(s.finished, sid), { code: 'recording.part_missing' });
  });

  it('looks nowhere but in its folder', async (t) => {
    const s = await scene(t);
    await s.recording.finish();
    await assert.rejects(RecordingReader.open(s.finished, `../default/${sid}`), {
      code: 'recording.not_found',
    });
  });

  it('says which part is damaged', async (t) => {
    const s = await scene(t);
    await s.recording.print(randomBytes(5000));
    await s.recording.finish();
    await truncate(join(s.finished, `${sid}-0.chunks.gz`), 1000);
    const reader = await RecordingReader.open(s.finished, sid);
    const read = async () => {
      for await (const _ of reader.frames());
    };
    await assert.rejects(read, { code: 'recording.damaged', message: /chunks/ });
  });

  it('refuses an index that names a file elsewhere', async (t) => {
    const s = await scene(t);
    await s.recording.finish();
    await writeFile(
      join(s.finished, `${sid}.index`),
      '{"file_name":"../../../etc/passwd","index":0,"offset":0,"type":"chunks"}\n',
    );
    await assert.rejects(RecordingReader.open(s.finished, sid), { code: 'recording.bad_index' });
  });
});

async function linesWhen(path: string, count: number): Promise<Record<string, number>[]> {
  const deadline = Date.now() + 5000;
  for (;;) {
    const lines = (await readFile(path, 'utf8')).split('\n').filter(Boolean);
    if (lines.length >= count) return lines.map((line) => JSON.parse(line));
    if (Date.now() > deadline) assert.fail(`${lines.length} of ${count} lines before the deadline`);
    await delay(5);
  }
}
