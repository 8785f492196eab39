// One day's file of the log: JSON lines, append only. Owns that a line is whole or absent; knows nothing of days.
//
// More than one process may append (the daemon, the one before it that still drains, `tctl` on the same host): O_APPEND
// and one write(2) a batch keep their lines apart. A process killed inside its write leaves half a line; whoever writes
// next begins a new one, and looks afterwards whether such a half came in between.
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { cutTail, type TornTail, wholeLength } from './torn-tail.ts';

/** Group may read (log shippers), others may not. Set by fchmod: the umask has no say. */
export const fileMode = 0o640;

const newline = Buffer.from('\n');

/** A write(2) that is going on elsewhere is over by then. */
const settleMs = 50;

export class DayFile {
  readonly path: string;
  /** What was cut when the file was opened. */
  readonly torn: TornTail | undefined;
  readonly #handle: FileHandle;
  /** The file may end in the middle of a line that cannot be taken back: the next batch begins a new one. */
  #midLine: boolean;
  /** Where the file ended after our last append; undefined: not known. */
  #end: number | undefined;
  /** Somebody else appends, too. */
  #shared = false;

  private constructor(path: string, handle: FileHandle, midLine: boolean, torn: TornTail | undefined) {
    this.path = path;
    this.#handle = handle;
    this.#midLine = midLine;
    this.torn = torn;
  }

  /** Creates the file where it is missing; cuts a torn tail into `<path>.torn-<time>`. */
  static open(path: string, nowMs: number): Promise<DayFile> {
    return DayFile.#open(path, async (handle) => {
      const { torn, midLine } = await repair(path, handle, nowMs);
      return new DayFile(path, handle, midLine, torn);
    });
  }

  /** For a process beside the one that owns the log: nothing is cut, as what looks torn may be on its way. */
  static openBeside(path: string): Promise<DayFile> {
    return DayFile.#open(path, async (handle) => {
      const { size } = await handle.stat();
      return new DayFile(path, handle, size > 0 && !(await endsLine(handle, size)), undefined);
    });
  }

  static async #open(path: string, use: (handle: FileHandle) => Promise<DayFile>): Promise<DayFile> {
    const handle = await open(path, 'a+', fileMode);
    try {
      await handle.chmod(fileMode);
      return await use(handle);
    } catch (cause) {
      await handle.close();
      throw cause;
    }
  }

  /** Writes all of it or, as far as a reader of whole lines can tell, nothing; rejects with what the system said. */
  async append(lines: Buffer, sync: boolean): Promise<void> {
    const { before, endsLine } = await this.#settle();
    const midLine = this.#midLine || !endsLine;
    const data = midLine ? Buffer.concat([newline, lines]) : lines;
    let written = 0;
    try {
      written = (await this.#handle.write(data)).bytesWritten;
      // A second write for the rest could land behind another process's line. Short means full, nearly always.
      if (written < data.length) throw Object.assign(new Error('short write'), { code: 'ENOSPC' });
      await this.#seeAlone(before, data);
      if (sync) await this.#handle.datasync();
    } catch (cause) {
      await this.#takeBack(before, written);
      throw cause;
    }
    this.#midLine = false;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  /** Where the file ends. Inside a line: and nobody is about to write the rest of it. */
  async #settle(): Promise<{ before: number; endsLine: boolean }> {
    const deadline = performance.now() + settleMs;
    for (;;) {
      const { size } = await this.#handle.stat();
      if (size === this.#end || size === 0) return { before: size, endsLine: true };
      this.#shared ||= this.#end !== undefined;
      const whole = await endsLine(this.#handle, size);
      if (whole || performance.now() > deadline) return { before: size, endsLine: whole };
      await delay(1);
    }
  }

  /** Our first line may have been written behind half a line of a process that died: then it is written again. */
  async #seeAlone(before: number, data: Buffer): Promise<void> {
    this.#end = (await this.#handle.stat()).size;
    if (this.#end === before + data.length) return;
    this.#shared = true;
    const since = Buffer.alloc(this.#end - before);
    await this.#handle.read(since, 0, since.length, before);
    const at = since.indexOf(data);
    if (at <= 0 || since[at - 1] === 0x0a || data[0] === 0x0a) return;
    const first = data.subarray(0, data.indexOf(0x0a) + 1);
    await this.#handle.write(Buffer.concat([newline, first]));
  }

  /** Only while nobody wrote behind us; otherwise the half line stays, ends here, and readers step over it. */
  async #takeBack(before: number, written: number): Promise<void> {
    if (written === 0) return;
    try {
      if (!this.#shared && (await this.#handle.stat()).size === before + written) {
        await this.#handle.truncate(before);
        return;
      }
    } catch {
      // nothing can be learnt of the file now: assume the worst
    }
    this.#midLine = true;
  }
}

async function repair(
  path: string,
  handle: FileHandle,
  nowMs: number,
): Promise<{ torn: TornTail | undefined; midLine: boolean }> {
  if ((await wholeLength(handle)) === (await handle.stat()).size) return { torn: undefined, midLine: false };
  await delay(settleMs);
  const length = await wholeLength(handle);
  const { size } = await handle.stat();
  if (length === size) return { torn: undefined, midLine: false };
  // Without room for the torn bytes they stay where they are: a full disk must not keep the log from opening.
  return await cutTail(path, handle, { length, size, nowMs }).then(
    (torn) => ({ torn, midLine: false }),
    () => ({ torn: undefined, midLine: true }),
  );
}

async function endsLine(handle: FileHandle, size: number): Promise<boolean> {
  const last = Buffer.alloc(1);
  await handle.read(last, 0, 1, size - 1);
  return last[0] === 0x0a;
}
