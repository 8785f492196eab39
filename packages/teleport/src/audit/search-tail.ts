// Where the log ends, and what was appended after a place in it: how whoever writes to the log through somebody
// else finds out, after a crash, what of it arrived.
import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { linesForward } from './line-reader.ts';
import { LogLayout } from './log-layout.ts';

/** A place between two lines. Names of day files sort by day. */
export interface LogPlace {
  readonly file: string;
  readonly offset: number;
}

export function isBefore(a: LogPlace, b: LogPlace): boolean {
  return a.file === b.file ? a.offset < b.offset : a.file < b.file;
}

export class LogTail {
  readonly #layout: LogLayout;

  constructor(logDir: string, hostId: string) {
    this.#layout = new LogLayout(logDir, hostId);
  }

  /** Behind everything that was appended by now. */
  async end(): Promise<LogPlace> {
    const newest = (await this.#layout.dayFiles()).at(-1);
    return newest === undefined
      ? { file: '', offset: 0 }
      : { file: basename(newest), offset: (await stat(newest)).size };
  }

  async *linesAfter(place: LogPlace): AsyncGenerator<string[]> {
    const first = join(this.#layout.hostDir, place.file);
    for (const path of await this.#layout.dayFiles()) {
      if (path >= first) yield* linesForward(path, path === first ? place.offset : 0);
    }
  }
}
