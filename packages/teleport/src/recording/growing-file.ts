// A file that grows while a session lives. What is appended while a write is on its way goes out together with
// the next one; a write that fails leaves no trace, so that what is in the file is always what was accepted.
import { type FileHandle, open } from 'node:fs/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import { fileMode } from './recording-layout.ts';

interface Waiting {
  readonly bytes: Uint8Array;
  readonly resolve: (offset: number) => void;
  readonly reject: (error: AppError) => void;
}

/** Bytes that may wait for the disk. A caller that awaits its appends never comes near. */
const maxWaitingBytes = 16 * 1024 * 1024;

export class GrowingFile {
  readonly path: string;
  readonly #handle: FileHandle;
  #length: number;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> | undefined;
  #unsynced = false;
  /** A roll-back failed: what stands behind #length must go before the next write. */
  #dirty = false;

  private constructor(path: string, handle: FileHandle, length: number) {
    this.path = path;
    this.#handle = handle;
    this.#length = length;
  }

  /** `length`: cut an existing file to it (a torn end); by default it is kept whole. */
  static async open(path: string, length?: number): Promise<GrowingFile> {
    const handle = await open(path, 'a', fileMode);
    try {
      await handle.chmod(fileMode);
      const { size } = await handle.stat();
      if (length !== undefined && length < size) await handle.truncate(length);
      return new GrowingFile(path, handle, Math.min(length ?? size, size));
    } catch (cause) {
      await handle.close();
      throw cause;
    }
  }

  get length(): number {
    return this.#length;
  }

  /** Resolves with the offset the bytes stand at, once write(2) took them. The buffer is the caller's again then. */
  append(bytes: Uint8Array): Promise<number> {
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes.length > maxWaitingBytes) {
      return Promise.reject(
        new AppError('limit', 'recording.queue_full', 'Too much terminal output waits for the disk.'),
      );
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ bytes, resolve, reject });
      this.#waitingBytes += bytes.length;
      this.#writing ??= this.#drain();
    });
  }

  /** fdatasync(2) of what was appended so far. */
  async sync(): Promise<void> {
    await this.#writing;
    if (!this.#unsynced) return;
    this.#unsynced = false;
    await this.#handle.datasync().catch((cause: unknown) => {
      this.#unsynced = true;
      throw recordingError(cause);
    });
  }

  async close(): Promise<void> {
    await this.#writing;
    if (this.#dirty) await this.#rollBack().catch(() => {});
    await this.#handle.close();
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      const size = batch.reduce((sum, waiting) => sum + waiting.bytes.length, 0);
      try {
        await this.#write(batch, size);
        let offset = this.#length - size;
        for (const { bytes, resolve } of batch) {
          resolve(offset);
          offset += bytes.length;
        }
      } catch (cause) {
        const error = recordingError(cause);
        for (const { reject } of batch) reject(error);
      }
      this.#waitingBytes -= size;
    }
    this.#writing = undefined;
  }

  async #write(batch: readonly Waiting[], size: number): Promise<void> {
    if (this.#dirty) await this.#rollBack();
    try {
      const first = batch[0];
      const data =
        batch.length === 1 && first !== undefined
          ? first.bytes
          : Buffer.concat(
              batch.map((w) => w.bytes),
              size,
            );
      for (let at = 0; at < size; ) at += (await this.#handle.write(data, at, size - at)).bytesWritten;
    } catch (cause) {
      this.#dirty = true;
      await this.#rollBack().catch(() => {}); // still dirty: tried again before the next write
      throw cause;
    }
    this.#length += size;
    this.#unsynced = true;
  }

  async #rollBack(): Promise<void> {
    await this.#handle.truncate(this.#length);
    this.#dirty = false;
  }
}

const full = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

export function recordingError(cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  if (code !== undefined && full.has(code)) {
    return new AppError('unavailable', 'recording.disk_full', 'The disk of the session recordings is full.', {
      cause,
    });
  }
  return new AppError('unavailable', 'recording.write_failed', 'The session recording cannot be written.', {
    cause,
  });
}
