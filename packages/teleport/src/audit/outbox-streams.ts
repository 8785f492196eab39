// Which stream a position of the outbox belongs to, and how far the auth service has acknowledged. Positions of the
// outbox go on for ever; a new stream begins (at 0, for the auth service) where positions might otherwise be used
// twice: after a damaged end, or when the auth service no longer knows the stream.
import { randomUUID } from 'node:crypto';
import { open, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDir } from './log-layout.ts';

export interface Stream {
  readonly id: string;
  /** The outbox's position that is the stream's 0. */
  readonly base: number;
}

export class OutboxStreams {
  readonly #dir: string;
  /** By base, ascending; the last one is the current. */
  #streams: Stream[];

  private constructor(dir: string, streams: Stream[]) {
    this.#dir = dir;
    this.#streams = streams;
  }

  static async open(dir: string): Promise<OutboxStreams> {
    return new OutboxStreams(dir, await readStreams(join(dir, 'streams.json')));
  }

  get isNew(): boolean {
    return this.#streams.length === 0;
  }

  get current(): Stream | undefined {
    return this.#streams.at(-1);
  }

  /** The stream of a position, and the position where the next one begins. */
  at(position: number): { readonly stream: Stream; readonly end: number } | undefined {
    const n = this.#streams.findLastIndex(({ base }) => base <= position);
    const stream = this.#streams[n];
    return stream && { stream, end: this.#streams[n + 1]?.base ?? Number.POSITIVE_INFINITY };
  }

  /** From `base` on a stream of its own. Durable when it resolves. */
  async begin(base: number): Promise<void> {
    const n = this.#streams.findIndex((stream) => stream.base >= base);
    const kept = n < 0 ? this.#streams : this.#streams.slice(0, n);
    this.#streams = [...kept, { id: randomUUID(), base }];
    await this.#save();
  }

  /** The records from `base` up to the next stream get a new one: the auth service does not know theirs. */
  async renew(base: number): Promise<void> {
    const later = this.#streams.filter((stream) => stream.base > base);
    const earlier = this.#streams.filter((stream) => stream.base < base);
    this.#streams = [...earlier, { id: randomUUID(), base }, ...later];
    await this.#save();
  }

  /** Streams that ended before `position` are over. In memory; the next save drops them on disk. */
  forgetBefore(position: number): void {
    const n = this.#streams.findLastIndex(({ base }) => base <= position);
    if (n > 0) this.#streams = this.#streams.slice(n);
  }

  async #save(): Promise<void> {
    const path = join(this.#dir, 'streams.json');
    const file = await open(`${path}.next`, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(this.#streams)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.next`, path);
    await syncDir(this.#dir);
  }
}

async function readStreams(path: string): Promise<Stream[]> {
  const text = await readFile(path, 'utf8').catch(() => '[]');
  try {
    return (JSON.parse(text) as Stream[]).filter(
      ({ id, base }) => typeof id === 'string' && Number.isSafeInteger(base),
    );
  } catch {
    return [];
  }
}

/**
 * Not synced: an older position only means that something is sent again, and the auth service drops it. 0 when there
 * is none.
 */
export async function readAcknowledged(dir: string): Promise<number> {
  const text = await readFile(join(dir, 'acknowledged'), 'utf8').catch(() => '');
  return /^\d{1,15}\n$/.test(text) ? Number(text) : 0;
}

export async function writeAcknowledged(dir: string, position: number): Promise<void> {
  const path = join(dir, 'acknowledged');
  await writeFile(`${path}.next`, `${position}\n`, { mode: 0o600 });
  await rename(`${path}.next`, path);
}
