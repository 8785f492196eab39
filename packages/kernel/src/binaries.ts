// Where `make -C packages/kernel` puts the native programs.
import { fileURLToPath } from 'node:url';

const build = new URL('../build/', import.meta.url);

export const recorderBinary = fileURLToPath(new URL('recorder', build));
export const launcherBinary = fileURLToPath(new URL('launcher', build));
/** Tiny programs that each cause one kernel event; for tests. */
export const testProgramDir = fileURLToPath(new URL('test-programs/', build));
