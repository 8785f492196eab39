/**
 * The fast loop: types, lint, shelves, generated files, unit tests, unused code; each step with its time. Two lanes beside
 * each other: the tests often wait for a disk or a peer, and the compilers never do. The first failure ends both.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import process from 'node:process';

type Step = readonly [name: string, command: string, ...args: string[]];

const lanes: readonly (readonly Step[])[] = [
  [
    ['types', 'node_modules/.bin/tsc', '-b'],
    ['lint', 'node_modules/.bin/biome', 'check', '--error-on-warnings', '.'],
    ['shelves', 'node', 'tools/shelves.ts'],
    ['pages', 'node', 'tools/gen-pages.ts', '--check'],
    ['wire', 'make', '--no-print-directory', '-s', '-C', 'packages/kernel', 'check-wire'],
    ['unused', 'node_modules/.bin/knip', '--no-progress', '--cache', '--cache-location', '.build/knip'],
  ],
  [['unit', 'node', 'tools/run-tests.ts', 'unit']],
];

process.env['NODE_COMPILE_CACHE'] ??= resolve('.build/compile-cache');

const running = new Set<ChildProcess>();
let failed = false;

async function runStep([name, command, ...args]: Step): Promise<void> {
  const started = Date.now();
  // A process group of its own: the tests have processes, and those have more.
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  running.add(child);
  const said: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => said.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => said.push(bytes));
  const status = await new Promise<number | string>((done) => {
    child.once('error', (error) => done(error.message));
    child.once('close', (code, signal) => done(code ?? signal ?? 'gone'));
  });
  running.delete(child);
  // Ended by us, for the failure that has been told.
  if (failed) return;
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (status === 0) return console.log(`check: ${name.padEnd(8)} ok ${seconds.padStart(6)} s`);
  failed = true;
  process.exitCode = 1;
  endAll();
  process.stdout.write(Buffer.concat(said));
  console.error(`check: ${name} failed after ${seconds} s: ${command} ${args.join(' ')} (${status})`);
}

function endAll(): void {
  for (const { pid } of running) {
    try {
      if (pid !== undefined) process.kill(-pid, 'SIGTERM');
    } catch {
      // Gone by itself.
    }
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    failed = true;
    endAll();
    process.exitCode = 130;
  });
}

await Promise.all(
  lanes.map(async (steps) => {
    for (const step of steps) if (!failed) await runStep(step);
  }),
);
