import assert from 'node:assert/strict';
import {
  appendFileSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { readShelves } from './shelves.ts';

const repository = resolve(import.meta.dirname, '..');

/** Each a rule, the file that breaks it and the line that does. */
const planted = [
  [
    'tsh-and-tctl-never-reach-the-kernel',
    'cli/tsh/main.ts',
    "await import('@sallyport/kernel/binaries.ts');",
  ],
  ['shelf-of-auth', 'auth/auth.ts', "import '../ssh/session.ts';"],
  ['shelf-of-config', 'config/config.ts', "import type { AuditLog as A } from '../audit/audit-log.ts';"],
  ['shelf-of-audit', 'audit/audit-log.ts', "export * from '../recording/reader.ts';"],
  ['kernel-only-from-ssh-and-teleport-cli', 'audit/file-log.ts', "import '@sallyport/kernel/frames.ts';"],
  ['ssh2-only-from-ssh-transport', 'ssh/session.ts', "import 'ssh2';"],
  ['yaml-only-from-config', 'cli/output.ts', "import { parse as p } from 'yaml';"],
  ['contracts-see-no-node', '../../contracts/src/errors.ts', "import 'node:fs';"],
  ['shelf-of-contracts', '../../contracts/src/errors.ts', "import '@sallyport/kernel/frames.ts';"],
  ['no-circular', 'ca/wire.ts', "import './verify.ts';"],
] as const;

describe('the shelves', () => {
  let copy: string;

  before(() => {
    copy = mkdtempSync(join(tmpdir(), 'sallyport-shelves-'));
    copySources(copy);
    for (const [, file, line] of planted) {
      appendFileSync(join(copy, 'packages/teleport/src', file), `\n${line}\n`);
    }
  });
  after(() => rmSync(copy, { recursive: true, force: true }));

  test('every planted violation is caught, and every file was read', () => {
    const { violations, unread } = readShelves(copy);
    assert.deepEqual(unread, []);
    for (const [rule, file] of planted) {
      const from = relative('.', join('packages/teleport/src', file));
      const hit = violations.some((violation) => violation.startsWith(`${rule}: ${from} → `));
      assert.ok(hit, `${rule} in ${from} is among:\n${violations.join('\n')}`);
    }
  });

  test('a file that the parser cannot walk is an error, not a file without imports', () => {
    // `using` is the one statement that Node runs and the parser's walker does not know (swc 1.16).
    appendFileSync(join(copy, 'packages/kernel/src/spool.ts'), '\nexport function f() { using x = g(); }\n');
    assert.throws(() => readShelves(copy), /UsingDeclaration[\s\S]*spool\.ts/);
  });

  test('a cruise that finds nothing to read says so', () => {
    const empty = mkdtempSync(join(tmpdir(), 'sallyport-shelves-'));
    try {
      cpSync(join(repository, '.dependency-cruiser.mjs'), join(empty, '.dependency-cruiser.mjs'));
      mkdirSync(join(empty, 'packages'));
      assert.equal(readShelves(empty).modules, 0);
    } finally {
      rmSync(empty, { recursive: true, force: true });
    }
  });
});

/** The sources of all packages; node_modules as it is, but for our own packages, which lead to the copy. */
function copySources(to: string): void {
  cpSync(join(repository, '.dependency-cruiser.mjs'), join(to, '.dependency-cruiser.mjs'));
  cpSync(join(repository, 'package.json'), join(to, 'package.json'));
  for (const path of globSync('packages/*/{package.json,src,tools}', { cwd: repository })) {
    cpSync(join(repository, path), join(to, path), { recursive: true });
  }
  mkdirSync(join(to, 'node_modules/@sallyport'), { recursive: true });
  for (const name of readdirSync(join(repository, 'node_modules'))) {
    if (name.startsWith('.') || name === '@sallyport') continue;
    symlinkSync(join(repository, 'node_modules', name), join(to, 'node_modules', name));
  }
  for (const name of readdirSync(join(to, 'packages'))) {
    symlinkSync(join(to, 'packages', name), join(to, 'node_modules/@sallyport', name));
  }
}
