// Reads a session's spool file while the recorder may still append to it. Bytes go through one bounded window
// a time, so a spool of gigabytes costs no more memory than a small one. Offsets are the reader's only state
// and belong to the caller: an offset acknowledged is where a restarted daemon goes on.
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { type Drop, decodeRecord } from './frames.ts';
import type { KernelEvent } from './kernel-event.ts';
import { RecorderError } from './recorder-error.ts';
import { sessionIdText } from './session-id.ts';
import { type CorruptionReason, checkFrame, frameAlign } from './spool-frame.ts';
import { SPOOL_MAGIC, spool_header, WIRE_HASH, WIRE_VERSION } from './wire.gen.ts';

export interface SpoolEvent {
  readonly type: 'event';
  readonly event: KernelEvent;
  /** Where reading goes on once this event is dealt with. */
  readonly nextOffset: number;
}

/** A frame whose checksum is right but whose record this build cannot decode. */
export interface SpoolDrop {
  readonly type: 'drop';
  readonly drop: Drop;
  readonly nextOffset: number;
}

/** Bytes that are no frame; reading goes on at the next frame that is whole. */
export interface SpoolCorruption {
  readonly type: 'corruption';
  readonly reason: CorruptionReason;
  readonly offset: number;
  readonly skippedBytes: number;
  readonly nextOffset: number;
}

export type SpoolItem = SpoolEvent | SpoolDrop | SpoolCorruption;

export interface SpoolReaderOptions {
  /** Size of the read window, bytes; a frame longer than it gets a window of its own. */
  readonly windowBytes?: number;
}

interface Window {
  readonly bytes: Buffer;
  /** File offset of bytes[0]. */
  readonly base: number;
}

export class SpoolReader {
  readonly sessionId: string;
  /** Offset of the first frame. */
  readonly firstOffset: number;
  readonly #file: FileHandle;
  readonly #windowBytes: number;

  private constructor(file: FileHandle, header: { sessionId: string; length: number }, windowBytes: number) {
    this.#file = file;
    this.sessionId = header.sessionId;
    this.firstOffset = header.length;
    this.#windowBytes = windowBytes;
  }

  /** Rejects with RecorderError when the file is no spool, or one of another wire layout. */
  static async open(path: string, options: SpoolReaderOptions = {}): Promise<SpoolReader> {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const header = await readHeader(file, path);
      return new SpoolReader(file, header, options.windowBytes ?? 256 * 1024);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Bytes in the file now; the last frame of them may be incomplete. */
  async length(): Promise<number> {
    return (await this.#file.stat()).size;
  }

  /**
   * The frames in [from, to). An incomplete last frame is not an error: it ends the iteration, and the same
   * offset reads it once it has been written. Returns the offset after the last item.
   */
  async *read(from = this.firstOffset, to?: number): AsyncGenerator<SpoolItem, number> {
    const end = to ?? (await this.length());
    let window = await this.#window(from, end, this.#windowBytes);
    let offset = from;
    for (;;) {
      const { bytes, base } = window;
      const check = checkFrame(bytes, offset - base, bytes.length);
      if (check.state === 'whole') {
        offset = base + check.next;
        const decoded = decodeRecord(bytes, check.recordAt, check.recordLength);
        yield decoded.type === 'drop'
          ? { type: 'drop', drop: decoded, nextOffset: offset }
          : { type: 'event', event: decoded, nextOffset: offset };
      } else if (check.state === 'incomplete') {
        if (offset + check.needed > end) return offset;
        window = await this.#window(offset, end, check.needed);
        // The file is shorter than the caller believes (truncated since): nothing more to read.
        if (window.bytes.length < check.needed) return offset;
      } else {
        const nextOffset = await this.#resync(offset + frameAlign, end);
        if (nextOffset === offset) return offset;
        yield {
          type: 'corruption',
          reason: check.reason,
          offset,
          skippedBytes: nextOffset - offset,
          nextOffset,
        };
        offset = nextOffset;
        window = await this.#window(offset, end, this.#windowBytes);
      }
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  /**
   * The first offset from `offset` on that holds a whole frame. A candidate that runs past the end may be the
   * frame being written, or damage that looks like one: it counts only when no whole frame follows.
   */
  async #resync(offset: number, end: number): Promise<number> {
    let candidate: number | undefined;
    let window = await this.#window(offset, end, this.#windowBytes);
    let at = offset;
    while (at < end) {
      const check = checkFrame(window.bytes, at - window.base, window.bytes.length);
      if (check.state === 'whole') return at;
      if (check.state === 'incomplete') {
        if (at + check.needed > end) {
          candidate ??= at;
        } else {
          window = await this.#window(at, end, check.needed);
          if (window.bytes.length >= check.needed) continue;
          candidate ??= at;
        }
      }
      at += frameAlign;
    }
    return candidate ?? end;
  }

  /** At least `needed` bytes from `offset` on, fewer where the file or `end` stops them. */
  async #window(offset: number, end: number, needed: number): Promise<Window> {
    const length = Math.max(0, Math.min(end - offset, Math.max(needed, this.#windowBytes)));
    // Not from Node's shared pool, and never reused: events hold views into it.
    const bytes = Buffer.allocUnsafeSlow(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#file.read(bytes, filled, length - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return { bytes: bytes.subarray(0, filled), base: offset };
  }
}

async function readHeader(file: FileHandle, path: string): Promise<{ sessionId: string; length: number }> {
  const bytes = Buffer.alloc(spool_header.SIZE);
  const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
  if (bytesRead < bytes.length || bytes.readBigUInt64LE(spool_header.magic) !== SPOOL_MAGIC) {
    throw new RecorderError(`${path} is not a spool file`, { kind: 'bad_input', code: 'spool_not_a_spool' });
  }
  const version = bytes.readUInt32LE(spool_header.version);
  const hash = bytes.toString('hex', spool_header.wire_hash, spool_header.wire_hash + 32);
  if (version !== WIRE_VERSION || hash !== WIRE_HASH) {
    throw new RecorderError(`${path} was written by a recorder of another version`, {
      kind: 'unsupported',
      code: 'spool_wire_mismatch',
      hint: 'read it with the release that wrote it',
    });
  }
  const length = bytes.readUInt32LE(spool_header.header_length);
  // A longer header of a later build would carry another hash; anything else is damage.
  if (length !== spool_header.SIZE) {
    throw new RecorderError(`${path} has a damaged header`, { kind: 'bad_input', code: 'spool_header' });
  }
  return { sessionId: sessionIdText(bytes, spool_header.session_id), length };
}
