/**
 * Runs the named groups of tests and ends with the line `N passed, N failed, N skipped`.
 *
 * A group is a set of files; each file runs in a process of its own, the longest of the last run first. What took
 * longest and every skip with its reason are printed. Where this machine could have run a skipped test, the skip counts
 * as a failure when CI is set: a suite must not go green by not running.
 *
 * A file that failed is run once more, alone, when its group is through. If it passes then, it is told as
 * unsteady, with its first failure above, and does not fail the run: a machine shared with others stalls for
 * seconds. More than `maxUnsteadyFiles` such files are no stall, and fail.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { relative, resolve } from 'node:path';
import process from 'node:process';
import { run } from 'node:test';
import { pathToFileURL } from 'node:url';
import { TestTimes } from './test-times.ts';

interface Group {
  readonly patterns: readonly string[];
  readonly exclude?: RegExp;
  /** How many files at a time. Kernel and whole-cluster tests share one machine: one at a time. */
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly nodeFlags?: readonly string[];
}

/**
 * What our own commands do, too: a small test file is over before 16 MiB are full, so most of its garbage is never
 * collected, and nobody reads zod's 64 languages. Not for tests that measure memory.
 */
const shortLived = [
  '--min-semi-space-size=16',
  `--import=data:text/javascript,${encodeURIComponent(
    `import { leaveOutLocales } from '${pathToFileURL(resolve('packages/teleport/src/cli/light-zod.ts'))}'; leaveOutLocales();`,
  )}`,
];

/**
 * What a test leaves open need not be waited for: a process that has had nothing but timers for 5 s is through, and so
 * is any a minute after its tests (this hook runs before theirs, which stop whole servers). Not by run()'s `forceExit`:
 * that ends a process before the last of its outcomes were read; in Node 24.21 up to a tenth of a large file's tests
 * were never heard of.
 */
const through = 'run-tests: all tests are through';
const leaveSoon = [
  `--import=data:text/javascript,${encodeURIComponent(
    `import { after } from 'node:test';
    after(() => {
      console.log('${through}');
      let [seconds, idle] = [0, 0];
      setInterval(() => {
        const idles = process.getActiveResourcesInfo().every((what) => /^(Timeout|PipeWrap|TTYWrap)$/.test(what));
        idle = idles ? idle + 1 : 0;
        seconds += 1;
        if (idle >= 5 || seconds >= 60) process.exit();
      }, 1_000).unref();
    });`,
  )}`,
];

const groups: Record<string, Group> = {
  unit: {
    patterns: ['packages/*/src/**/*.test.ts', 'tools/**/*.test.ts'],
    exclude: /\.(root|interop|browser)\.test\.ts$/,
    concurrency: cpus().length,
    timeoutMs: 180_000,
    nodeFlags: shortLived,
  },
  // Against whole programs (OpenSSH's, a browser, our own commands and tools) and under load: too slow for the fast loop.
  interop: {
    patterns: ['packages/*/src/**/*.{interop,browser}.test.ts', 'tools/**/*.interop.test.ts'],
    concurrency: cpus().length,
    timeoutMs: 180_000,
  },
  root: { patterns: ['packages/*/src/**/*.root.test.ts'], concurrency: 1, timeoutMs: 420_000 },
  e2e: { patterns: ['e2e/**/*.e2e.ts'], concurrency: 1, timeoutMs: 420_000 },
  matrix: { patterns: ['e2e/**/*.matrix.ts'], concurrency: 1, timeoutMs: 900_000 },
};

const maxUnsteadyFiles = 3;
const times = new TestTimes('.build/test-times.json');

// A third of the processor's time of a small test file went into taking the types off what it imports and compiling it,
// the same modules again for every file. Node looks at the content before it takes anything from here.
process.env['NODE_COMPILE_CACHE'] ??= resolve('.build/compile-cache');

interface Outcome {
  readonly name: string;
  readonly file: string;
  readonly ms: number;
}

/** CAP_SYS_RESOURCE is bit 24 of the effective set (capability.h). */
function hasSysResource(): boolean {
  const effective = /^CapEff:\s+([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> 24n) & 1n) === 1n;
}

/** What a test may do without, by the words of its reason, and whether this host really lacks it. */
const excuses: readonly (readonly [reason: RegExp, lacks: boolean])[] = [
  [/root/, process.getuid?.() !== 0],
  [/BTF/, !existsSync('/sys/kernel/btf/vmlinux')],
  [/cgroup/, !readFileSync('/proc/filesystems', 'utf8').includes('cgroup2')],
  [/audit/, !existsSync('/proc/self/loginuid')],
  [/CAP_SYS_RESOURCE/, !hasSysResource()],
  [/wtmp/, !existsSync('/var/log/wtmp')],
  [/chromium/i, !existsSync('/usr/bin/chromium')],
  [/amd64/, process.arch !== 'x64'],
];

const justified = (reason: string) => excuses.some(([words, lacks]) => lacks && words.test(reason));

function describeError(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  return (
    (cause.stack ?? cause.message)
      .split('\n')
      .filter((line) => !line.includes('node:internal'))
      // A command line or a diff can be of any length; what is wrong stands at its beginning.
      .slice(0, 60)
      .map((line) => (line.length > 500 ? `${line.slice(0, 500)}… (${line.length} characters)` : line))
      .join('\n      ')
  );
}

/** What became of the tests, by file. A suite is a heading, not a test. */
class Tally {
  readonly passed: Outcome[] = [];
  readonly failed: Outcome[] = [];
  readonly skipped: (Outcome & { reason: string })[] = [];
  readonly unsteady: Outcome[] = [];

  add(other: Tally, keep: (outcome: Outcome) => boolean = () => true): void {
    this.passed.push(...other.passed.filter(keep));
    this.failed.push(...other.failed.filter(keep));
    this.skipped.push(...other.skipped.filter(keep));
    this.unsteady.push(...other.unsteady.filter(keep));
  }
}

async function runGroup(name: string, group: Group, total: Tally): Promise<void> {
  const files = group.patterns.flatMap((pattern) => globSync(pattern)).filter((f) => !group.exclude?.test(f));
  const started = Date.now();
  if (files.length === 0) {
    console.log(`== ${name}: no files`);
    return;
  }
  console.log(`== ${name}: ${files.length} files`);
  const first = await runFiles(times.longestFirst(files), group);
  const again = new Set(first.failed.map(({ file }) => file));
  const steadied = new Set<string>();
  if (again.size + total.unsteady.length <= maxUnsteadyFiles) {
    for (const file of again) {
      console.log(`   once more, alone: ${file}`);
      const second = await runFiles([file], { ...group, concurrency: 1 });
      if (second.failed.length > 0 || second.passed.length === 0) continue;
      steadied.add(file);
      total.add(second);
    }
  }
  total.add(first, ({ file }) => !steadied.has(file));
  total.unsteady.push(...first.failed.filter(({ file }) => steadied.has(file)));
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(`   ${first.passed.length} passed, ${first.failed.length} failed in ${seconds} s`);
}

async function runFiles(files: readonly string[], group: Group): Promise<Tally> {
  const tally = new Tally();
  const output = new Map<string, string[]>();
  const stream = run({
    files: [...files],
    concurrency: group.concurrency,
    timeout: group.timeoutMs,
    execArgv: [...leaveSoon, ...(group.nodeFlags ?? [])],
  });
  // A file is a test only when it fails as a whole.
  stream.on('test:pass', (data) => {
    if (data.details.type === 'suite') return;
    const outcome = { name: data.name, file: where(data.file), ms: data.details.duration_ms };
    if (data.skip === undefined && data.todo === undefined) {
      tally.passed.push(outcome);
      return;
    }
    const reason = String(data.skip ?? data.todo);
    tally.skipped.push({ ...outcome, reason });
    console.log(`   skip ${outcome.file}: ${outcome.name}: ${reason}`);
  });
  stream.on('test:fail', (data) => {
    if (data.details.type === 'suite') return;
    const outcome = { name: data.name, file: where(data.file), ms: data.details.duration_ms };
    tally.failed.push(outcome);
    console.log(`   FAIL ${outcome.file}: ${outcome.name}\n      ${describeError(data.details.error)}`);
    const lines = output.get(data.file ?? '') ?? [];
    if (lines.length > 0) console.log(`      its last output:\n      ${lines.slice(-15).join('\n      ')}`);
  });
  const silent = new Set(files.map((file) => resolve(file)));
  let told = 0;
  stream.on('test:summary', (data) => {
    if (data.file === undefined) return;
    times.note(where(data.file), data.duration_ms);
    silent.delete(data.file);
    told += data.counts.tests;
  });
  stream.on('test:stderr', (data) => keepTail(output, data.file, data.message));
  stream.on('test:stdout', (data) => {
    // Of a process that had to be ended there is no summary.
    if (data.message.includes(through)) silent.delete(resolve(data.file ?? ''));
    else keepTail(output, data.file, data.message);
  });
  for await (const _ of stream);
  for (const file of silent)
    tally.failed.push(unheard(where(file), 'ended without saying what became of its tests'));
  const heard = tally.passed.length + tally.failed.length + tally.skipped.length;
  if (heard < told)
    tally.failed.push(unheard('?', `${told} tests were run, of ${heard} it was heard what became`));
  return tally;
}

/** A process that ends before all of its output was read must not make a suite green by being silent. */
function unheard(file: string, name: string): Outcome {
  console.log(`   FAIL ${file}: ${name}`);
  return { name, file, ms: 0 };
}

function keepTail(output: Map<string, string[]>, file: string | undefined, message: string): void {
  const lines = output.get(file ?? '') ?? [];
  lines.push(...message.trimEnd().split('\n'));
  output.set(file ?? '', lines.slice(-40));
}

function where(file: string | undefined): string {
  return file === undefined ? '?' : relative(process.cwd(), file);
}

const names = process.argv.slice(2);
const unknown = names.filter((name) => groups[name] === undefined);
if (names.length === 0 || unknown.length > 0) {
  console.error(
    `usage: run-tests.ts ${Object.keys(groups).join('|')} …${unknown.length > 0 ? ` (no group ${unknown.join(', ')})` : ''}`,
  );
  process.exit(2);
}

const tally = new Tally();
for (const name of names) {
  const group = groups[name];
  if (group !== undefined) await runGroup(name, group, tally);
}
times.save();
const slow = tally.passed.filter(({ ms }) => ms > 2_000).sort((a, b) => b.ms - a.ms);
if (slow.length > 0) console.log('== slowest');
for (const { name, file, ms } of slow.slice(0, 12)) {
  console.log(`   ${(ms / 1000).toFixed(1).padStart(6)} s  ${file}: ${name}`);
}
for (const { file, name } of tally.unsteady) {
  console.log(`== unsteady: failed, then passed when run alone: ${file}: ${name}`);
}
const unjustified = tally.skipped.filter(({ reason }) => !justified(reason));
if (tally.skipped.length > 0) console.log(`== skipped: ${tally.skipped.length}`);
for (const { file, name, reason } of unjustified) {
  console.log(`   this host lacks nothing of what this skip names: ${file}: ${name}: ${reason}`);
}
const failSkips = unjustified.length > 0 && process.env['CI'] !== undefined;
const ran = tally.passed.length + tally.failed.length;
if (ran === 0) console.log('   no test ran');
console.log(`${tally.passed.length} passed, ${tally.failed.length} failed, ${tally.skipped.length} skipped`);
process.exit(tally.failed.length > 0 || failSkips || ran === 0 ? 1 : 0);
