/**
 * The shelves of ARCHITECTURE.md: runs dependency-cruiser over the packages and holds it to having read every
 * source file. A cruise that saw nothing (no parser, a moved folder) finds no violation either.
 */
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import process from 'node:process';

const repository = resolve(import.meta.dirname, '..');

export interface Shelves {
  /** `rule: from → to`, sorted. */
  readonly violations: readonly string[];
  /** Source files that the cruise did not reach, or of which it read no import though they have one. */
  readonly unread: readonly string[];
  readonly modules: number;
}

interface Cruise {
  readonly modules: readonly { source: string; dependencies: readonly unknown[] }[];
  readonly summary: {
    readonly violations: readonly { rule: { name: string }; from: string; to: string }[];
  };
}

/** `root` is a checkout, or a copy of one. */
export function readShelves(root: string): Shelves {
  const depcruise = realpathSync(resolve(repository, 'node_modules/.bin/depcruise'));
  const ran = spawnSync(
    process.execPath,
    [depcruise, '--config', '.dependency-cruiser.mjs', '--output-type', 'json', 'packages'],
    { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20 },
  );
  if (ran.error !== undefined) throw ran.error;
  if (!ran.stdout.startsWith('{')) throw new Error(`dependency-cruiser said no JSON:\n${ran.stderr}`);
  const cruise = JSON.parse(ran.stdout) as Cruise;
  const read = new Map(cruise.modules.map((module) => [module.source, module.dependencies.length]));
  const sources = globSync('packages/*/{src,tools}/**/*.ts', { cwd: root }).sort();
  // Without its parser dependency-cruiser lists TypeScript files and reads nothing of them.
  const unread = (source: string) =>
    (read.get(source) ?? 0) === 0 && /^(import|export)\b[^;=]* from '/m.test(text(root, source));
  return {
    violations: cruise.summary.violations.map((v) => `${v.rule.name}: ${v.from} → ${v.to}`).sort(),
    unread: sources.filter((source) => !read.has(source) || unread(source)),
    modules: sources.filter((source) => read.has(source)).length,
  };
}

const text = (root: string, path: string) => readFileSync(resolve(root, path), 'utf8');

if (import.meta.main) {
  const { violations, unread, modules } = readShelves(repository);
  for (const violation of violations) console.error(violation);
  for (const file of unread) console.error(`not read: ${file}`);
  if (modules === 0) console.error('no module was read');
  if (violations.length + unread.length > 0 || modules === 0) process.exit(1);
  console.log(`${modules} modules, no violation`);
}
