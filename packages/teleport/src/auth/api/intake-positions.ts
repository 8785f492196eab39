// How far other hosts' events were taken in, and the append that moves it on. Two ways, by what the log is:
// - PositionedLog (PostgreSQL): position and events are one transaction of the log. Any auth server may take any batch.
// - files: first the append, then the cursor. A crash in between leaves events in the log that the host will send again:
//   after a start, the ids of what was appended since the last cursor are read from the log, and an event with such an
//   id is not written a second time.
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import type { AuditLog, BatchPlace, PositionedLog } from '../../audit/audit-log.ts';
import { type LogPlace, LogTail } from '../../audit/search-tail.ts';
import { EventCursors } from './event-cursors.ts';

export interface IntakePositions {
  /** Position expected next of this host's stream. */
  next(host: string, stream: string): Promise<number>;
  /** In the log already, without a position that says so. */
  has(uid: string): boolean;
  /** Resolves to the position expected after: anything but `next` means that another server was first. */
  append(place: BatchPlace, events: readonly AuditEvent[]): Promise<number>;
  close(): Promise<void>;
}

/** For logs that keep positions themselves. */
export function positionsInLog(log: PositionedLog): IntakePositions {
  return {
    next: (host, stream) => log.position(host, stream),
    has: () => false,
    append: (place, events) => log.appendAt(place, events),
    close: async () => undefined,
  };
}

export interface FilePositionsOptions {
  /** A FileLog; the two beside say where its files are. */
  readonly audit: Pick<AuditLog, 'append'>;
  readonly logDir: string;
  readonly hostId: string;
  readonly stateDir: string;
}

/** The log is read from the last cursor after a crash: no more of it than about this. */
const checkpointBytes = 32 * 1024 * 1024;

/** One auth server on its own files. */
export class FilePositions implements IntakePositions {
  readonly #audit: Pick<AuditLog, 'append'>;
  readonly #cursors: EventCursors;
  readonly #tail: LogTail;
  /** Ids of events that were in the log at the start and may be sent again. */
  readonly #arrived: Set<string>;

  private constructor(
    audit: Pick<AuditLog, 'append'>,
    cursors: EventCursors,
    tail: LogTail,
    arrived: Set<string>,
  ) {
    this.#audit = audit;
    this.#cursors = cursors;
    this.#tail = tail;
    this.#arrived = arrived;
  }

  static async open({ audit, logDir, hostId, stateDir }: FilePositionsOptions): Promise<FilePositions> {
    const tail = new LogTail(logDir, hostId);
    const cursors = await EventCursors.open(stateDir, await tail.end());
    const arrived = await readArrived(stateDir, tail, cursors.from);
    await cursors.checkpoint(await tail.end());
    return new FilePositions(audit, cursors, tail, arrived);
  }

  async next(host: string, stream: string): Promise<number> {
    return this.#cursors.next(host, stream);
  }

  has(uid: string): boolean {
    return this.#arrived.has(uid);
  }

  async append({ host, stream, next }: BatchPlace, events: readonly AuditEvent[]): Promise<number> {
    const end = await this.#tail.end();
    if (isFar(this.#cursors.from, end)) await this.#cursors.checkpoint(end);
    this.#cursors.begin(end);
    try {
      await this.#audit.append(events);
    } catch (thrown) {
      this.#cursors.abandon(end);
      throw thrown;
    }
    await this.#cursors.store(host, stream, next, end);
    return next;
  }

  close(): Promise<void> {
    return this.#cursors.close();
  }
}

function isFar(from: LogPlace, end: LogPlace): boolean {
  return from.file !== end.file || end.offset - from.offset > checkpointBytes;
}

/** Ids that are remembered over several crashes in a row, the newest. */
const maxArrived = 300_000;

/** Ids of the events behind `from`, and those that earlier starts found: their hosts may not have come back yet. */
async function readArrived(stateDir: string, tail: LogTail, from: LogPlace): Promise<Set<string>> {
  const path = join(stateDir, 'arrived');
  const before = (await readFile(path, 'utf8').catch(() => '')).split('\n').filter((uid) => uid !== '');
  const arrived = new Set(before);
  for await (const lines of tail.linesAfter(from)) {
    for (const line of lines) {
      const uid = uidOf(line);
      if (uid !== undefined) arrived.add(uid);
    }
  }
  for (const uid of arrived) {
    if (arrived.size <= maxArrived) break;
    arrived.delete(uid);
  }
  if (arrived.size > before.length) {
    await writeFile(`${path}.next`, [...arrived, ''].join('\n'), { mode: 0o600, flush: true });
    await rename(`${path}.next`, path);
  }
  return arrived;
}

/** Without parsing the line: nothing else of it matters. A text that looks like it is escaped in a line. */
function uidOf(line: string): string | undefined {
  return /"uid":"([0-9a-f-]{36})"/.exec(line)?.[1];
}
