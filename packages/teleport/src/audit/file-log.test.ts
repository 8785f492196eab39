import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { appendFile, lstat, mkdtemp, readdir, readFile, readlink, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it, type TestContext } from 'node:test';
import { serialize } from '@sallyport/contracts/events/event.ts';
import { until } from '../until.fixture.ts';
import { auditLogContract, collect } from './audit-log.contract.ts';
import { commandEvent, hostId } from './event.fixture.ts';
import { FileLog, type FileLogOptions } from './file-log.ts';

async function scratch(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-audit-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function openLog(
  t: TestContext,
  options: Partial<FileLogOptions> = {},
): Promise<{ log: FileLog; dir: string }> {
  const dir = options.logDir ?? (await scratch(t));
  const log = await FileLog.open({ hostId, now: () => noon, ...options, logDir: dir });
  t.after(() => log.close().catch(() => {}));
  return { log, dir };
}

const noon = Date.UTC(2026, 0, 2, 12);
const today = '2026-01-02.00:00:00.log';

auditLogContract('FileLog', async () => {
  const logDir = await mkdtemp(join(tmpdir(), 'sallyport-audit-'));
  let log = await FileLog.open({ logDir, hostId });
  return {
    log,
    reopen: async () => {
      await log.close();
      log = await FileLog.open({ logDir, hostId });
      return log;
    },
    cleanUp: async () => {
      await log.close().catch(() => {});
      await rm(logDir, { recursive: true, force: true });
    },
  };
});

describe('the files of the audit log', () => {
  it('lie where the documentation shows them', async (t) => {
    const { log, dir } = await openLog(t);
    await log.append([commandEvent(1)]);
    const tree = (await readdir(dir, { recursive: true })).sort();
    assert.deepEqual(tree, [
      hostId,
      `${hostId}/${today}`,
      `${hostId}/sessions`,
      `${hostId}/sessions/default`,
      'events.log',
      'playbacks',
      'playbacks/sessions',
      'playbacks/sessions/default',
      'upload',
      'upload/sessions',
      'upload/sessions/default',
    ]);
    assert.equal(await readlink(join(dir, 'events.log')), join(dir, hostId, today));
  });

  it('hold one serialized event a line', async (t) => {
    const { log, dir } = await openLog(t);
    await log.append([commandEvent(1), commandEvent(2, { argv: ['a\nb', '\u009b31m'] })]);
    const text = await readFile(join(dir, 'events.log'), 'utf8');
    assert.equal(
      text,
      `${serialize(commandEvent(1))}\n${serialize(commandEvent(2, { argv: ['a\nb', '\u009b31m'] }))}\n`,
    );
    assert.equal(text.split('\n').length, 3);
    assert.match(text, /\\u009b31m/);
  });

  for (const umask of [0o077, 0o022, 0o000]) {
    it(`are 0640 in folders of 0750 with umask 0${umask.toString(8)}`, async (t) => {
      const before = process.umask(umask);
      t.after(() => process.umask(before));
      const { dir } = await openLog(t, { logDir: join(await scratch(t), 'data', 'log') });
      const mode = async (...path: string[]) => (await stat(join(dir, ...path))).mode & 0o777;
      assert.equal(await mode(hostId, today), 0o640);
      for (const folder of [
        '.',
        hostId,
        `${hostId}/sessions/default`,
        'upload/sessions/default',
        'playbacks',
      ]) {
        assert.equal(await mode(folder), 0o750, folder);
      }
    });
  }

  it('follow the UTC day of the append while events keep coming, and the link never dangles', async (t) => {
    let nowMs = Date.UTC(2026, 0, 2, 23, 59, 59, 900);
    const { log, dir } = await openLog(t, { now: () => nowMs, durability: 'written' });
    let watching = true;
    let seen = 0;
    const watcher = (async () => {
      for (; watching; seen++) await stat(join(dir, 'events.log')); // follows the link: rejects when it dangles
    })();
    const appends: Promise<void>[] = [];
    for (let n = 0; n < 500; n++) {
      if (n % 100 === 99) nowMs += n === 199 ? 100 : 1; // midnight in the middle, other ticks around it
      appends.push(log.append([commandEvent(n)]));
      if (n % 10 === 0) await appends[n];
    }
    await Promise.all(appends);
    watching = false;
    await watcher;
    assert.ok(seen > 10);
    const files = (await readdir(join(dir, hostId))).filter((name) => name.endsWith('.log')).sort();
    assert.deepEqual(files, [today, '2026-01-03.00:00:00.log']);
    assert.equal(await readlink(join(dir, 'events.log')), join(dir, hostId, '2026-01-03.00:00:00.log'));
    assert.deepEqual(
      (await collect(log)).map((event) => event.ei),
      Array.from({ length: 500 }, (_, n) => n),
    );
    assert.deepEqual(
      (await collect(log, { order: 'desc', limit: 400 })).map((event) => event.ei),
      Array.from({ length: 400 }, (_, n) => 499 - n),
    );
  });

  it('are deleted when their day ended longer ago than the retention, the newest never', async (t) => {
    const day = 24 * 3600 * 1000;
    let nowMs = noon;
    const options = { now: () => nowMs, retentionMs: 2 * day };
    const { log, dir } = await openLog(t, options);
    const days = async () =>
      (await readdir(join(dir, hostId))).flatMap((name) => /^\d{4}-(\d\d-\d\d)/.exec(name)?.[1] ?? []).sort();
    for (let n = 0; n < 4; n++, nowMs += day) await log.append([commandEvent(n)]);
    assert.deepEqual(await days(), ['01-03', '01-04', '01-05'], 'at a new day');
    await log.close();
    nowMs += 10 * day;
    await openLog(t, { ...options, logDir: dir, secondary: true });
    assert.equal((await days()).length, 4, 'not by a process beside the daemon');
    await openLog(t, { ...options, logDir: dir });
    assert.deepEqual(await days(), ['01-16'], 'at the start');
  });

  it('do not go back to an older day when the clock is set back', async (t) => {
    let nowMs = noon;
    const { log, dir } = await openLog(t, { now: () => nowMs });
    await log.append([commandEvent(1)]);
    nowMs -= 48 * 3600 * 1000;
    await log.append([commandEvent(2)]);
    await log.close();
    const { log: again } = await openLog(t, { logDir: dir, now: () => nowMs });
    await again.append([commandEvent(3)]);
    const lines = (await readFile(join(dir, hostId, today), 'utf8')).split('\n');
    assert.equal(lines.length, 4);
    assert.equal(await readlink(join(dir, 'events.log')), join(dir, hostId, today));
  });

  it('replace a link that an earlier version or a crash left behind', async (t) => {
    const { log, dir } = await openLog(t);
    await log.close();
    const { symlink } = await import('node:fs/promises');
    await rm(join(dir, 'events.log'));
    await symlink('/nowhere', join(dir, 'events.log'));
    await symlink('/nowhere', join(dir, `events.log.next-${process.pid}`));
    await openLog(t, { logDir: dir });
    assert.ok((await lstat(join(dir, 'events.log'))).isSymbolicLink());
    assert.equal(await readlink(join(dir, 'events.log')), join(dir, hostId, today));
  });
});

describe('a torn end of the log', () => {
  it('is moved aside when the log is opened, and nothing else is touched', async (t) => {
    const { log, dir } = await openLog(t);
    await log.append([commandEvent(1), commandEvent(2)]);
    await log.close();
    const path = join(dir, hostId, today);
    const whole = await readFile(path, 'utf8');
    const partial = serialize(commandEvent(3)).slice(0, 50);
    await appendFile(path, partial);
    const { log: again } = await openLog(t, { logDir: dir });
    assert.equal(again.torn.length, 1);
    assert.equal(await readFile(again.torn[0]?.savedAs ?? '', 'utf8'), partial);
    assert.equal(await readFile(path, 'utf8'), whole);
    await again.append([commandEvent(4)]);
    assert.deepEqual(
      (await collect(again)).map((event) => event.ei),
      [1, 2, 4],
    );
  });

  it('is found also where a power loss left NULs, with and without a newline behind them', async (t) => {
    const { log, dir } = await openLog(t);
    await log.append([commandEvent(1)]);
    await log.close();
    await appendFile(join(dir, hostId, today), `${'\0'.repeat(100_000)}\n${'\0'.repeat(5000)}`);
    const { log: again } = await openLog(t, { logDir: dir });
    assert.equal(again.torn[0]?.bytes, 105_001);
    assert.equal((await collect(again)).length, 1);
  });

  it('is found in the file of the day before, when the crash was yesterday', async (t) => {
    const { log, dir } = await openLog(t);
    await log.append([commandEvent(1)]);
    await log.close();
    await appendFile(join(dir, hostId, today), '{"half');
    const { log: again } = await openLog(t, { logDir: dir, now: () => noon + 24 * 3600 * 1000 });
    assert.equal(again.torn.length, 1);
    assert.equal(again.torn[0]?.file, join(dir, hostId, today));
  });
});

describe('a second process beside the daemon', () => {
  it('appends to the same file, and every line of both is there once and whole', async (t) => {
    const dir = await scratch(t);
    const { log } = await openLog(t, { logDir: dir, now: Date.now });
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'endless-writer.fixture.ts'), dir, '0', 'secondary'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let theirs = 0;
    createInterface({ input: child.stdout }).on('line', (line) => {
      theirs = Number(line);
    });
    let ours = 0;
    for (; theirs < 500; ours++) await log.append([commandEvent(ours, { argv: ['ours'] })]);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    const sorted = (text: string) => collect(log, { text }).then((events) => events.map((event) => event.ei));
    assert.deepEqual(
      await sorted('ours'),
      Array.from({ length: ours }, (_, n) => n),
    );
    const found = await sorted('round-0-');
    assert.ok(found.length >= theirs);
    assert.deepEqual(
      found,
      Array.from({ length: found.length }, (_, n) => n),
    );
    assert.equal(log.stats.skippedLines, 0);
  });

  it('repairs nothing, and begins a new line behind a torn one', async (t) => {
    const { log, dir } = await openLog(t);
    await log.append([commandEvent(1)]);
    await appendFile(join(dir, hostId, today), '{"on its way');
    const { log: beside } = await openLog(t, { logDir: dir, secondary: true });
    assert.deepEqual(beside.torn, []);
    await beside.append([commandEvent(2)]);
    assert.deepEqual(
      (await collect(log)).map((event) => event.ei),
      [1, 2],
    );
    assert.match(await readFile(join(dir, 'events.log'), 'utf8'), /\n\{"on its way\n\{/);
  });

  it('makes the file and the link when it comes first', async (t) => {
    const { log, dir } = await openLog(t, { secondary: true });
    await log.append([commandEvent(1)]);
    assert.equal(await readlink(join(dir, 'events.log')), join(dir, hostId, today));
    assert.equal((await stat(join(dir, hostId, today))).mode & 0o777, 0o640);
  });
});

describe('a search', () => {
  it('counts and steps over lines it cannot read', async (t) => {
    const { log, dir } = await openLog(t);
    await log.append([commandEvent(1)]);
    await log.close();
    await appendFile(
      join(dir, hostId, today),
      `nonsense\n{"code":"T9999I"}\n${serialize(commandEvent(2))}\n`,
    );
    const { log: again } = await openLog(t, { logDir: dir });
    assert.equal((await collect(again)).length, 2);
    assert.equal(again.stats.skippedLines, 2);
  });

  it('reads lines longer than its block, forwards and backwards', async (t) => {
    const { log } = await openLog(t, { durability: 'written' });
    const long = 'x'.repeat(700_000);
    const events = Array.from({ length: 6 }, (_, n) =>
      commandEvent(n, { argv: n % 2 === 0 ? [long] : ['é'] }),
    );
    await log.append(events);
    assert.deepEqual(await collect(log), events);
    assert.deepEqual(await collect(log, { order: 'desc' }), events.reverse());
  });

  it('of an empty log finds nothing', async (t) => {
    const { log } = await openLog(t);
    assert.deepEqual(await collect(log, { order: 'desc' }), []);
  });
});

describe('a writer under stress', () => {
  it('holds every acknowledged event once and whole after kill -9 in the middle of appending', async (t) => {
    const dir = await scratch(t);
    for (let round = 0; round < 3; round++) {
      const acknowledged = await writeUntilKilled(dir, round);
      const { log } = await openLog(t, { logDir: dir, now: Date.now });
      const found = (await collect(log, { text: `round-${round}-` })).map((event) => event.ei);
      assert.ok(acknowledged > 0, 'the child had no time to acknowledge anything');
      // In order, once each, up to the last acknowledged at least; a few more may have reached the disk.
      assert.deepEqual(
        found,
        Array.from({ length: found.length }, (_, n) => n),
      );
      assert.ok(found.length >= acknowledged, `${acknowledged} acknowledged, ${found.length} found`);
      assert.equal(log.stats.skippedLines, 0);
      await log.close();
    }
  });

  it('refuses more than it may hold, and goes on when it was written', async (t) => {
    const { log } = await openLog(t, { maxQueuedBytes: 10_000 });
    const results = await Promise.allSettled(
      Array.from({ length: 100 }, (_, n) => log.append([commandEvent(n)])),
    );
    const refused = results.filter((result) => result.status === 'rejected');
    assert.ok(refused.length > 0 && refused.length < 100);
    assert.ok(refused.every((result) => result.reason.code === 'audit.queue_full'));
    assert.equal(log.stats.rejectedEvents, refused.length);
    await log.append([commandEvent(1000)]);
    assert.equal((await collect(log)).length, 101 - refused.length);
  });

  it('is seen by tail -f through the link', async (t) => {
    const { log, dir } = await openLog(t);
    const tail = spawn('tail', ['-n', '+1', '-f', join(dir, 'events.log')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => tail.kill());
    const lines: string[] = [];
    createInterface({ input: tail.stdout }).on('line', (line) => lines.push(line));
    for (let n = 0; n < 5; n++) await log.append([commandEvent(n)]);
    await until('all lines came', () => lines.length === 5);
    assert.equal(lines[4], serialize(commandEvent(4)));
  });
});

/** Runs a child that appends and prints the count of acknowledged events; kills it after some of them. */
async function writeUntilKilled(dir: string, round: number): Promise<number> {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'endless-writer.fixture.ts'), dir, String(round)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let acknowledged = 0;
  createInterface({ input: child.stdout }).on('line', (line) => {
    acknowledged = Number(line);
    if (acknowledged > 100 * (round + 1)) child.kill('SIGKILL');
  });
  await new Promise((resolve) => child.once('close', resolve));
  return acknowledged;
}
