// Turns output into print lines: bytes that come close together share one. Pure; the clock is the caller's.
import { encodePrintLine } from '@sallyport/contracts/recording/lines.ts';

/** One line never stands for more: a player seeks by lines. */
const maxPrintBytes = 64 * 1024;

export interface PrintGathererOptions {
  /** Start of the session, wall clock ms. */
  readonly startMs: number;
  readonly nextCi: number;
  readonly nextEi: () => number;
  readonly coalesceMs: number;
}

interface Gathered {
  readonly ei: number;
  readonly ci: number;
  readonly offset: number;
  readonly atMs: number;
  bytes: number;
}

export class PrintGatherer {
  readonly #options: PrintGathererOptions;
  #nextCi: number;
  #gathered: Gathered | undefined;

  constructor(options: PrintGathererOptions) {
    this.#options = options;
    this.#nextCi = options.nextCi;
  }

  /** Returns the line before, when these bytes begin a new one. */
  add(offset: number, bytes: number, atMs: number): string | undefined {
    const gathered = this.#gathered;
    if (gathered !== undefined && this.#joins(gathered, bytes, atMs)) {
      gathered.bytes += bytes;
      return undefined;
    }
    const line = this.take();
    // The `ei` is taken with the first byte: what happens afterwards gets a later one.
    this.#gathered = { ei: this.#options.nextEi(), ci: this.#nextCi++, offset, atMs, bytes };
    return line;
  }

  /** The line being gathered, which then is done. */
  take(): string | undefined {
    const gathered = this.#gathered;
    if (gathered === undefined) return undefined;
    this.#gathered = undefined;
    const { atMs, ...rest } = gathered;
    return encodePrintLine({
      event: 'print',
      time: new Date(atMs).toISOString(),
      ms: Math.max(0, Math.round(atMs - this.#options.startMs)),
      ...rest,
    });
  }

  #joins(gathered: Gathered, bytes: number, atMs: number): boolean {
    const age = atMs - gathered.atMs;
    return age >= 0 && age <= this.#options.coalesceMs && gathered.bytes + bytes <= maxPrintBytes;
  }
}
