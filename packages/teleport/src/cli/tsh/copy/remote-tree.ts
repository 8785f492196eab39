// Files on a node.
import type { FileAttributes } from '../../../ssh-transport/sftp/attributes.ts';
import type { SftpClient } from '../../../ssh-transport/sftp/client.ts';
import { OpenFlag } from '../../../ssh-transport/sftp/protocol.ts';
import { type FileFacts, type FileSink, type FileSource, kindOf, type Tree } from './tree.ts';

type Kept = Pick<FileFacts, 'mode' | 'atime' | 'mtime'>;

export class RemoteTree implements Tree {
  readonly #sftp: SftpClient;

  constructor(sftp: SftpClient) {
    this.#sftp = sftp;
  }

  get pieceBytes(): number {
    return this.#sftp.dataBytes;
  }

  async look(path: string): Promise<FileFacts | undefined> {
    const found = await this.#sftp.stat(await this.#sftp.expand(path));
    return found && factsOf(found);
  }

  async names(path: string): Promise<string[]> {
    const found = await this.#sftp.list(await this.#sftp.expand(path));
    return found.map(({ name }) => name).sort();
  }

  async source(path: string): Promise<FileSource> {
    const sftp = this.#sftp;
    const handle = await sftp.open(await sftp.expand(path), OpenFlag.read);
    return {
      read: (offset, length) => sftp.read(handle, offset, length),
      close: () => sftp.close(handle),
    };
  }

  async sink(path: string, mode: number): Promise<FileSink> {
    const sftp = this.#sftp;
    const handle = await sftp.open(await sftp.expand(path), OpenFlag.write | OpenFlag.create, { mode });
    const before = (await sftp.stat(path).catch(() => undefined))?.size ?? 0;
    return {
      write: (offset, bytes) => sftp.write(handle, offset, bytes),
      finish: async (length, kept) => {
        if (before > length) await sftp.fsetstat(handle, { size: length });
        if (kept) await sftp.fsetstat(handle, kept);
      },
      close: () => sftp.close(handle),
    };
  }

  async makeFolder(path: string, mode: number): Promise<void> {
    await this.#sftp.mkdir(await this.#sftp.expand(path), { mode });
  }

  async keep(path: string, { mode, atime, mtime }: Kept): Promise<void> {
    await this.#sftp.setstat(await this.#sftp.expand(path), { mode, atime, mtime });
  }
}

/** A server need not say any of it; a file of unknown kind is tried as a file. */
function factsOf({ mode = 0o100644, size = 0, atime = 0, mtime = 0 }: FileAttributes): FileFacts {
  return { kind: kindOf(mode), size, mode: mode & 0o7777, atime, mtime };
}
