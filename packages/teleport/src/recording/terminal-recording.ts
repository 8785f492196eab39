// The recording of one session: terminal bytes, when they came, and the kernel's events, in the documented
// layout. While the session lives it is plain growing files; `finish` turns them into the .gz parts.
//
// What is promised when: `print` resolves when write(2) took the bytes, so a kill -9 of this process loses none.
// The line that says when they came may follow up to `coalesceMs` later; a crash in between costs that time
// stamp, not the bytes (see resume). fdatasync(2) follows within `syncMs`, and always before `finish` resolves.
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, serialize } from '@sallyport/contracts/events/event.ts';
import { type PartType, partOf } from '@sallyport/contracts/recording/lines.ts';
import { GrowingFile, recordingError } from './growing-file.ts';
import { type LiveRemains, readRemains } from './live-remains.ts';
import { PrintGatherer } from './print-gatherer.ts';
import { publish } from './publish.ts';
import { exists, RecordingLayout, syncDir } from './recording-layout.ts';
import { SeqSet } from './seq-set.ts';

export interface TerminalRecordingOptions {
  /** `<data_dir>/log`. */
  readonly logDir: string;
  readonly hostId: string;
  readonly sid: string;
  /** The session's shared event counter: `() => emitter.nextEi()`. */
  readonly nextEi: () => number;
  /** Wall clock, ms. */
  readonly now?: () => number;
  /** Output that comes within so many ms (and 64 KiB) is one print line. Default 20. */
  readonly coalesceMs?: number;
  /** What was recorded reaches the disk itself after so many ms at most. Default 2,000. */
  readonly syncMs?: number;
}

export interface SessionRecording {
  /**
   * Hands terminal output to the file. Resolves once write(2) has taken the bytes; only then may the caller pass
   * them on (the buffer is the caller's again then, too). Rejects with an AppError when they could not be
   * recorded, and then none of them are: what to do is the session's decision (session.recording_failed; fail
   * closed).
   */
  print(bytes: Uint8Array): Promise<void>;

  /**
   * Audit events of the session, each into the part it belongs to (`partOf`); one that belongs to none is
   * ignored, and so is a kernel event (`seq`) that the recording has already: after a rejection, or a restart, the
   * same events may be handed over again. Resolves as `print` does.
   */
  events(events: readonly AuditEvent[]): Promise<void>;

  /** Makes the .gz parts and the index, atomically, and removes the live files. Idempotent; may be tried again. */
  finish(): Promise<void>;

  /** Whether the kernel event with this `seq` is in a part, also from before a restart. */
  hasKernelSeq(seq: number): boolean;

  /** Lets go of the files and leaves them as they are, for another process to resume. */
  abandon(): Promise<void>;
}

export class TerminalRecording implements SessionRecording {
  /** The highest `ei` that `resume` found, -1 without any: the emitter goes on behind it. */
  readonly lastEi: number;
  readonly #options: TerminalRecordingOptions;
  readonly #layout: RecordingLayout;
  readonly #chunks: GrowingFile;
  readonly #lines: GrowingFile;
  readonly #kernelParts = new Map<PartType, Promise<GrowingFile>>();
  readonly #prints: PrintGatherer;
  readonly #now: () => number;
  readonly #seqs: SeqSet;
  /** Output found by `resume` that has no print line yet. */
  #unprinted: LiveRemains['unprinted'];
  /** Print lines on their way to the disk: with the next event, or the next flush. */
  #owed: string[] = [];
  /** They could not be written. Until they are, nothing more is accepted. */
  #owedFailed = false;
  #flushTimer: NodeJS.Timeout | undefined;
  #syncTimer: NodeJS.Timeout | undefined;
  #syncFailure: AppError | undefined;
  #closing: Promise<void> | undefined;
  #finishing: Promise<void> | undefined;

  private constructor(
    options: TerminalRecordingOptions,
    files: { layout: RecordingLayout; chunks: GrowingFile; lines: GrowingFile },
    past: LiveRemains,
  ) {
    this.#options = options;
    this.#layout = files.layout;
    this.#chunks = files.chunks;
    this.#lines = files.lines;
    this.#now = options.now ?? Date.now;
    this.lastEi = past.lastEi;
    this.#seqs = past.seqs;
    this.#unprinted = past.unprinted;
    this.#prints = new PrintGatherer({
      startMs: past.startMs,
      nextCi: past.nextCi,
      nextEi: options.nextEi,
      coalesceMs: options.coalesceMs ?? 20,
    });
  }

  /** A new recording. Rejects with `conflict` when there is one of this session. */
  static async create(options: TerminalRecordingOptions): Promise<TerminalRecording> {
    const layout = new RecordingLayout(options.logDir, options.hostId);
    const parts = await layout.liveParts(options.sid);
    if (parts.length > 0 || (await exists(layout.index(options.sid)))) {
      throw new AppError('conflict', 'recording.exists', `Session ${options.sid} has a recording already.`);
    }
    const startMs = (options.now ?? Date.now)();
    return TerminalRecording.#open(options, layout, {
      startMs,
      nextCi: 0,
      lastEi: -1,
      seqs: new SeqSet(),
      unprinted: undefined,
    });
  }

  /**
   * Goes on with what a process that died left: torn lines are cut, output without a print line gets one with the
   * time of the last write. `nextEi` is not called before the first print, events or finish.
   */
  static async resume(options: TerminalRecordingOptions): Promise<TerminalRecording> {
    const layout = new RecordingLayout(options.logDir, options.hostId);
    if ((await layout.liveParts(options.sid)).length === 0) {
      throw new AppError('not_found', 'recording.not_live', `Session ${options.sid} has no live recording.`);
    }
    const past = await readRemains(layout, options.sid).catch(rethrow);
    return TerminalRecording.#open(options, layout, past);
  }

  static async #open(
    options: TerminalRecordingOptions,
    layout: RecordingLayout,
    past: LiveRemains,
  ): Promise<TerminalRecording> {
    try {
      await layout.makeDirs();
      const chunks = await GrowingFile.open(layout.live(options.sid, 'chunks'));
      const lines = await GrowingFile.open(layout.live(options.sid, 'events')).catch(
        async (cause: unknown) => {
          await chunks.close();
          throw cause;
        },
      );
      await syncDir(layout.liveDir);
      return new TerminalRecording(options, { layout, chunks, lines }, past);
    } catch (cause) {
      throw recordingError(cause);
    }
  }

  async print(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    this.#assertUsable();
    await this.#settle();
    const offset = await this.#chunks.append(bytes);
    const line = this.#prints.add(offset, bytes.length, this.#now());
    if (line !== undefined) this.#owed.push(line);
    this.#flushTimer ??= setTimeout(() => this.#flush(), this.#options.coalesceMs ?? 20);
    this.#syncSoon();
  }

  async events(events: readonly AuditEvent[]): Promise<void> {
    this.#assertUsable();
    await this.#settle();
    const byPart = Map.groupBy(
      events.filter((event) => !this.hasKernelSeq(seqOf(event))),
      (event) => partOf(event.event),
    );
    byPart.delete(undefined);
    await Promise.all([...byPart].map(([part, list]) => this.#appendTo(part as PartType, list)));
    this.#syncSoon();
  }

  hasKernelSeq(seq: number): boolean {
    return seq > 0 && this.#seqs.has(seq);
  }

  finish(): Promise<void> {
    this.#finishing ??= this.#finish().catch((cause: unknown) => {
      this.#finishing = undefined; // the disk may have room again later
      throw recordingError(cause);
    });
    return this.#finishing;
  }

  async abandon(): Promise<void> {
    await this.#writeOwed([]).catch(() => {}); // the bytes are there; resume makes up the line
    await this.#close();
  }

  async #finish(): Promise<void> {
    if (this.#closing === undefined) {
      await this.#settle();
      // Prints that were called before and not awaited are part of the recording, with their lines.
      await new Promise((resolve) => setImmediate(resolve));
      await this.#chunks.sync();
      this.#takePrint();
      await this.#writeOwed([]);
      await this.#sync();
      await this.#close();
    }
    await publish(this.#layout, this.#options.sid);
  }

  /** What an earlier failure or an earlier process left undone comes before anything new. Rejects while it cannot. */
  async #settle(): Promise<void> {
    const left = this.#unprinted;
    if (left !== undefined) {
      this.#unprinted = undefined;
      const line = this.#prints.add(left.offset, left.bytes, left.atMs) ?? this.#prints.take();
      if (line !== undefined) this.#owed.push(line);
    }
    if (this.#syncFailure !== undefined) await this.#sync();
    if (this.#owedFailed) await this.#writeOwed([]);
  }

  async #appendTo(part: PartType, events: readonly AuditEvent[]): Promise<void> {
    const lines = events.map(serialize);
    if (part === 'events') {
      this.#takePrint(); // the lines of this part are in the order of their `ei`
      await this.#writeOwed(lines);
    } else {
      const file = await this.#kernelPart(part);
      await file.append(Buffer.from(`${lines.join('\n')}\n`));
    }
    for (const event of events) if (seqOf(event) > 0) this.#seqs.add(seqOf(event));
  }

  #kernelPart(part: PartType): Promise<GrowingFile> {
    let file = this.#kernelParts.get(part);
    if (file === undefined) {
      file = GrowingFile.open(this.#layout.live(this.#options.sid, part));
      this.#kernelParts.set(part, file);
      file.catch(() => this.#kernelParts.delete(part)); // tried anew with the next event
    }
    return file.catch(rethrow);
  }

  #flush(): void {
    this.#takePrint();
    this.#writeOwed([]).catch(() => {}); // stays owed; the next call meets the failure
  }

  #takePrint(): void {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    const line = this.#prints.take();
    if (line !== undefined) this.#owed.push(line);
  }

  /** Owed print lines, then `lines`, in one write: all or none, and what was owed is still owed after a failure. */
  async #writeOwed(lines: readonly string[]): Promise<void> {
    const owed = this.#owed.splice(0);
    if (owed.length + lines.length === 0) return;
    try {
      await this.#lines.append(Buffer.from(`${[...owed, ...lines].join('\n')}\n`));
      this.#owedFailed = false;
    } catch (cause) {
      this.#owed.unshift(...owed);
      this.#owedFailed = true;
      throw cause;
    }
  }

  #syncSoon(): void {
    this.#syncTimer ??= setTimeout(() => {
      this.#syncTimer = undefined;
      this.#sync().catch(() => {}); // remembered: the next call tries again and tells
    }, this.#options.syncMs ?? 2000);
    this.#syncTimer.unref(); // the page cache outlives the process
  }

  async #sync(): Promise<void> {
    try {
      for (const file of await this.#openFiles()) await file.sync();
      this.#syncFailure = undefined;
    } catch (cause) {
      this.#syncFailure = recordingError(cause);
      throw this.#syncFailure;
    }
  }

  #close(): Promise<void> {
    clearTimeout(this.#flushTimer);
    clearTimeout(this.#syncTimer);
    this.#closing ??= (async () => {
      for (const file of await this.#openFiles()) await file.close();
    })();
    return this.#closing;
  }

  async #openFiles(): Promise<GrowingFile[]> {
    const kernelParts = await Promise.allSettled(this.#kernelParts.values());
    return [
      this.#chunks,
      this.#lines,
      ...kernelParts.flatMap((part) => (part.status === 'fulfilled' ? part.value : [])),
    ];
  }

  #assertUsable(): void {
    if (this.#closing === undefined && this.#finishing === undefined) return;
    throw new AppError(
      'conflict',
      'recording.finished',
      `The recording of session ${this.#options.sid} is finished.`,
    );
  }
}

/** 0: not a numbered event of the kernel. */
function seqOf(event: AuditEvent): number {
  return 'seq' in event ? (event.seq ?? 0) : 0;
}

function rethrow(cause: unknown): never {
  throw recordingError(cause);
}
