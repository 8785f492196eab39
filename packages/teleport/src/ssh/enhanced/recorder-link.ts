// The connection to the recorder, outliving the recorder. When it dies it is started again (it takes over its
// predecessor's pinned maps), every session is looked up in it, and its owner is told what became of it.
import { AppError } from '@sallyport/contracts/errors.ts';
import type {
  Recorder,
  SessionTotals,
  Watched,
  WatchedSession,
  WatchRequest,
} from '@sallyport/kernel/recorder.ts';
import { fromKernel } from '../kernel-error.ts';
import type { NodeLog } from '../node-log.ts';

/** What a session hears of its watch. */
export interface WatchListener {
  /** The spool may be read up to here. */
  progress(spoolLength: number): void;
  /** The last task of the session is gone. */
  idle(): void;
  /** A loss was declared in the spool. */
  loss(): void;
  /** A new recorder took the session over. */
  resumed(session: WatchedSession): void;
  /** Nobody watches the session any more, or nobody can tell for too long. It stays so. */
  forgotten(error: AppError): void;
}

export interface RecorderLinkOptions {
  /** Connects to the recorder, starting it where none runs. */
  readonly start: () => Promise<Recorder>;
  /** A recorder that is away for longer counts as lost for the sessions it watched, ms. */
  readonly returnDeadlineMs: number;
  readonly log: NodeLog;
}

const retryMinMs = 50;
const retryMaxMs = 2_000;

export class RecorderLink {
  readonly #options: RecorderLinkOptions;
  readonly #listeners = new Map<string, WatchListener>();
  /** Sessions of ours that are over and whose watch nobody could end: there was no recorder to tell. */
  readonly #strays = new Set<string>();
  #recorder: Recorder | undefined;
  /** Resolves with the next recorder; set while there is none. */
  #returning: Promise<Recorder> | undefined;
  #closed = false;

  private constructor(options: RecorderLinkOptions) {
    this.#options = options;
  }

  /** Rejects when the recorder cannot be had at all: the service must not start then. */
  static async open(options: RecorderLinkOptions): Promise<RecorderLink> {
    const link = new RecorderLink(options);
    try {
      link.#adopt(await options.start());
    } catch (thrown) {
      throw fromKernel(thrown);
    }
    return link;
  }

  /** undefined while it is being brought back. */
  get recorder(): Recorder | undefined {
    return this.#recorder;
  }

  /** Subscribe before watch(): progress may come before its answer. Returns how to end it. */
  subscribe(sid: string, listener: WatchListener): () => void {
    this.#listeners.set(sid, listener);
    return () => {
      this.#listeners.delete(sid);
      if (this.#recorder === undefined && !this.#closed) this.#strays.add(sid);
    };
  }

  watch(request: WatchRequest): Promise<Watched> {
    return this.#ask((recorder) => recorder.watch(request));
  }

  end(sid: string): Promise<SessionTotals> {
    return this.#ask((recorder) => recorder.end(sid));
  }

  totals(sid: string): Promise<SessionTotals> {
    return this.#ask((recorder) => recorder.totals(sid));
  }

  list(): Promise<readonly WatchedSession[]> {
    return this.#ask((recorder) => recorder.list());
  }

  /** We are going down: what fails from now on is left to the next start. */
  closing(): void {
    this.#closed = true;
  }

  get isClosing(): boolean {
    return this.#closed;
  }

  /** Our connection only: the recorder and its sessions live on. */
  close(): void {
    this.#closed = true;
    this.#recorder?.close();
  }

  async #ask<T>(question: (recorder: Recorder) => Promise<T>): Promise<T> {
    try {
      return await question(await this.#current());
    } catch (thrown) {
      throw fromKernel(thrown);
    }
  }

  async #current(): Promise<Recorder> {
    if (this.#recorder) return this.#recorder;
    if (this.#closed || !this.#returning) throw recorderAway();
    return await within(this.#returning, this.#options.returnDeadlineMs);
  }

  #adopt(recorder: Recorder): void {
    this.#recorder = recorder;
    recorder.on('progress', (sid, length) => this.#listeners.get(sid)?.progress(length));
    recorder.on('idle', (sid) => this.#listeners.get(sid)?.idle());
    recorder.on('loss', (sid) => this.#listeners.get(sid)?.loss());
    recorder.once('closed', (error) => this.#lost(error));
  }

  #lost(error: Error | undefined): void {
    this.#recorder = undefined;
    if (this.#closed) return;
    this.#options.log.error({ err: error }, 'the recorder is gone; starting it again');
    this.#returning = this.#bringBack();
    // Nobody may be asking just now: an unhandled rejection must not end the daemon.
    this.#returning.catch(() => {});
    const affected = [...this.#listeners];
    within(this.#returning, this.#options.returnDeadlineMs).then(
      () => this.#reconcile(affected),
      (reason) => tellForgotten(affected, AppError.from(reason)),
    );
  }

  async #bringBack(): Promise<Recorder> {
    let waitMs = retryMinMs;
    for (;;) {
      try {
        const recorder = await this.#options.start();
        this.#adopt(recorder);
        const { pid, resumedSessions } = recorder.hello;
        this.#options.log.warn({ pid, resumedSessions }, 'the recorder is back');
        void this.#endStrays(recorder);
        return recorder;
      } catch (err) {
        if (this.#closed) throw err;
        this.#options.log.error({ err }, 'the recorder does not start');
      }
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      waitMs = Math.min(waitMs * 2, retryMaxMs);
    }
  }

  /** Ours only: a recorder may watch sessions of another daemon, too. */
  async #endStrays(recorder: Recorder): Promise<void> {
    const strays = new Set(this.#strays);
    try {
      for (const { sessionId } of await recorder.list())
        if (strays.has(sessionId)) await recorder.end(sessionId);
      for (const sid of strays) this.#strays.delete(sid);
    } catch (err) {
      this.#options.log.warn({ err }, 'watches of sessions that are over could not be ended');
    }
  }

  async #reconcile(affected: [string, WatchListener][]): Promise<void> {
    try {
      const watched = new Map((await this.list()).map((session) => [session.sessionId, session]));
      for (const [sid, listener] of affected) {
        const session = watched.get(sid);
        if (session) listener.resumed(session);
        else listener.forgotten(notTakenOver());
      }
    } catch (reason) {
      tellForgotten(affected, AppError.from(reason));
    }
  }
}

function tellForgotten(affected: [string, WatchListener][], error: AppError): void {
  for (const [, listener] of affected) listener.forgotten(error);
}

function recorderAway(): AppError {
  return new AppError('unavailable', 'recorder.away', 'The kernel recorder of this node is not running.', {
    hint: 'The node starts it again by itself; its log says why it does not come back.',
  });
}

function notTakenOver(): AppError {
  return new AppError(
    'unavailable',
    'recorder.session_lost',
    'The kernel recorder died and the one after it could not take this session over.',
  );
}

function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(recorderAway()), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
