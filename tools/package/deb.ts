// The Debian package. dpkg-deb makes it; what stands here is what goes in.
//
//   /usr/lib/sallyport/<version>/   the tree. A folder a version: see deb/preinst
//   /usr/bin/{teleport,tctl,tsh}
//   /lib/systemd/system/teleport.service, /etc/default/teleport (the one conffile)
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { unitFile, writeHostFiles } from './host-files.ts';
import { type Architecture, repository, run, settle } from './places.ts';

export interface PackageOptions {
  /** The staged tree. */
  readonly tree: string;
  readonly machine: Architecture;
  readonly version: string;
  /** Seconds since 1970. */
  readonly epoch: number;
  /** For tests: several times the size, in no time. */
  readonly quick: boolean;
}

const scripts = ['preinst', 'postinst', 'prerm', 'postrm'] as const;

/** Lays the package out in `stage`. */
export function layOutDeb(stage: string, { tree, machine, version, epoch }: PackageOptions): void {
  const root = `/usr/lib/sallyport/${version}`;
  linkTree(tree, join(stage, root));
  const host = { tree, root, prefix: '/usr', version };
  writeHostFiles(join(stage, 'usr'), host);
  put(stage, 'lib/systemd/system/teleport.service', unitFile(host));
  put(stage, 'etc/default/teleport', defaults);
  put(stage, 'usr/share/doc/sallyport/copyright', copyright());
  put(
    stage,
    'usr/share/doc/sallyport/changelog.gz',
    gzipSync(readFileSync(join(repository, 'CHANGELOG.md'))),
  );
  const control = join(stage, 'DEBIAN');
  mkdirSync(control);
  put(control, 'conffiles', '/etc/default/teleport\n');
  for (const name of scripts) {
    const text = readFileSync(join(import.meta.dirname, 'deb', name), 'utf8').replaceAll(
      '@VERSION@',
      version,
    );
    writeFileSync(join(control, name), text, { mode: 0o755 });
  }
  put(control, 'md5sums', run('sh', ['-c', sums], { cwd: stage }));
  put(control, 'control', controlFile(version, machine, kibibytes(stage)));
  settle(stage, epoch);
}

export function buildDeb(stage: string, file: string, { epoch, quick }: PackageOptions): void {
  const compression = quick ? ['-Znone'] : ['-Zxz', '-z1'];
  const env = { SOURCE_DATE_EPOCH: String(epoch) };
  run('dpkg-deb', ['--root-owner-group', ...compression, '--build', stage, `${file}.tmp`], { env });
  run('mv', [`${file}.tmp`, file]);
}

const sums = `find . -type f -not -path './DEBIAN/*' -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 md5sum`;

// libstdc++ and glibc 2.34: what Node and a launcher built on Debian 12 ask for. Held by a test.
function controlFile(version: string, machine: Architecture, size: number): string {
  return `Package: sallyport
Version: ${version}
Architecture: ${machine}
Maintainer: The Sallyport authors <sallyport@localhost>
Installed-Size: ${size}
Depends: libc6 (>= 2.34), libgcc-s1, libpam0g, libstdc++6
Recommends: ca-certificates
Conflicts: teleport, teleport-ent
Section: net
Priority: optional
Description: SSH access with sessions recorded by the kernel
 The daemon (teleport) that runs the auth, proxy and node services of a cluster,
 its administration (tctl) and its client (tsh). Sessions are recorded twice:
 what the terminal showed, and which commands, files and connections the kernel
 saw. Brings the Node.js it runs on.
`;
}

function put(folder: string, path: string, content: string | Buffer): void {
  const file = join(folder, path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, content);
}

/** As dpkg-gencontrol counts: a file in whole KiB, everything else one. */
function kibibytes(folder: string): number {
  let sum = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (path.includes('/DEBIAN/')) continue;
    sum += entry.isFile() ? Math.ceil(lstatSync(path).size / 1024) : 1;
  }
  return sum;
}

const defaults = `# Environment of the teleport service, one NAME=value a line: HTTPS_PROXY, NODE_EXTRA_CA_CERTS and their like.
# Settings of the services themselves belong into /etc/teleport.yaml.
`;

function copyright(): string {
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Sallyport

Files: *
Copyright: The Sallyport authors
License: Apache-2.0
 On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.
Comment: The BPF programs inside of the recorder are GPL-2.0-only OR BSD-2-Clause.
 Node.js and each module below /usr/lib/sallyport come with their own licences,
 which stand beside them.
`;
}

/** The same files in another place: links, not copies of 126 MiB. */
export function linkTree(tree: string, to: string): void {
  mkdirSync(to, { recursive: true });
  run('cp', ['-al', '--no-target-directory', tree, to]);
}
