/** The kernels of the matrix: Debian's cloud kernels of three suites, as plain packages. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Architecture, Unavailable, unpackedPackages } from '../../tools/debian-archive.ts';

export interface Cell {
  /** The kernel line, e.g. `5.10`. */
  readonly kernel: string;
  readonly architecture: Architecture;
  readonly suites: readonly string[];
}

const suitesOf: Record<string, readonly string[]> = {
  '5.10': ['debian bullseye', 'debian-security bullseye-security'],
  '6.1': ['debian bookworm', 'debian-security bookworm-security'],
  '6.12': ['debian trixie', 'debian-security trixie-security'],
};

export function cells(architecture: Architecture): Cell[] {
  return Object.entries(suitesOf).map(([kernel, suites]) => ({ kernel, architecture, suites }));
}

export interface GuestKernel {
  readonly image: string;
  /** As `uname -r` in the guest will say. */
  readonly release: string;
}

export async function kernelOf(cell: Cell): Promise<GuestKernel> {
  const root = await unpackedPackages({
    name: `linux-${cell.kernel}`,
    architecture: cell.architecture,
    suites: cell.suites,
    packages: [{ newestOf: `linux-image-cloud-${cell.architecture}` }],
  });
  const image = (await readdir(join(root, 'boot'))).find((name) => name.startsWith('vmlinuz-'));
  if (image === undefined) throw new Unavailable(`no kernel image in ${root}/boot`);
  const release = image.slice('vmlinuz-'.length);
  if (!release.startsWith(`${cell.kernel}.`))
    throw new Unavailable(`${cell.suites[0]} carries ${release} now`);
  return { image: join(root, 'boot', image), release };
}

/** One static program with a shell, mount, ip and the like. */
export async function busybox(architecture: Architecture): Promise<string> {
  const root = await unpackedPackages({
    name: 'busybox',
    architecture,
    suites: ['debian bookworm'],
    packages: ['busybox-static'],
  });
  return join(root, 'bin/busybox');
}
