// The npm packages our code runs on, as the lock says and as patches/ changed them, without what nobody runs there:
// sources, type declarations, documentation, tests, build scripts. Licences stay.
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type Architecture, nodeNames, repository, run, workFolder } from './places.ts';

interface Locked {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly link?: boolean;
  readonly integrity?: string;
}

/** At the top of a package only: deeper, a folder of such a name may be code. */
const unusedFolders =
  /^(tests?|__tests__|examples?|docs?|benchmarks?|\.github|\.vscode|\.nyc_output|coverage|typings)$/;
const unusedFiles = /\.(d\.[cm]?ts|[cm]?ts|map|md|markdown|flow|tsbuildinfo|o|c|cc|cpp|h|gyp|gypi)$/i;
const unusedNames =
  /^(\.(?!$).*|.*\.yml|tsconfig.*\.json|.*eslint.*|Makefile|yarn\.lock|package-lock\.json)$/;
const licence = /^(licen[cs]e|notice|copying|authors)/i;
/** Folders that only make what the package runs. */
const buildOnly: Readonly<Record<string, readonly string[]>> = {
  zod: ['src'],
  qrcode: ['helper', 'bin'],
  yaml: ['browser'],
  '@fastify/ajv-compiler': ['types'],
};
const manifestKeys = [
  'name',
  'version',
  'license',
  'type',
  'main',
  'module',
  'exports',
  'imports',
  'dependencies',
  'sideEffects',
] as const;

/** Names and versions at the top of node_modules. */
export type Modules = ReadonlyMap<string, string>;

/**
 * Links them below `into` from a copy that is made once for a lock. `wanted`: what our code imports; each must be
 * among them.
 */
export function copyModules(
  into: string,
  wanted: ReadonlySet<string>,
  machines: readonly Architecture[],
): Modules {
  const { packages } = JSON.parse(readFileSync(join(repository, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>;
  };
  // Optional ones are other platforms' binaries and accelerators that want a compiler; see nativeParts().
  const paths = Object.entries(packages)
    .filter(([path, { dev, optional, link }]) => path.includes('node_modules/') && !dev && !optional && !link)
    .map(([path]) => path);
  // What no lock names is no package, but a word of some text.
  const locked = new Set(Object.keys(packages).map(nameOf));
  const copied = new Set(paths.map(nameOf));
  const missing = [...wanted].filter(
    (name) => locked.has(name) && !copied.has(name) && !name.startsWith('@sallyport'),
  );
  if (missing.length > 0) throw new Error(`imported, but no production dependency: ${missing.join(', ')}`);
  run('cp', ['-al', `${preparedModules(packages, paths, machines)}/.`, into]);
  const top = paths.filter((path) => path === `node_modules/${nameOf(path)}`);
  return new Map(top.map((path) => [nameOf(path), packages[path]?.version ?? '']));
}

function preparedModules(
  packages: Readonly<Record<string, Locked>>,
  paths: readonly string[],
  machines: readonly Architecture[],
): string {
  const inputs = [
    'package-lock.json',
    ...globSync('patches/*', { cwd: repository }),
    'tools/package/modules.ts',
  ];
  const hash = createHash('sha256').update(machines.join());
  for (const file of inputs.sort()) hash.update(readFileSync(join(repository, file)));
  const folder = join(workFolder, `modules-${hash.digest('hex').slice(0, 12)}`);
  if (existsSync(folder)) return folder;
  const work = `${folder}.making`;
  run('rm', ['-rf', work]);
  for (const path of paths) {
    // A workspace's own, where the top has another version for the tools.
    const target = path.replace(/^packages\//, 'node_modules/@sallyport/');
    copyModule(join(repository, path), join(work, target), nameOf(path));
  }
  for (const machine of machines) nativeParts(work, machine, packages);
  run('mv', [work, folder]);
  return folder;
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
}

function copyModule(from: string, to: string, name: string): void {
  const skipped = buildOnly[name] ?? [];
  for (const entry of readdirSync(from, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    const inside = file.slice(from.length + 1);
    const [top = ''] = inside.split('/');
    if (inside.includes('node_modules/') || skipped.includes(top)) continue;
    if (!licence.test(entry.name)) {
      if (inside !== entry.name && unusedFolders.test(top)) continue;
      if (unusedFiles.test(entry.name) || unusedNames.test(entry.name)) continue;
    }
    const target = join(to, inside);
    mkdirSync(dirname(target), { recursive: true });
    if (inside === 'package.json') writeFileSync(target, manifest(file));
    else copyFileSync(file, target);
  }
}

/** Without scripts: installing must run nothing. Without optional dependencies: npm would fetch them. */
function manifest(file: string): string {
  const all = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  const kept = manifestKeys.filter((key) => all[key] !== undefined).map((key) => [key, all[key]]);
  return `${JSON.stringify(Object.fromEntries(kept), null, 2)}\n`;
}

/**
 * argon2 comes as a file a platform in a package of its own, and npm installs only the building machine's. It looks
 * for the file beside itself first, so there they go.
 */
function nativeParts(into: string, machine: Architecture, locked: Readonly<Record<string, Locked>>): void {
  const platform = `linux-${nodeNames[machine]}-gnu`;
  const name = `@node-rs/argon2-${platform}`;
  const { version, integrity } = locked[`node_modules/${name}`] ?? {};
  if (version === undefined || integrity === undefined)
    throw new Error(`${name} is not in the lock with a hash`);
  const installed = join(repository, 'node_modules', name);
  const folder = existsSync(installed) ? installed : packed(`${name}@${version}`, integrity);
  const file = `argon2.${platform}.node`;
  copyFileSync(join(folder, file), join(into, 'node_modules/@node-rs/argon2', file));
}

/** A package of another platform, from the registry and with the hash that is known of it. */
export function packed(spec: string, integrity: string): string {
  const folder = resolve(workFolder, 'npm', spec.replaceAll('/', '+'));
  if (existsSync(folder)) return folder;
  const work = `${folder}.fetching`;
  run('rm', ['-rf', work]);
  mkdirSync(work, { recursive: true });
  run('npm', ['pack', '--silent', '--pack-destination', work, spec]);
  const [archive = ''] = globSync('*.tgz', { cwd: work });
  const found = `sha512-${run('openssl', ['dgst', '-sha512', '-r', join(work, archive)]).split(' ')[0]}`;
  if (Buffer.from(found.slice(7), 'hex').toString('base64') !== integrity.replace(/^sha512-/, '')) {
    throw new Error(`${spec}: what the registry served does not have the hash that is known of it`);
  }
  run('tar', ['-xzf', join(work, archive), '-C', work, '--strip-components=1']);
  run('rm', ['-f', join(work, archive)]);
  run('mv', [work, folder]);
  return folder;
}
