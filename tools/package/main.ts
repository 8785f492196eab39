/**
 * `make package`: everything a release consists of, in dist/<version>/.
 *
 *   sallyport_<version>_<arch>.deb                    Debian, Ubuntu
 *   teleport-v<version>-linux-<arch>-bin.tar.gz       any Linux with glibc 2.34: unpack, ./install
 *   sallyport-<version>.tgz                           npm install -g, both architectures
 *   release.pub, SHA256SUMS and its signatures
 *
 * The same commit and key give the same bytes. A package whose content did not change is not made again.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { buildTar, layOutNpm, layOutTar } from './archive.ts';
import { buildDeb, layOutDeb } from './deb.ts';
import type { Modules } from './modules.ts';
import {
  type Architecture,
  architectures,
  repository,
  say,
  settle,
  sourceDate,
  workFolder,
} from './places.ts';
import { releaseKey, signFolder } from './signature.ts';
import { writeTree } from './tree.ts';

const formats = ['deb', 'tar', 'npm'] as const;

const { values: flags } = parseArgs({
  options: {
    version: { type: 'string', default: productVersion() },
    arch: { type: 'string', default: architectures.join(',') },
    format: { type: 'string', default: formats.join(',') },
    out: { type: 'string', default: join(repository, 'dist') },
    quick: { type: 'boolean', default: false },
  },
});

const { version, quick } = flags;
if (!/^\d+\.\d+\.\d+([.~+-][A-Za-z0-9.~+-]*)?$/.test(version)) throw new Error(`${version} is no version`);
const machines = architectures.filter((name) => flags.arch.split(',').includes(name));
const wanted = formats.filter((name) => flags.format.split(',').includes(name));
const out = resolve(flags.out, version);
const work = join(workFolder, `${version}${quick ? '-quick' : ''}`);
const epoch = sourceDate();
const key = releaseKey();

mkdirSync(out, { recursive: true });
for (const machine of machines) {
  if (!wanted.includes('deb') && !wanted.includes('tar')) break;
  const tree = await stagedTree(machine, [machine], true);
  const options = { tree: tree.folder, machine, version, epoch, quick };
  if (wanted.includes('deb')) {
    make(
      `sallyport_${version}_${machine}.deb`,
      (stage) => layOutDeb(stage, options),
      (stage, file) => buildDeb(stage, file, options),
    );
  }
  if (wanted.includes('tar')) {
    make(
      `teleport-v${version}-linux-${machine}-bin.tar.gz`,
      (stage) => layOutTar(stage, options),
      (stage, file) => buildTar(stage, 'teleport', file, quick),
    );
  }
}
if (wanted.includes('npm')) {
  const tree = await stagedTree('npm', machines, false);
  make(
    `sallyport-${version}.tgz`,
    (stage) => layOutNpm(stage, tree.folder, version, tree.modules, epoch),
    (stage, file) => buildTar(stage, 'package', file, quick),
  );
}
writeFileSync(join(out, 'release.pub'), key.publicKey);
signFolder(out, key);
say(`${out}: signed by ${createHash('sha256').update(key.publicKey).digest('hex').slice(0, 16)}`);

async function stagedTree(name: string, of: readonly Architecture[], selfContained: boolean) {
  const folder = join(work, `tree-${name}`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const modules: Modules = await writeTree(folder, {
    version,
    machines: of,
    selfContained,
    publicKey: key.publicKey,
  });
  settle(folder, epoch);
  return { folder, modules };
}

/** Lays out, and builds unless the file that is there was built from the same. */
function make(
  name: string,
  layOut: (stage: string) => void,
  build: (stage: string, file: string) => void,
): void {
  const stage = join(work, `stage-${name}`);
  const file = join(out, name);
  const stamp = join(work, `${name}.stamp`);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  layOut(stage);
  const digest = digestOf(stage);
  const state = () => `${digest} ${file} ${existsSync(file) ? statSync(file).size : 'missing'}`;
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== state() || !existsSync(file)) {
    build(stage, file);
    writeFileSync(stamp, state());
  }
  rmSync(stage, { recursive: true, force: true });
  process.stdout.write(`${(statSync(file).size / 2 ** 20).toFixed(1).padStart(7)} MiB  ${file}\n`);
}

/** Names, modes and content, and the one time all of it bears. */
function digestOf(folder: string): string {
  const hash = createHash('sha256').update(String(epoch));
  const entries = readdirSync(folder, { withFileTypes: true, recursive: true });
  for (const path of entries.map((entry) => join(entry.parentPath, entry.name)).sort()) {
    hash.update(`${path.slice(folder.length)} ${lstatSync(path).mode}\0`);
    if (lstatSync(path).isSymbolicLink()) hash.update(readlinkSync(path));
    else if (lstatSync(path).isFile()) hash.update(readFileSync(path));
  }
  return hash.digest('hex');
}

function productVersion(): string {
  return String(JSON.parse(readFileSync(join(repository, 'packages/teleport/package.json'), 'utf8')).version);
}
