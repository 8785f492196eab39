/** The fast loop: types, lint, shelves, generated files, unit tests, unused code; each step with its time. Stops at the first failure. */
import { spawnSync } from 'node:child_process';
import process from 'node:process';

const steps: readonly (readonly [name: string, command: string, ...args: string[]])[] = [
  ['types', 'node_modules/.bin/tsc', '-b'],
  ['lint', 'node_modules/.bin/biome', 'check', '--error-on-warnings', '.'],
  ['shelves', 'node', 'tools/shelves.ts'],
  ['pages', 'node', 'tools/gen-pages.ts', '--check'],
  ['wire', 'make', '--no-print-directory', '-s', '-C', 'packages/kernel', 'check-wire'],
  ['unit', 'node', 'tools/run-tests.ts', 'unit'],
  ['unused', 'node_modules/.bin/knip', '--no-progress'],
];

for (const [name, command, ...args] of steps) {
  const started = Date.now();
  const result = spawnSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (result.status !== 0) {
    process.stdout.write(`${result.stdout}${result.stderr}`);
    console.error(`check: ${name} failed after ${seconds} s: ${command} ${args.join(' ')}`);
    process.exit(1);
  }
  console.log(`check: ${name.padEnd(8)} ok ${seconds.padStart(6)} s`);
}
