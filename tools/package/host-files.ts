// What stands outside of the tree on a host: commands, manuals, completions, the unit of systemd.
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeManuals } from './manual.ts';
import { run } from './places.ts';
import { commands } from './program.ts';
import { commandScript } from './tree.ts';

export interface HostFiles {
  /** The tree as staged, with JavaScript that any machine's Node can run. */
  readonly tree: string;
  /** Where the tree will be. */
  readonly root: string;
  /** `/usr` or `/usr/local`. */
  readonly prefix: string;
  readonly version: string;
}

/** Where each shell looks, below the prefix. */
const completions = {
  bash: (name: string) => `share/bash-completion/completions/${name}`,
  zsh: (name: string) => `share/zsh/vendor-completions/_${name}`,
  fish: (name: string) => `share/fish/vendor_completions.d/${name}.fish`,
};

/** Writes below `into`, which stands for the prefix. */
export function writeHostFiles(into: string, { tree, root, version }: HostFiles): void {
  for (const name of commands) {
    const path = put(join(into, 'bin', name), commandScript(root));
    chmodSync(path, 0o755);
    for (const [shell, place] of Object.entries(completions)) {
      put(join(into, place(name)), command(tree, name, ['completion', shell]));
    }
  }
  for (const section of ['man1', 'man8']) mkdirSync(join(into, 'share/man', section), { recursive: true });
  writeManuals(join(into, 'share/man'), version);
}

/** As `teleport install systemd` prints it. */
export function unitFile({ tree, prefix }: HostFiles): string {
  return command(tree, 'teleport', ['install', 'systemd', '--teleport-path', `${prefix}/bin/teleport`]);
}

function command(tree: string, name: string, args: readonly string[]): string {
  return run(process.execPath, [
    join(tree, `node_modules/@sallyport/teleport/src/cli/${name}/main.js`),
    ...args,
  ]);
}

function put(path: string, text: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}
