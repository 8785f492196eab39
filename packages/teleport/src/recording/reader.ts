// Reads a finished recording back: for playing, exporting, verifying. Streams; a long session costs no more memory
// than a short one.
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, parseEvent } from '@sallyport/contracts/events/event.ts';
import {
  decodeIndexLine,
  decodeRecordedLine,
  type IndexLine,
  indexName,
  type PartType,
  type PrintLine,
  type RecordedLine,
} from '@sallyport/contracts/recording/lines.ts';
import { partBytes, partLines } from './part-lines.ts';

/** Output and what happened around it, in order. `bytes` belong to the print. */
export type Frame =
  | { readonly type: 'print'; readonly print: PrintLine; readonly bytes: Buffer }
  | { readonly type: 'event'; readonly event: AuditEvent };

export class RecordingReader {
  readonly index: readonly IndexLine[];
  readonly #dir: string;

  private constructor(dir: string, index: readonly IndexLine[]) {
    this.#dir = dir;
    this.index = index;
  }

  /** `dir`: `<data_dir>/log/<host-uuid>/sessions/default`. */
  static async open(dir: string, sid: string): Promise<RecordingReader> {
    const text = await readIndex(dir, sid);
    const index = text.split('\n').flatMap((line) => decodeIndexLine(line) ?? []);
    for (const { file_name } of index) await checkName(dir, file_name);
    return new RecordingReader(dir, index);
  }

  /** Print lines and the session's own events. */
  async *lines(): AsyncGenerator<RecordedLine> {
    for await (const line of this.#partLines('events')) {
      const decoded = decodeRecordedLine(line);
      if (decoded !== undefined) yield decoded;
    }
  }

  /** What the kernel saw of one kind; nothing when the kind was off. */
  async *kernelEvents(kind: 'command' | 'disk' | 'network'): AsyncGenerator<AuditEvent> {
    for await (const line of this.#partLines(`session.${kind}`)) {
      const parsed = parseEvent(line);
      if (parsed.ok) yield parsed.event;
    }
  }

  /** Raw terminal output. */
  async *output(): AsyncGenerator<Buffer> {
    const path = this.#path('chunks');
    if (path !== undefined) yield* partBytes(path);
  }

  /** What a player needs: each print with its bytes, events in between. */
  async *frames(): AsyncGenerator<Frame> {
    const output = new Cutter(this.output());
    try {
      for await (const line of this.lines()) {
        if (line.event !== 'print') yield { type: 'event', event: line as AuditEvent };
        else yield { type: 'print', print: line as PrintLine, bytes: await output.slice(line as PrintLine) };
      }
    } finally {
      await output.close();
    }
  }

  async *#partLines(type: PartType): AsyncGenerator<string> {
    const path = this.#path(type);
    if (path !== undefined) yield* partLines(path);
  }

  #path(type: PartType): string | undefined {
    const line = this.index.find((entry) => entry.type === type);
    return line === undefined ? undefined : join(this.#dir, line.file_name);
  }
}

/** Hands out a stream's bytes by offset, forwards only. */
class Cutter {
  readonly #source: AsyncGenerator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  /** Offset of the first held byte. */
  #at = 0;

  constructor(source: AsyncGenerator<Buffer>) {
    this.#source = source;
  }

  /** Shorter than asked when the output ends before. */
  async slice({ offset, bytes }: PrintLine): Promise<Buffer> {
    const end = offset + bytes;
    while (this.#at + this.#held.length < end) {
      const { value, done } = await this.#source.next();
      if (done === true) break;
      this.#drop(offset);
      this.#held = this.#held.length === 0 ? value : Buffer.concat([this.#held, value]);
    }
    this.#drop(offset);
    return Buffer.from(this.#held.subarray(0, Math.max(0, end - this.#at)));
  }

  async close(): Promise<void> {
    await this.#source.return(undefined);
  }

  #drop(before: number): void {
    const n = Math.min(Math.max(0, before - this.#at), this.#held.length);
    this.#held = this.#held.subarray(n);
    this.#at += n;
  }
}

/** A session id comes from whoever asks: only a uuid names a file. */
async function readIndex(dir: string, sid: string): Promise<string> {
  const missing = (cause?: unknown) =>
    new AppError('not_found', 'recording.not_found', 'There is no recording of this session.', { cause });
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(sid)) throw missing();
  return await readFile(join(dir, indexName(sid)), 'utf8').catch((cause: unknown) => {
    throw missing(cause);
  });
}

/** An index is data: a name in it must not lead out of the folder. */
async function checkName(dir: string, name: string): Promise<void> {
  if (name.includes('/') || name === '..' || name === '.') {
    throw new AppError(
      'bad_input',
      'recording.bad_index',
      'The index of the recording names a file elsewhere.',
    );
  }
  await access(join(dir, name)).catch((cause: unknown) => {
    throw new AppError('not_found', 'recording.part_missing', `The recording lacks its part ${name}.`, {
      cause,
    });
  });
}
