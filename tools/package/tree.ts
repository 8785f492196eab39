// What is installed, as a tree: our code, the modules it runs on, the C programs and (but for npm) Node.
//
//   node/bin/node                                   the deb and the tar.gz only
//   node_modules/<module>/
//   node_modules/@sallyport/{contracts,kernel,teleport}/src/
//   node_modules/@sallyport/kernel/build/linux-<x64|arm64>/{recorder,launcher,…}
//   node_modules/@sallyport/teleport/bin/           npm: the commands; else links to those of the host
//   node_modules/@sallyport/teleport/release.pub    whose signatures this release believes
import { copyFileSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { copyModules, type Modules } from './modules.ts';
import { copyNode, nativePrograms } from './native.ts';
import { type Architecture, nodeNames, repository } from './places.ts';
import { commands, writeProgram } from './program.ts';

export interface TreeOptions {
  readonly version: string;
  readonly machines: readonly Architecture[];
  /** Brings its own Node; stands in `<prefix>/lib/sallyport/<version>`, its commands in `<prefix>/bin`. */
  readonly selfContained: boolean;
  /** PEM. */
  readonly publicKey: string;
}

export async function writeTree(into: string, options: TreeOptions): Promise<Modules> {
  const { version, machines, selfContained, publicKey } = options;
  const { imports } = writeProgram(into, version);
  const modules = copyModules(into, imports, machines);
  const teleport = join(into, 'node_modules/@sallyport/teleport');
  for (const machine of machines) {
    const programs = await nativePrograms(machine);
    const target = join(into, `node_modules/@sallyport/kernel/build/linux-${nodeNames[machine]}`);
    mkdirSync(target, { recursive: true });
    for (const name of readdirSync(programs)) copyFileSync(join(programs, name), join(target, name));
    if (selfContained) copyNode(machine, join(into, 'node/bin/node'));
  }
  writeFileSync(join(teleport, 'release.pub'), publicKey);
  mkdirSync(join(teleport, 'bin'), { recursive: true });
  for (const name of commands) {
    const path = join(teleport, 'bin', name);
    // Programs print their own path, for ssh to run: the host's, not this one.
    if (selfContained) symlinkSync(`../../../../../../../bin/${name}`, path);
    else writeFileSync(path, commandScript(), { mode: 0o755 });
  }
  for (const name of ['LICENSE', 'CHANGELOG.md']) copyFileSync(join(repository, name), join(into, name));
  return modules;
}

/** The shell script behind a command. Without a root it looks for its own, and for the Node of the PATH. */
export function commandScript(root?: string): string {
  const folder = join(repository, 'tools/package');
  const find =
    root === undefined
      ? readFileSync(join(folder, 'find-root.sh'), 'utf8')
      : `root=${root}\nnode=$root/node/bin/node\n`;
  return readFileSync(join(folder, 'command.sh'), 'utf8').replace('#FIND-ROOT\n', () => find);
}
