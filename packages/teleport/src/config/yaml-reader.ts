// One YAML document being read: where things stand in it, what was wrong, what deserves a warning.
import { AppError } from '@sallyport/contracts/errors.ts';
import { isAlias, isMap, isScalar, LineCounter, type Node, type Pair, parseDocument } from 'yaml';
import type { ConfigWarning } from './config.ts';

/** A configuration is some hundred lines; whatever is larger than this is something else. */
const maxBytes = 1024 * 1024;
/** Enough to correct a file in one go, few enough to read. */
const maxProblems = 20;

export interface Position {
  readonly line: number;
  readonly column: number;
}

interface Problem extends Position {
  readonly message: string;
}

export class YamlReader {
  readonly source: string;
  readonly warnings: ConfigWarning[] = [];
  /** Dotted path of every key that was given a value, and where. */
  readonly given = new Map<string, Position>();
  readonly #problems: Problem[] = [];
  readonly #lines = new LineCounter();
  readonly #document: ReturnType<typeof parseDocument>;

  constructor(text: string, source: string) {
    this.source = source;
    if (Buffer.byteLength(text) > maxBytes) {
      throw new AppError('bad_input', 'config.too_large', `${source}: larger than 1 MiB.`);
    }
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
    for (const error of this.#document.errors) {
      this.#problems.push({ ...this.#at(error.pos[0]), message: error.message });
    }
  }

  get root(): Node | undefined {
    return this.resolve(this.#document.contents ?? undefined);
  }

  /** Follows aliases; null, an absent value and an empty one (`key:`) are all `undefined`. */
  resolve(node: unknown): Node | undefined {
    const target = isAlias(node) ? node.resolve(this.#document) : node;
    if (isScalar(target)) return target.value === null ? undefined : target;
    return isMap(target) ? target : (target as Node | undefined);
  }

  position(node: unknown): Position {
    const range = typeof node === 'object' && node !== null && 'range' in node ? node.range : undefined;
    return this.#at(Array.isArray(range) && typeof range[0] === 'number' ? range[0] : 0);
  }

  keyPosition(pair: Pair): Position {
    return this.position(pair.key);
  }

  problem(where: Position, message: string): void {
    this.#problems.push({ ...where, message });
  }

  /** Throws AppError `config.invalid` with everything that was wrong, in the order of the file. */
  finish(): void {
    if (this.#problems.length === 0) return;
    const sorted = [...this.#problems].sort((a, b) => a.line - b.line || a.column - b.column);
    const lines = sorted
      .slice(0, maxProblems)
      .map((p) => `${this.source}:${p.line}:${p.column}: ${p.message}`);
    if (sorted.length > maxProblems) lines.push(`… and ${sorted.length - maxProblems} more.`);
    throw new AppError('bad_input', 'config.invalid', lines.join('\n'), {
      hint: 'Every key is described in docs/reference/config.md; `teleport configure` prints a complete file.',
    });
  }

  #at(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }
}
