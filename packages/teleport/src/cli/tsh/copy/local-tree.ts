// Files here.
import { chmod, mkdir, open, readdir, stat, utimes } from 'node:fs/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type FileFacts, type FileSink, type FileSource, kindOf, type Tree } from './tree.ts';

type Kept = Pick<FileFacts, 'mode' | 'atime' | 'mtime'>;

export class LocalTree implements Tree {
  readonly pieceBytes = 255 * 1024;

  async look(path: string): Promise<FileFacts | undefined> {
    try {
      const { mode, size, atimeMs, mtimeMs } = await stat(path || '.');
      const times = { atime: Math.floor(atimeMs / 1000), mtime: Math.floor(mtimeMs / 1000) };
      return { kind: kindOf(mode), size, mode: mode & 0o7777, ...times };
    } catch (thrown) {
      if (codeOf(thrown) === 'ENOENT' || codeOf(thrown) === 'ENOTDIR') return undefined;
      throw told(thrown);
    }
  }

  async names(path: string): Promise<string[]> {
    return (await readdir(path || '.').catch(fail)).sort();
  }

  async source(path: string): Promise<FileSource> {
    const file = await open(path, 'r').catch(fail);
    return {
      read: async (offset, length) => {
        const { buffer, bytesRead } = await file
          .read(Buffer.allocUnsafe(length), 0, length, offset)
          .catch(fail);
        return buffer.subarray(0, bytesRead);
      },
      close: () => file.close(),
    };
  }

  async sink(path: string, mode: number): Promise<FileSink> {
    const file = await open(path, 'r+')
      .catch((thrown) => (codeOf(thrown) === 'ENOENT' ? open(path, 'w', mode) : Promise.reject(thrown)))
      .catch((thrown) => (codeOf(thrown) === 'EACCES' ? open(path, 'w', mode) : Promise.reject(thrown)))
      .catch(fail);
    return {
      write: async (offset, bytes) => {
        for (let at = 0; at < bytes.length; ) {
          const { bytesWritten } = await file.write(bytes, at, bytes.length - at, offset + at).catch(fail);
          at += bytesWritten;
        }
      },
      finish: async (length, kept) => {
        const found = await file.stat();
        if (found.isFile() && found.size > length) await file.truncate(length).catch(fail);
        if (!kept) return;
        await file.chmod(kept.mode).catch(fail);
        await file.utimes(kept.atime, kept.mtime).catch(fail);
      },
      close: () => file.close(),
    };
  }

  async makeFolder(path: string, mode: number): Promise<void> {
    await mkdir(path, { mode }).catch(fail);
  }

  async keep(path: string, { mode, atime, mtime }: Kept): Promise<void> {
    await utimes(path, atime, mtime).catch(fail);
    await chmod(path, mode).catch(fail);
  }
}

const codeOf = (thrown: unknown) => (thrown as NodeJS.ErrnoException).code;

const words: Readonly<Record<string, string>> = {
  EACCES: 'Permission denied',
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  EISDIR: 'Is a directory',
  ENOTDIR: 'Not a directory',
  ENOSPC: 'No space left on device',
  EROFS: 'Read-only file system',
  EEXIST: 'File exists',
  EFBIG: 'File too large',
};

function told(thrown: unknown): AppError {
  const code = codeOf(thrown) ?? '';
  const kind =
    code === 'ENOENT' ? 'not_found' : code === 'EACCES' || code === 'EPERM' ? 'denied' : 'unavailable';
  return new AppError(kind, 'tsh.local_file', words[code] ?? `it cannot be used (${code})`, {
    cause: thrown,
  });
}

function fail(thrown: unknown): never {
  throw told(thrown);
}
