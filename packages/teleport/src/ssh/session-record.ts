// One session's two records, the audit log and the recording, under one counter. What happens when a record
// breaks is not decided here: the session is told, once a kind.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent, EventDraft } from '@sallyport/contracts/events/event.ts';
import type { AppendQueue } from '../audit/append-queue.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import type { SessionEmitter } from '../audit/session-emitter.ts';
import type { SessionRecording } from '../recording/terminal-recording.ts';
import { Turn } from './turn.ts';

export interface SessionRecordOptions {
  readonly emitter: SessionEmitter;
  readonly log: AuditLog;
  /** Waits for a full disk and keeps the order; the node's, shared by its sessions. */
  readonly queue: AppendQueue;
  readonly onBroken: (record: 'terminal' | 'audit', error: AppError) => void;
}

/** Far more than ever wait, unless the log has been stuck for long; a client can ask for resizes without end. */
const maxWaiting = 1_000;

export class SessionRecord {
  readonly emitter: SessionEmitter;
  /** Whoever stamps an event of the session hands it over before the next one stamps. */
  readonly turn = new Turn();
  readonly #options: SessionRecordOptions;
  #recording: SessionRecording | undefined;
  #waiting = 0;

  constructor(options: SessionRecordOptions) {
    this.#options = options;
    this.emitter = options.emitter;
  }

  open(recording: SessionRecording): void {
    this.#recording = recording;
  }

  /** Resolves when the event is durable; rejects at once when the log cannot take it. For what must not go on without. */
  append(draft: EventDraft): Promise<void> {
    return this.turn.run(async () => {
      const event = this.emitter.stamp(draft);
      await this.#options.log.append([event]);
      await this.keep([event]);
    });
  }

  /** Resolves when the event is durable, however long the disk is full. Never rejects. */
  async emit(draft: EventDraft): Promise<void> {
    if (this.#waiting >= maxWaiting) {
      this.#options.onBroken('audit', tooManyWaiting());
      return;
    }
    this.#waiting += 1;
    try {
      await this.turn.run(async () => {
        const event = this.emitter.stamp(draft);
        // The recording first: its print lines take positions too, and one that comes while the log syncs must
        // stand behind. Nothing is printed any more at the end, and recovery would write a second one.
        const last = draft.event === 'session.end';
        if (!last) await this.keep([event]);
        await this.#options.queue.push([event]);
        if (last) await this.keep([event]);
      });
    } catch (thrown) {
      this.#options.onBroken('audit', AppError.from(thrown));
    } finally {
      this.#waiting -= 1;
    }
  }

  /** As `emit`, many at once: one write, one sync. None of them may be the last of the session. */
  async emitAll(drafts: readonly EventDraft[]): Promise<void> {
    try {
      await this.turn.run(async () => {
        const events = drafts.map((draft) => this.emitter.stamp(draft));
        await this.keep(events);
        await this.#options.queue.push(events);
      });
    } catch (thrown) {
      this.#options.onBroken('audit', AppError.from(thrown));
    }
  }

  /** Into the recording. By whoever has the turn. */
  async keep(events: readonly AuditEvent[]): Promise<void> {
    try {
      await this.#recording?.events(events);
    } catch (thrown) {
      this.#options.onBroken('terminal', AppError.from(thrown));
    }
  }

  /** False: the bytes are not recorded. */
  async print(bytes: Buffer): Promise<boolean> {
    try {
      await this.#recording?.print(bytes);
      return true;
    } catch (thrown) {
      this.#options.onBroken('terminal', AppError.from(thrown));
      return false;
    }
  }

  async finish(): Promise<void> {
    try {
      await this.#recording?.finish();
    } catch (thrown) {
      this.#options.onBroken('terminal', AppError.from(thrown));
    }
  }

  /** Leaves the files for whoever comes after us. */
  async abandon(): Promise<void> {
    await this.#recording?.abandon();
  }
}

function tooManyWaiting(): AppError {
  const message = `${maxWaiting} events of the session wait for the audit log; one more was refused.`;
  return new AppError('limit', 'session.events_waiting', message);
}
