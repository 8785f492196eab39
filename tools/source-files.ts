// The TypeScript sources of the product: what is shipped, without tests.
import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const notShipped = /\.(test|contract|fixture)\.ts$/;

/** Sorted by path; `text` is the file's. */
export function sourceFiles(pattern: string): { path: string; text: string }[] {
  return globSync(pattern, { cwd: root })
    .filter((path) => !notShipped.test(path))
    .sort()
    .map((path) => ({ path, text: readFileSync(resolve(root, path), 'utf8') }));
}
