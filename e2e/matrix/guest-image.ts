/** What a guest boots into: its programs are compiled here, statically, and packed with the kernel package's. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { Architecture } from '../../tools/debian-archive.ts';
import { type InitramfsEntry, initramfs } from './initramfs.ts';
import { busybox } from './kernels.ts';

const runFile = promisify(execFile);
const repository = resolve(import.meta.dirname, '../..');
const sources = join(import.meta.dirname, 'guest');
const wire = join(repository, 'packages/kernel/bpf');

/** Source files and libraries of each program. */
const programs: Record<string, { sources: readonly string[]; libraries: readonly string[] }> = {
  driver: { sources: ['driver.c', 'control.c'], libraries: [] },
  session: { sources: ['session.c'], libraries: ['-lpthread'] },
};

/** The files a session's stages expect below /matrix/work. */
const workFiles: InitramfsEntry[] = [
  ...['plain', 'relative', 'data/inner', 'threaded', 'second', 'compat', 'ringed', 'moved'],
  ...['background', 'bystander'],
].map((name) => ({ path: `matrix/work/${name}`, content: `${name}\n` }));

/** Builds the initramfs and resolves to its path. */
export async function guestImage(architecture: Architecture): Promise<string> {
  const out = join(repository, '.build/matrix', architecture);
  await mkdir(out, { recursive: true });
  const entries: InitramfsEntry[] = [
    { path: 'init', content: await readFile(join(sources, 'init.sh')), mode: 0o755 },
    { path: 'bin/busybox', content: await readFile(await busybox(architecture)), mode: 0o755 },
    ...workFiles,
    { path: 'matrix/work/greet.sh', content: '#!/bin/busybox sh\nexit 7\n', mode: 0o755 },
    { path: 'matrix/work/garbage', content: 'neither a program nor a script\n', mode: 0o755 },
  ];
  for (const [name, program] of Object.entries(programs)) {
    const path = join(out, name);
    await compile(path, program);
    entries.push({ path: `matrix/${name}`, content: await readFile(path), mode: 0o755 });
  }
  const recorder = join(repository, 'packages/kernel/build/recorder');
  if (!existsSync(recorder)) throw new Error(`${recorder} is missing: run \`make build\` first`);
  entries.push({ path: 'matrix/recorder', content: await readFile(recorder), mode: 0o755 });
  const image = join(out, 'initramfs.cpio');
  await writeFile(image, initramfs(entries, ['proc', 'sys', 'dev', 'tmp', 'run']));
  return image;
}

async function compile(output: string, program: (typeof programs)[string]): Promise<void> {
  const files = program.sources.map((name) => join(sources, name));
  const flags = ['-O2', '-g0', '-static', '-std=gnu11', '-D_GNU_SOURCE', '-Wall', '-I', wire, '-I', sources];
  await runFile('cc', [...flags, '-o', output, ...files, ...program.libraries]);
}
