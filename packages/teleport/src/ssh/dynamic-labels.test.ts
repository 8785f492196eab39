import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DynamicLabels, maxValueBytes } from './dynamic-labels.ts';
import { eventually } from './host.fixture.ts';

const dir = mkdtempSync('/tmp/sallyport-labels-');
after(() => rmSync(dir, { recursive: true }));
const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** What the command's label is after its first run. */
async function once(command: readonly string[], timeoutMs = 5_000) {
  const labels = new DynamicLabels([{ name: 'l', command, periodMs: 60_000 }], { log, timeoutMs });
  try {
    await labels.first();
    const { values, unknown } = labels.now;
    return { value: values['l'], unknown: unknown.has('l') };
  } finally {
    await labels.close();
  }
}

test('the value is the first line, without blanks around and control characters in it', async () => {
  const known = (value: string) => ({ value, unknown: false });
  assert.deepEqual(await once(['uname', '-s']), known('Linux'));
  assert.deepEqual(await once(['printf', '  a\\tb\\033[31m \\nsecond\\n']), known('a b [31m'));
  assert.deepEqual(await once(['true']), known(''));
});

test('there is no shell, and nothing of the daemon’s environment', async () => {
  process.env['SALLYPORT_SECRET'] = 'x';
  assert.equal((await once(['echo', '$HOME', ';', '`id`', '*'])).value, '$HOME ; `id` *');
  assert.equal((await once(['sh', '-c', 'echo "<$SALLYPORT_SECRET>$(pwd)"'])).value, '<>/');
  delete process.env['SALLYPORT_SECRET'];
});

test('a value is at most 4 KiB of however much is printed', async () => {
  const { value, unknown } = await once(['sh', '-c', 'head -c 20000000 /dev/zero | tr "\\0" x']);
  assert.equal(value, 'x'.repeat(maxValueBytes));
  assert.equal(unknown, false);
});

test('a command that fails, is missing or takes too long leaves its label unknown, and says why', async () => {
  const unknown = (value: string) => ({ value, unknown: true });
  assert.deepEqual(await once(['sh', '-c', 'echo prod; exit 3']), unknown('error: exit status 3'));
  assert.deepEqual(await once(['/no/such/program']), unknown('error: no such program'));
  assert.deepEqual(await once(['/etc/passwd']), unknown('error: it cannot be run (EACCES)'));
  assert.deepEqual(await once(['sh', '-c', 'kill -9 $$']), unknown('error: ended by SIGKILL'));
  const pidFile = join(dir, 'pid');
  const slow = ['sh', '-c', `sleep 100 & echo $! >${pidFile}; echo early; wait`];
  assert.deepEqual(await once(slow, 300), unknown('error: timed out after 300 ms'));
  const pid = readFileSync(pidFile, 'utf8').trim();
  await eventually('what it started is gone, too', () => !isRunning(pid));
});

test('something that keeps the output open does not hold the value back', async () => {
  const { value } = await once(['sh', '-c', 'sleep 3 & echo here']);
  assert.equal(value, 'here');
});

test('a value is measured again every period, and changes are told', async () => {
  const path = join(dir, 'value');
  writeFileSync(path, 'one');
  const labels = new DynamicLabels([{ name: 'l', command: ['cat', path], periodMs: 50 }], {
    log,
    noticeMs: 1,
  });
  let told = 0;
  labels.onChange(() => {
    told += 1;
  });
  await labels.first();
  assert.equal(labels.now.values['l'], 'one');
  writeFileSync(path, 'two');
  await eventually('the new value', () => labels.now.values['l'] === 'two' && told > 0);
  rmSync(path);
  await eventually('no value', () => labels.now.unknown.has('l'));
  await labels.close();
});

test('before its first answer a label is unknown', async () => {
  const labels = new DynamicLabels([{ name: 'l', command: ['sleep', '9'], periodMs: 60_000 }], { log });
  assert.deepEqual([labels.now.values['l'], labels.now.unknown.has('l')], ['error: no answer yet', true]);
  await labels.close();
});

function isRunning(pid: string): boolean {
  const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'utf8') : ') Z';
  return !/\) Z/.test(stat);
}
