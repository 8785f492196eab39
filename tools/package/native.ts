// What is not JavaScript, for a machine: the C programs with the BPF object inside, and Node.
import {
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { unpackedPackages } from '../debian-archive.ts';
import { packed } from './modules.ts';
import { type Architecture, isOwn, nodeNames, repository, run, say, triples, workFolder } from './places.ts';

/** sha512 of the npm packages `node-linux-*`, as the registry lists it; of the version tools/setup.sh names. */
const nodePackages: Readonly<Record<Architecture, string>> = {
  amd64: 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
  arm64: 'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
};

/** Headers and libraries of the other machine, unpacked and not installed: this machine stays as it is. */
const sysrootPackages = [
  // To try programs by emulation: what Node asks for.
  'libgcc-s1',
  'libstdc++6',
  'libaudit1',
  'libbpf-dev',
  'libc6',
  'libc6-dev',
  'libcap-ng0',
  'libelf-dev',
  'libpam0g',
  'libpam0g-dev',
  'linux-libc-dev',
  'zlib1g-dev',
];

/** The folder with the stripped programs. */
export async function nativePrograms(machine: Architecture): Promise<string> {
  const build = join(workFolder, `kernel-${machine}`);
  const own = isOwn(machine);
  const sysroot = own ? '' : await sysrootOf(machine);
  const compiler = own ? 'gcc' : `${triples[machine]}-gcc --sysroot=${sysroot}`;
  mkdirSync(build, { recursive: true });
  say(`C programs for ${machine}`);
  run('make', [
    '--no-print-directory',
    '-s',
    '-C',
    'packages/kernel',
    'products',
    `BUILD=${relative(join(repository, 'packages/kernel'), build)}`,
    `CC=${compiler}`,
    `SYSROOT=${sysroot}`,
  ]);
  const stripped = join(build, 'stripped');
  mkdirSync(stripped, { recursive: true });
  const programs = readdirSync(build).filter((name) => isProgram(join(build, name)));
  for (const old of readdirSync(stripped)) if (!programs.includes(old)) unlinkSync(join(stripped, old));
  // The build id is a hash of what stripping takes away too, debug information among it: out with it.
  for (const name of programs) {
    const strip = own ? 'strip' : `${triples[machine]}-strip`;
    run(strip, ['-s', '-R', '.note.gnu.build-id', '-o', join(stripped, name), join(build, name)]);
  }
  return stripped;
}

function isProgram(path: string): boolean {
  const { mode } = lstatSync(path);
  return lstatSync(path).isFile() && (mode & 0o111) !== 0 && !path.endsWith('.tmp');
}

export async function sysrootOf(machine: Architecture): Promise<string> {
  const root = await unpackedPackages({
    name: 'sysroot',
    architecture: machine,
    suites: ['debian bookworm'],
    packages: sysrootPackages,
  });
  for (const entry of readdirSync(root, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    const target = entry.isSymbolicLink() ? readlinkSync(path) : '';
    if (!target.startsWith('/')) continue;
    // Else libpam.so would be this machine's.
    unlinkSync(path);
    symlinkSync(relative(dirname(path), join(root, target)), path);
  }
  return root;
}

/** Puts `node` there, without its symbols: a sixth of its size. */
export function copyNode(machine: Architecture, target: string): void {
  const version = nodeVersion();
  const own = join(repository, '.toolchain/node');
  const folder =
    isOwn(machine) && existsSync(own)
      ? own
      : packed(`node-linux-${nodeNames[machine]}@${version}`, nodePackages[machine]);
  const stripped = join(workFolder, `node-${version}-${machine}`);
  if (!existsSync(stripped)) {
    const strip = isOwn(machine) ? 'strip' : `${triples[machine]}-strip`;
    run(strip, ['-s', '-o', `${stripped}.tmp`, join(folder, 'bin/node')]);
    run('mv', [`${stripped}.tmp`, stripped]);
  }
  mkdirSync(dirname(target), { recursive: true });
  linkSync(stripped, target);
  copyFileSync(join(folder, 'LICENSE'), join(dirname(target), 'LICENSE'));
}

export function nodeVersion(): string {
  const script = readFileSync(join(repository, 'tools/setup.sh'), 'utf8');
  const version = /^NODE_VERSION=(\S+)$/m.exec(script)?.[1];
  if (version === undefined) throw new Error('tools/setup.sh does not say NODE_VERSION=…');
  return version;
}
