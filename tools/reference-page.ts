// Generated pages: written, or with --check compared with what is there.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');

/** `path` from the root of the repository. With --check a stale page is named and the process will exit 1. */
export function writePage(path: string, text: string): void {
  const file = resolve(root, path);
  const whole = text.endsWith('\n') ? text : `${text}\n`;
  if (!process.argv.includes('--check')) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, whole);
    return;
  }
  if (current(file) === whole) return;
  console.error(`${path} is stale: run \`make docs\` and commit it.`);
  process.exitCode = 1;
}

function current(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
