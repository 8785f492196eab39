// Applies patches/<package>@<version>.patch to node_modules, after `npm ci`. Zero-context hunks have nothing around
// them to find their place by, so each file's sha256 is checked before and after: a file that is neither pristine
// nor already patched stops the build. Running it again changes nothing.
//
//   node tools/apply-patches.ts [patch folder] [node_modules folder]
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

interface FilePatch {
  readonly path: string;
  readonly before: string;
  readonly after: string;
  readonly hunks: readonly Hunk[];
}

interface Hunk {
  /** 1-based line in the old file; with nothing removed, the line to add after (unified diff). */
  readonly start: number;
  readonly removed: readonly string[];
  readonly added: readonly string[];
}

const root = resolve(import.meta.dirname, '..');

function fail(message: string): never {
  process.stderr.write(`apply-patches: ${message}\n`);
  process.exit(1);
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

function parseHunk(lines: readonly string[]): Hunk {
  const start = Number(/^@@ -(\d+)/.exec(lines[0] ?? '')?.[1]);
  const body = lines.slice(1).filter((line) => line !== '');
  const odd = body.find((line) => !/^[-+]/.test(line));
  if (odd !== undefined) fail(`a hunk has context, which we do not allow: ${odd}`);
  const pick = (sign: string) => body.filter((line) => line.startsWith(sign)).map((line) => line.slice(1));
  return { start, removed: pick('-'), added: pick('+') };
}

function parsePatch(text: string): FilePatch[] {
  return text
    .split(/^(?=# file: )/m)
    .slice(1)
    .map((section) => {
      const header = /^# file: (\S+) ([0-9a-f]{64}) ([0-9a-f]{64})\n/.exec(section);
      if (!header) fail('a "# file: path sha256 sha256" line is malformed');
      const [, path = '', before = '', after = ''] = header;
      const hunks = section
        .split(/^(?=@@ )/m)
        .slice(1)
        .map((hunk) => parseHunk(hunk.split('\n')));
      return { path, before, after, hunks };
    });
}

function patched(text: string, hunks: readonly Hunk[]): string {
  const lines = text.split('\n');
  // From the last to the first, so that line numbers of the old file stay true.
  for (const hunk of [...hunks].reverse()) {
    const at = hunk.removed.length > 0 ? hunk.start - 1 : hunk.start;
    lines.splice(at, hunk.removed.length, ...hunk.added);
  }
  return lines.join('\n');
}

function applyTo(file: string, patch: FilePatch): boolean {
  const old = readFileSync(file, 'utf8');
  if (sha256(old) === patch.after) return false;
  if (sha256(old) !== patch.before) fail(`${file} is neither as published nor as patched; run npm ci`);
  const result = patched(old, patch.hunks);
  if (sha256(result) !== patch.after) fail(`${file}: the patch does not give what its header promises`);
  // Written beside and renamed: a crash here must not leave half a file. npm may hard-link into its cache, too.
  writeFileSync(`${file}.patched`, result);
  renameSync(`${file}.patched`, file);
  return true;
}

const patchFolder = process.argv[2] ?? join(root, 'patches');
const modules = process.argv[3] ?? join(root, 'node_modules');
for (const name of readdirSync(patchFolder).filter((entry) => entry.endsWith('.patch'))) {
  const parts = /^(.+)@([^@]+)\.patch$/.exec(name);
  if (!parts) fail(`${name}: the name must be <package>@<version>.patch`);
  const [, packageName = '', version = ''] = parts;
  const folder = join(modules, packageName.replace('+', '/'));
  const found: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version;
  if (found !== version)
    fail(`${packageName} is ${found}, the patch is for ${version}: port it, then rename it`);
  const files = parsePatch(readFileSync(join(patchFolder, name), 'utf8'));
  if (files.length === 0) fail(`${name} holds no file`);
  const changed = files.filter((file) => applyTo(join(folder, file.path), file)).length;
  process.stdout.write(
    `apply-patches: ${packageName}@${version}: ${changed} of ${files.length} files changed\n`,
  );
}
