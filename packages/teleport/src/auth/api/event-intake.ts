// `POST /v1/events`: events of other hosts → the audit log, each once and in the order of its stream.
// What is known of how far each stream is, and moves with the append: intake-positions.ts.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, parseEvent } from '@sallyport/contracts/events/event.ts';
import type { AuditLog, PositionedLog } from '../../audit/audit-log.ts';
import { positionGap } from '../../audit/outbox-drain.ts';
import type { ApiLog } from './api-log.ts';
import type { Handler } from './handler.ts';
import { FilePositions, type IntakePositions, positionsInLog } from './intake-positions.ts';
import { UnreadableEvents } from './unreadable-events.ts';

export interface EventIntakeOptions {
  /** A FileLog; the two beside say where its files are. */
  readonly audit: Pick<AuditLog, 'append'>;
  /** The log, where it keeps positions itself; then the files above do not matter. */
  readonly positioned?: PositionedLog | undefined;
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
/** Servers that took a batch of the same stream while we were about to. */
const maxRaces = 5;

export class EventIntake {
  readonly #options: EventIntakeOptions;
  readonly #positions: IntakePositions;
  readonly #unreadable: UnreadableEvents;
  /** By host: the end of its queue. */
  readonly #queues = new Map<string, { tail: Promise<unknown>; waiting: number }>();
  #events = 0;
  #repeated = 0;

  private constructor(options: EventIntakeOptions, positions: IntakePositions) {
    this.#options = options;
    this.#positions = positions;
    this.#unreadable = new UnreadableEvents(join(options.stateDir, 'unreadable.jsonl'));
  }

  static async open(options: EventIntakeOptions): Promise<EventIntake> {
    const { stateDir, positioned } = options;
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const positions =
      positioned === undefined ? await FilePositions.open(options) : positionsInLog(positioned);
    return new EventIntake(options, positions);
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
    await this.#positions.close();
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

  async #take(host: string, batch: Batch, signal: AbortSignal): Promise<number> {
    for (let race = 0; ; race++) {
      const acknowledged = await this.#attempt(host, batch, signal);
      if (acknowledged !== undefined) return acknowledged;
      if (race < maxRaces) continue;
      throw new AppError('unavailable', 'audit.raced', 'Other auth servers take events of this stream.');
    }
  }

  /** `undefined`: another server took events of this stream meanwhile. */
  async #attempt(
    host: string,
    { stream, first, lines }: Batch,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    const expected = await this.#positions.next(host, stream);
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
    const after = await this.#positions.append({ host, stream, first: expected, next }, events);
    if (after !== next) return undefined;
    this.#events += events.length;
    return next;
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
      if (this.#positions.has(parsed.event.uid)) this.#repeated++;
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
