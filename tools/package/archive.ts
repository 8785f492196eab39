// Archives that are no Debian package: the tar.gz with ./install, and the tarball for npm.
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { linkTree, type PackageOptions } from './deb.ts';
import { writeHostFiles } from './host-files.ts';
import type { Modules } from './modules.ts';
import { run, settle } from './places.ts';

/**
 * `teleport/` with ./install, which puts it below /usr/local. As the documented tar.gz: unpack, `cd teleport`,
 * `sudo ./install`.
 */
export function layOutTar(stage: string, { tree, version, epoch }: PackageOptions): void {
  const folder = join(stage, 'teleport');
  mkdirSync(folder, { recursive: true });
  linkTree(tree, join(folder, 'lib'));
  writeHostFiles(folder, {
    tree,
    root: `/usr/local/lib/sallyport/${version}`,
    prefix: '/usr/local',
    version,
  });
  writeFileSync(join(folder, 'VERSION'), `${version}\n`);
  copyFileSync(join(import.meta.dirname, 'install'), join(folder, 'install'));
  chmodSync(join(folder, 'install'), 0o755);
  settle(stage, epoch);
}

/**
 * What `npm install -g` takes: every dependency inside (bundleDependencies), so that nothing is fetched and nothing
 * is compiled; the C programs of each architecture; no Node, since npm comes with one.
 */
export function layOutNpm(
  stage: string,
  tree: string,
  version: string,
  modules: Modules,
  epoch: number,
): void {
  const folder = join(stage, 'package');
  mkdirSync(stage, { recursive: true });
  linkTree(tree, folder);
  const ours = ['contracts', 'kernel', 'teleport'].map((name) => [`@sallyport/${name}`, version] as const);
  const dependencies = Object.fromEntries([...modules, ...ours].sort(([a], [b]) => (a < b ? -1 : 1)));
  const manifest = {
    name: 'sallyport',
    version,
    description: 'SSH access with sessions recorded by the kernel',
    license: 'Apache-2.0',
    type: 'module',
    engines: { node: '>=24' },
    os: ['linux'],
    cpu: ['x64', 'arm64'],
    bin: Object.fromEntries(
      ['teleport', 'tctl', 'tsh'].map((name) => [name, `node_modules/@sallyport/teleport/bin/${name}`]),
    ),
    dependencies,
    bundleDependencies: Object.keys(dependencies),
  };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  settle(stage, epoch);
}

/** The one entry of `stage`. Sorted, owned by root, of one time; gzip writes neither name nor time. */
export function buildTar(stage: string, entry: string, file: string, quick: boolean): void {
  const tar = [
    '--sort=name',
    '--owner=root:0',
    '--group=root:0',
    '--numeric-owner',
    '--format=ustar',
    '-cf',
    '-',
  ];
  const level = quick ? '-1' : '-6';
  run(
    'bash',
    [
      '-c',
      'set -o pipefail; tar "$@" | gzip -n "$LEVEL" >"$FILE.tmp" && mv "$FILE.tmp" "$FILE"',
      'tar',
      ...tar,
      '-C',
      stage,
      entry,
    ],
    {
      env: { LEVEL: level, FILE: file },
    },
  );
}
