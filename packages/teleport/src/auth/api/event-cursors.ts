// How far the log has each host's stream, and from where on the log must be looked at after a crash: an event may
// be in the log whose cursor is not on disk yet.
//
// A journal of JSON lines, synced at each; written anew when it has grown. `from` of the last line is a place in
// the log before every append that had no cursor yet when the line was written.
import { type FileHandle, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isBefore, type LogPlace } from '../../audit/search-tail.ts';

const place = z.strictObject({ file: z.string(), offset: z.int() });
const entry = z.strictObject({
  /** Absent: only `from` moves on. */
  host: z.string().optional(),
  stream: z.string().optional(),
  next: z.int().optional(),
  from: place,
});
type Entry = z.output<typeof entry>;

/** A host begins a stream when its outbox was damaged or lost: a few are remembered, the latest used. */
const maxStreams = 8;
const compactBytes = 4 * 1024 * 1024;

export class EventCursors {
  readonly #path: string;
  #file: FileHandle;
  #bytes = 0;
  #from: LogPlace;
  /** Host → stream → next position; the stream used last stands last. */
  readonly #hosts: Map<string, Map<string, number>>;
  /** Where the appends began whose cursors are not stored yet. */
  readonly #running = new Set<LogPlace>();
  #waiting: { readonly text: string; readonly done: (error?: unknown) => void }[] = [];
  #writing: Promise<void> | undefined;

  private constructor(
    path: string,
    file: FileHandle,
    hosts: Map<string, Map<string, number>>,
    from: LogPlace,
  ) {
    this.#path = path;
    this.#file = file;
    this.#hosts = hosts;
    this.#from = from;
  }

  /** `end`: of the log, now; used when there is no journal yet. */
  static async open(dir: string, end: LogPlace): Promise<EventCursors> {
    const path = join(dir, 'event-cursors.jsonl');
    const hosts = new Map<string, Map<string, number>>();
    let from: LogPlace | undefined;
    for (const line of await readEntries(path)) {
      from = line.from;
      if (line.host !== undefined && line.stream !== undefined && line.next !== undefined)
        remember(hosts, line.host, line.stream, line.next);
    }
    const cursors = new EventCursors(path, await open(path, 'a', 0o600), hosts, from ?? end);
    await cursors.#compact();
    return cursors;
  }

  /** Everything in the log that may lack its cursor stands behind this. */
  get from(): LogPlace {
    return this.#from;
  }

  next(host: string, stream: string): number {
    return this.#hosts.get(host)?.get(stream) ?? 0;
  }

  /** An append begins, with the log's end here. */
  begin(at: LogPlace): void {
    this.#running.add(at);
  }

  /** The append that began at `at` did not take place. */
  abandon(at: LogPlace): void {
    this.#running.delete(at);
  }

  /** The append that began at `at` is in the log. Durable when it resolves. */
  async store(host: string, stream: string, next: number, at: LogPlace): Promise<void> {
    remember(this.#hosts, host, stream, next);
    await this.#write({ host, stream, next, from: this.#oldestRunning() });
    // Should the write fail, `at` stays: the journal lacks the cursor until a later line of the stream.
    this.#running.delete(at);
  }

  /** After a crash the log is read from `from` on: no further back than what runs. */
  async checkpoint(end: LogPlace): Promise<void> {
    await this.#write({ from: this.#oldestRunning(end) });
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  #oldestRunning(otherwise: LogPlace = this.#from): LogPlace {
    let oldest: LogPlace | undefined;
    for (const at of this.#running) if (oldest === undefined || isBefore(at, oldest)) oldest = at;
    return oldest ?? otherwise;
  }

  #write(line: Entry): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (error?: unknown) => {
        if (error !== undefined) return reject(error);
        this.#from = line.from;
        resolve();
      };
      this.#waiting.push({ text: `${JSON.stringify(line)}\n`, done });
      this.#writing ??= this.#drain();
    });
  }

  /** What gathers while one write is on its way goes with the next: hosts share their syncs. */
  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        const text = group.map((one) => one.text).join('');
        await this.#file.write(text);
        await this.#file.datasync();
        this.#bytes += text.length;
        for (const { done } of group) done();
        if (this.#bytes > compactBytes) await this.#compact();
      } catch (error) {
        for (const { done } of group) done(error);
      }
    }
    this.#writing = undefined;
  }

  async #compact(): Promise<void> {
    const lines: Entry[] = [];
    for (const [host, streams] of this.#hosts)
      for (const [stream, next] of streams) lines.push({ host, stream, next, from: this.#from });
    lines.push({ from: this.#from });
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    const file = await open(`${this.#path}.next`, 'w', 0o600);
    await file.writeFile(text);
    await file.sync();
    await rename(`${this.#path}.next`, this.#path);
    const old = this.#file;
    this.#file = file;
    this.#bytes = 0;
    await old.close();
  }
}

function remember(hosts: Map<string, Map<string, number>>, host: string, stream: string, next: number): void {
  const streams = hosts.get(host) ?? new Map<string, number>();
  hosts.set(host, streams);
  streams.delete(stream);
  streams.set(stream, next);
  for (const oldest of streams.keys()) {
    if (streams.size <= maxStreams) break;
    streams.delete(oldest);
  }
}

/** A last line that a crash cut was never relied on. */
async function readEntries(path: string): Promise<Entry[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  return text.split('\n').flatMap((line) => {
    try {
      const parsed = entry.safeParse(JSON.parse(line));
      return parsed.success ? [parsed.data] : [];
    } catch {
      return [];
    }
  });
}
