// Where `make -C packages/kernel` puts the native programs.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const build = new URL('../build/', import.meta.url);
/** Packages have a folder a platform; a checkout has what was built in it. */
const packaged = new URL(`linux-${process.arch}/`, build);
const programs = existsSync(packaged) ? packaged : build;

export const recorderBinary = fileURLToPath(new URL('recorder', programs));
export const launcherBinary = fileURLToPath(new URL('launcher', programs));
/** Tiny programs that each cause one kernel event; for tests. */
export const testProgramDir = fileURLToPath(new URL('test-programs/', build));
