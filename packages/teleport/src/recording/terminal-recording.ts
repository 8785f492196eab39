// The recording of one session: terminal bytes, when they came, and the kernel's events, in the documented
// layout. While the session lives it is plain growing files; `finish` turns them into the .gz parts.
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';

export interface TerminalRecordingOptions {
  /** `<data_dir>/log`. */
  readonly logDir: string;
  readonly hostId: string;
  readonly sid: string;
  /** The session's shared event counter: `() => emitter.nextEi()`. */
  readonly nextEi: () => number;
  /** Wall clock, ms. */
  readonly now?: () => number;
}

export interface SessionRecording {
  /**
   * Hands terminal output to the file. Resolves once write(2) has taken the bytes (they survive a kill -9 of this
   * process); only then may the caller pass them on. Rejects with an AppError when they could not be recorded:
   * what to do then is the session's decision (session.recording_failed; fail closed).
   */
  print(bytes: Uint8Array): Promise<void>;

  /**
   * An audit event of the session. session.start, resize, session.join, session.leave and session.end go among the prints;
   * session.command, session.disk and session.network (and what follows from them: exit, outcome, close) into
   * their own parts; others are not part of a recording and ignored.
   */
  event(event: AuditEvent): Promise<void>;

  /** Makes the .gz parts and the index, atomically, and removes the live files. Idempotent. */
  finish(): Promise<void>;
}
