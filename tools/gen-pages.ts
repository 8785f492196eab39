/** Writes every generated reference page anew; with --check says which are stale and exits 1. */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import process from 'node:process';

const generators = globSync('tools/gen-*-page.ts').sort();
const results = generators.map((generator) =>
  spawnSync(process.execPath, [generator, ...process.argv.slice(2)], { stdio: 'inherit' }),
);
process.exit(results.some((result) => result.status !== 0) ? 1 : 0);
