// `POST /v1/events`: events of other hosts → the audit log, each once and in the order of its stream.
//
// First the append, then the cursor. A crash in between leaves events in the log that the host will send again:
// after a start, the ids of what was appended since the last cursor are read from the log, and an event with such
// an id is not written a second time.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, parseEvent } from '@sallyport/contracts/events/event.ts';
import type { AuditLog } from '../../audit/audit-log.ts';
import { positionGap } from '../../audit/outbox-drain.ts';
import { type LogPlace, LogTail } from '../../audit/search-tail.ts';
import type { ApiLog } from './api-server.ts';
import { EventCursors } from './event-cursors.ts';
import type { Handler } from './handler.ts';
import { UnreadableEvents } from './unreadable-events.ts';

export interface EventIntakeOptions {
  /** A FileLog; the two beside say where its files are. */
  readonly audit: AuditLog;
  readonly logDir: string;
  readonly hostId: string;
  /** `<data_dir>/intake`. */
  readonly stateDir: string;
  readonly clusterName: string;
  readonly log: ApiLog;
  /** For the audit log: a host sent events in the name of another one, or of another cluster. */
  readonly onForeign?: (refused: { readonly hostUuid: string; readonly reason: AppError }) => void;
}

type Emit = AuthRoutes['emitEvents'];
type Batch = Parameters<Handler<Emit>>[0]['body'];

/** Batches of a host that may wait for one another. A host of ours sends one at a time. */
const maxWaiting = 4;
/** The log is read from the last cursor after a crash: no more of it than about this. */
const checkpointBytes = 32 * 1024 * 1024;

export class EventIntake {
  readonly #options: EventIntakeOptions;
  readonly #cursors: EventCursors;
  readonly #tail: LogTail;
  readonly #unreadable: UnreadableEvents;
  /** Ids of events that were in the log at the start and may be sent again. */
  readonly #arrived: Set<string>;
  /** By host: the end of its queue. */
  readonly #queues = new Map<string, { tail: Promise<unknown>; waiting: number }>();
  #events = 0;
  #repeated = 0;

  private constructor(
    options: EventIntakeOptions,
    cursors: EventCursors,
    tail: LogTail,
    arrived: Set<string>,
  ) {
    this.#options = options;
    this.#cursors = cursors;
    this.#tail = tail;
    this.#arrived = arrived;
    this.#unreadable = new UnreadableEvents(join(options.stateDir, 'unreadable.jsonl'));
  }

  static async open(options: EventIntakeOptions): Promise<EventIntake> {
    const { stateDir, logDir, hostId } = options;
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const tail = new LogTail(logDir, hostId);
    const cursors = await EventCursors.open(stateDir, await tail.end());
    const arrived = await readArrived(stateDir, tail, cursors.from);
    await cursors.checkpoint(await tail.end());
    return new EventIntake(options, cursors, tail, arrived);
  }

  readonly handler: Handler<Emit> = async ({ body }, { caller, signal }) => {
    if (caller.kind !== 'host') throw new AppError('denied', 'audit.no_host', 'Only hosts send events.');
    return {
      acknowledged: await this.#inTurn(caller.hostUuid, () => this.#take(caller.hostUuid, body, signal)),
    };
  };

  get stats() {
    return { events: this.#events, repeated: this.#repeated, unreadable: this.#unreadable.count };
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#queues.values()].map(({ tail }) => tail));
    await this.#cursors.close();
  }

  /** One batch of a host at a time: the second must see the cursor of the first. */
  #inTurn<T>(host: string, work: () => Promise<T>): Promise<T> {
    const queue = this.#queues.get(host) ?? { tail: Promise.resolve(), waiting: 0 };
    if (queue.waiting >= maxWaiting) {
      const error = new AppError(
        'limit',
        'audit.intake_busy',
        'Earlier events of this host are being written.',
      );
      return Promise.reject(error);
    }
    this.#queues.set(host, queue);
    queue.waiting++;
    const done = queue.tail.then(work);
    queue.tail = done
      .catch(() => {})
      .finally(() => {
        if (--queue.waiting === 0) this.#queues.delete(host);
      });
    return done;
  }

  async #take(host: string, { stream, first, lines }: Batch, signal: AbortSignal): Promise<number> {
    const expected = this.#cursors.next(host, stream);
    if (first > expected) {
      throw new AppError(
        'conflict',
        positionGap,
        `Events from position ${expected} of the stream on are missing; ${first} was sent.`,
      );
    }
    // Sent again: its answer was lost.
    const fresh = lines.slice(expected - first);
    this.#repeated += lines.length - fresh.length;
    if (fresh.length === 0) return expected;
    const { events, unreadable } = this.#read(host, fresh);
    // Whoever hung up will send it again; the queue behind it need not wait for that.
    if (signal.aborted) throw new AppError('unavailable', 'audit.sender_gone', 'The sender has hung up.');
    await this.#unreadable.keep(host, unreadable);
    const next = expected + fresh.length;
    await this.#append(host, stream, next, events);
    return next;
  }

  async #append(host: string, stream: string, next: number, events: readonly AuditEvent[]): Promise<void> {
    const end = await this.#tail.end();
    if (isFar(this.#cursors.from, end)) await this.#cursors.checkpoint(end);
    this.#cursors.begin(end);
    try {
      await this.#options.audit.append(events);
    } catch (thrown) {
      this.#cursors.abandon(end);
      throw thrown;
    }
    this.#events += events.length;
    await this.#cursors.store(host, stream, next, end);
  }

  #read(host: string, lines: readonly string[]): { events: AuditEvent[]; unreadable: Unreadable[] } {
    const events: AuditEvent[] = [];
    const unreadable: Unreadable[] = [];
    for (const line of lines) {
      const parsed = parseEvent(line);
      if (!parsed.ok) {
        // Of a newer version, say. Kept aside rather than refused: one such event must not stop all others.
        unreadable.push({ line, reason: parsed.detail });
        this.#options.log.warn(
          { host, reason: parsed.detail },
          'an event of a host cannot be read and is kept aside',
        );
        continue;
      }
      this.#refuseForeign(host, parsed.event);
      if (this.#arrived.has(parsed.event.uid)) this.#repeated++;
      else events.push(parsed.event);
    }
    return { events, unreadable };
  }

  /** A host speaks for itself only, and never of what the auth service does. */
  #refuseForeign(hostUuid: string, event: AuditEvent): void {
    const { clusterName, onForeign } = this.#options;
    const server = 'server_id' in event ? event.server_id : undefined;
    const ours = event.cluster_name === clusterName;
    if (ours && (server === hostUuid || (server === undefined && ofNoServer.has(event.code)))) return;
    const what = ours
      ? `${event.code} in the name of ${server === undefined ? 'the cluster' : `host ${server}`}`
      : `of the cluster ${event.cluster_name}`;
    const reason = new AppError('denied', 'audit.foreign_event', `The host sent an event ${what}.`);
    onForeign?.({ hostUuid, reason });
    throw reason;
  }
}

/** What hosts send and what names a session only: session.upload and session.recording.access. */
const ofNoServer: ReadonlySet<string> = new Set(['T2005I', 'T2012I']);

interface Unreadable {
  readonly line: string;
  readonly reason: string;
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
