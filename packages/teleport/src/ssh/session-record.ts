// One session's two records, the audit log and the recording, under one counter. What happens when a record
// breaks is not decided here: the session is told, once a kind.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent, EventDraft } from '@sallyport/contracts/events/event.ts';
import type { AppendQueue } from '../audit/append-queue.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import type { SessionEmitter } from '../audit/session-emitter.ts';
import type { SessionRecording } from '../recording/terminal-recording.ts';

export interface SessionRecordOptions {
  readonly emitter: SessionEmitter;
  readonly log: AuditLog;
  /** Waits for a full disk and keeps the order; the node's, shared by its sessions. */
  readonly queue: AppendQueue;
  readonly onBroken: (record: 'terminal' | 'audit', error: AppError) => void;
}

export class SessionRecord {
  readonly emitter: SessionEmitter;
  readonly #options: SessionRecordOptions;
  #recording: SessionRecording | undefined;

  constructor(options: SessionRecordOptions) {
    this.#options = options;
    this.emitter = options.emitter;
  }

  open(recording: SessionRecording): void {
    this.#recording = recording;
  }

  /** Resolves when the event is durable; rejects at once when the log cannot take it. For what must not go on without. */
  async append(draft: EventDraft): Promise<void> {
    const event = this.emitter.stamp(draft);
    await this.#options.log.append([event]);
    await this.keep([event]);
  }

  /** Resolves when the event is durable, however long the disk is full. */
  async emit(draft: EventDraft): Promise<void> {
    const event = this.emitter.stamp(draft);
    try {
      await this.#options.queue.push([event]);
    } catch (thrown) {
      this.#options.onBroken('audit', AppError.from(thrown));
    }
    await this.keep([event]);
  }

  /** Into the recording what the log has. */
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
