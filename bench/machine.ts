/** The machine of a run, in a line: what a reader needs to compare. */
import { cpus, release, totalmem } from 'node:os';
import process from 'node:process';

/** What compares: the rest of a release's name is its vendor's. */
const kernel = /^\d+\.\d+/.exec(release())?.[0] ?? release();
const memory = Math.round(totalmem() / 2 ** 30);

export const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}, ${memory} GiB, Linux ${kernel}, Node ${process.version}`;
