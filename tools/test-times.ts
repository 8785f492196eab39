/**
 * How long each test file took in its last run. Begun longest first, files end together: with the longest begun last,
 * one core works and the others wait for it. A hint and no more: without the record every order is right.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

export class TestTimes {
  readonly #path: string;
  readonly #ms: Map<string, number>;

  constructor(path: string) {
    this.#path = path;
    this.#ms = read(path);
  }

  /** Those never seen come before all others: they may take any time. */
  longestFirst(files: readonly string[]): string[] {
    const ms = (file: string) => this.#ms.get(file) ?? Number.POSITIVE_INFINITY;
    return files.toSorted((a, b) => (ms(a) === ms(b) ? (a < b ? -1 : 1) : ms(b) - ms(a)));
  }

  note(file: string, ms: number): void {
    this.#ms.set(file, Math.round(ms));
  }

  /** In one step: another run may read it meanwhile. */
  save(): void {
    mkdirSync(dirname(this.#path), { recursive: true });
    const mine = `${this.#path}.${process.pid}`;
    const sorted = [...this.#ms].sort(([a], [b]) => (a < b ? -1 : 1));
    writeFileSync(mine, `${JSON.stringify(Object.fromEntries(sorted), null, 1)}\n`);
    renameSync(mine, this.#path);
  }
}

function read(path: string): Map<string, number> {
  try {
    const parsed: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof parsed !== 'object' || parsed === null) return new Map();
    return new Map(Object.entries(parsed).filter(([, ms]) => typeof ms === 'number'));
  } catch {
    // None yet, or cut off: the next run writes it anew.
    return new Map();
  }
}
