// Files and folders from one tree into another, as scp does it: links are followed, a failure is told with the name
// of its file and the rest goes on.
import { AppError } from '@sallyport/contracts/errors.ts';
import { copyFile, resumePoint } from './copy-file.ts';
import { type FileFacts, join, type Tree } from './tree.ts';

export interface CopyOptions {
  readonly recursive: boolean;
  readonly preserve: boolean;
  readonly resume: boolean;
  /** A file begins; what it returns is told the bytes that moved. */
  readonly begin: (path: string, size: number) => FileProgress;
  readonly failed: (path: string, error: AppError) => void;
}

export interface FileProgress {
  moved(bytes: number): void;
  end(): void;
}

export interface Side {
  readonly tree: Tree;
  readonly path: string;
  /** As it is shown: with the node in front. */
  readonly shown: string;
}

/** Deeper than paths go: a link that points at a folder above itself. */
const maxDepth = 256;

export class Copy {
  readonly #options: CopyOptions;

  constructor(options: CopyOptions) {
    this.#options = options;
  }

  /** `into`: the target is a folder that takes the source under its own name. Never rejects. */
  async run(from: Side, to: Side, into: boolean): Promise<void> {
    await this.#guarded(from.shown, async () => {
      const name = baseName(from.path);
      const facts = await from.tree.look(from.path);
      if (!facts) throw new AppError('not_found', 'tsh.no_file', 'No such file or directory');
      const target = into ? { ...to, path: join(to.path, name), shown: join(to.shown, name) } : to;
      await this.#any(from, target, facts, 0);
    });
  }

  async #any(from: Side, to: Side, facts: FileFacts, depth: number): Promise<void> {
    if (facts.kind === 'folder') await this.#folder(from, to, facts, depth);
    else if (facts.kind === 'file') await this.#file(from, to, facts);
    else throw new AppError('bad_input', 'tsh.not_a_file', 'Not a regular file');
  }

  async #folder(from: Side, to: Side, facts: FileFacts, depth: number): Promise<void> {
    if (!this.#options.recursive) throw new AppError('bad_input', 'tsh.is_folder', 'Is a directory (use -r)');
    if (depth > maxDepth) throw new AppError('limit', 'tsh.too_deep', 'Too many folders in each other');
    const there = await to.tree.look(to.path);
    if (there && there.kind !== 'folder')
      throw new AppError('conflict', 'tsh.not_a_folder', `${to.shown} is not a directory`);
    // Until it is filled it must be ours to write into.
    if (!there) await to.tree.makeFolder(to.path, facts.mode | 0o700);
    for (const name of await from.tree.names(from.path)) {
      const [inner, outer] = [under(from, name), under(to, name)];
      await this.#guarded(inner.shown, async () => {
        const found = await from.tree.look(inner.path);
        if (!found) throw new AppError('not_found', 'tsh.no_file', 'No such file or directory');
        await this.#any(inner, outer, found, depth + 1);
      });
    }
    if (this.#options.preserve) await to.tree.keep(to.path, facts);
    else if (!there && (facts.mode & 0o700) !== 0o700) await to.tree.keep(to.path, facts);
  }

  async #file(from: Side, to: Side, facts: FileFacts): Promise<void> {
    const pieceBytes = Math.min(from.tree.pieceBytes, to.tree.pieceBytes);
    const start = this.#options.resume ? await this.#resumesAt(to, facts, pieceBytes) : 0;
    const source = await from.tree.source(from.path);
    try {
      const sink = await to.tree.sink(to.path, facts.mode & 0o777);
      const progress = this.#options.begin(from.shown, facts.size);
      try {
        progress.moved(start);
        await copyFile({
          ...{ source, sink, facts, pieceBytes, from: start, preserve: this.#options.preserve },
          moved: (bytes) => progress.moved(bytes),
        });
      } finally {
        progress.end();
        await sink.close();
      }
    } finally {
      await source.close().catch(() => {});
    }
  }

  async #resumesAt(to: Side, facts: FileFacts, pieceBytes: number): Promise<number> {
    const there = await to.tree.look(to.path);
    if (there?.kind !== 'file') return 0;
    if (there.size > facts.size)
      throw new AppError(
        'conflict',
        'tsh.resume_larger',
        `${to.shown} is larger than what it would be resumed from`,
      );
    return resumePoint(there.size, pieceBytes);
  }

  async #guarded(shown: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      const error = AppError.from(thrown);
      // Without a connection each further file would only say the same.
      if (error.code === 'sftp.ended' || error.code === 'sftp.protocol') throw error;
      this.#options.failed(shown, error);
    }
  }
}

function under(side: Side, name: string): Side {
  return { ...side, path: join(side.path, name), shown: join(side.shown, name) };
}

/** `a/b/` → `b`. Nothing that leads elsewhere: `..` and `/` have no name of their own to be copied under. */
function baseName(path: string): string {
  const name = path.replace(/\/+$/, '').split('/').at(-1) ?? '';
  return name === '..' ? '.' : name || '.';
}
