// The kernel's side of one session: its cgroup, its watch in the recorder, its spool on the way into the log.
// Knows nothing of channels and terminals; a session that was taken over after a crash has the same one.
import { rename } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import type { LostEvent, TotalsByKind } from '@sallyport/kernel/kernel-event.ts';
import type { SessionTotals, WatchedSession } from '@sallyport/kernel/recorder.ts';
import { SpoolReader } from '@sallyport/kernel/spool.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import type { SessionEmitter } from '../audit/session-emitter.ts';
import { SessionCgroup } from './cgroup.ts';
import type { Gate } from './enhanced/gate.ts';
import type { KernelMeter } from './enhanced/kernel-meter.ts';
import type { RecorderLink, WatchListener } from './enhanced/recorder-link.ts';
import type { SeenRecords } from './enhanced/seen-records.ts';
import { SpoolPump } from './enhanced/spool-pump.ts';
import { fromKernel } from './kernel-error.ts';
import type { NodeLog } from './node-log.ts';
import { type SessionFacts, sessionBlocks } from './session-facts.ts';
import { checkpointPath, spoolPath } from './session-journal.ts';
import type { Turn } from './turn.ts';

/** What every session of a node shares. */
export interface KernelSide {
  readonly link: RecorderLink;
  readonly spoolDir: string;
  readonly cgroupPath: string;
  readonly rootPath: string;
  /** How many spools are read at once. */
  readonly gate: Gate;
  readonly meter: KernelMeter;
}

export interface KernelWatchOptions {
  readonly kernel: KernelSide;
  readonly facts: SessionFacts;
  readonly emitter: SessionEmitter;
  /** The session's: see SessionRecord. */
  readonly turn: Turn;
  readonly audit: AuditLog;
  readonly record: (events: readonly AuditEvent[]) => Promise<void>;
  readonly log: NodeLog;
  /** At recovery only. */
  readonly seen?: SeenRecords;
  /** Evidence of this session is missing, or may be from now on. */
  readonly onGap: (gap: Gap) => void;
}

export interface Gap {
  /** `loss`: declared, the watch goes on. `forgotten`: the watch is over. `log`: the audit log takes nothing. */
  readonly kind: 'loss' | 'forgotten' | 'log';
  readonly error: AppError;
}

/** What the leader has that the recorder asks for. */
export interface Leader {
  readonly leaderPid: number;
  readonly supervisorPid: number;
  readonly auditSessionId: number | undefined;
}

export interface WatchResult {
  /** Watched from the first exec to the end. */
  readonly whole: boolean;
  /** The kernel's counters; undefined when they died with the recorder. */
  readonly totals: TotalsByKind | undefined;
}

/** Should an idle notification ever be missed, this is how late the session ends, ms. */
const idleCheckMs = 5_000;
/** Without a recorder the cgroup tells when the last process is gone. */
const cgroupCheckMs = 500;
const endRetryMs = 200;

export class KernelWatch implements WatchListener {
  readonly #options: KernelWatchOptions;
  readonly #pump: SpoolPump;
  readonly #idle = Promise.withResolvers<void>();
  #cgroup: SessionCgroup | undefined;
  #unsubscribe: (() => void) | undefined;
  #watched = false;
  #forgotten: AppError | undefined;
  #released = false;
  #detached = false;
  #spoolLength = 0;
  #check: NodeJS.Timeout | undefined;

  constructor(options: KernelWatchOptions) {
    this.#options = options;
    const { facts, kernel, emitter, turn, audit, record, seen } = options;
    this.#pump = new SpoolPump({
      spoolPath: spoolPath(kernel.spoolDir, facts.sid),
      checkpointPath: checkpointPath(kernel.spoolDir, facts.sid),
      sid: facts.sid,
      blocks: sessionBlocks(facts),
      emitter,
      turn,
      log: audit,
      record,
      gate: kernel.gate,
      meter: kernel.meter,
      ...(seen === undefined ? {} : { seen }),
      onLost: (event) => this.#lost(event),
      onTrouble: (error) => options.onGap({ kind: 'log', error }),
    });
  }

  /** Resolves when the last task of the session is gone. */
  get whenIdle(): Promise<void> {
    return this.#idle.promise;
  }

  get cgroup(): SessionCgroup | undefined {
    return this.#cgroup;
  }

  get cgroupDir(): string | undefined {
    return this.#cgroup?.home;
  }

  async makeCgroup(): Promise<void> {
    const { kernel, facts } = this.#options;
    const nested = facts.attended;
    this.#cgroup = await SessionCgroup.create(kernel.cgroupPath, kernel.rootPath, facts.sid, { nested });
  }

  /** Resolves with the recorder's acknowledgement: from here on nothing of the leader goes unseen. */
  async watch(leader: Leader): Promise<void> {
    const { kernel, facts } = this.#options;
    if (!this.#cgroup)
      throw new AppError('unavailable', 'session.no_cgroup', 'The session has no cgroup to be watched in.');
    this.#unsubscribe = kernel.link.subscribe(facts.sid, this);
    await kernel.link.watch({
      sessionId: facts.sid,
      cgroupId: this.#cgroup.id,
      auditSessionId: leader.auditSessionId,
      leaderPid: leader.leaderPid,
      supervisorPid: leader.supervisorPid,
      kinds: facts.kinds,
      policy: facts.lossPolicy,
    });
    this.#watched = true;
  }

  /** session.start is in the log: kernel events may follow it there. */
  release(): void {
    this.#released = true;
    this.#pump.advance(this.#spoolLength);
  }

  /** Takes over the session of a dead daemon. `live`: the recorder still watches it. */
  async adopt(live: WatchedSession | undefined): Promise<void> {
    const { kernel, facts } = this.#options;
    this.#cgroup = await SessionCgroup.reopen(kernel.cgroupPath, kernel.rootPath, facts.sid);
    this.#released = true;
    if (live === undefined) {
      this.#idle.resolve();
      return;
    }
    this.#watched = true;
    this.#unsubscribe = kernel.link.subscribe(facts.sid, this);
    this.resumed(live);
    this.expectIdle();
  }

  /** The user is gone: from now on somebody waits for the end, and a lost notification would be felt. */
  expectIdle(): void {
    if (this.#check) return;
    if (!this.#watched) {
      // best_effort, and never watched: nobody but the cgroup can tell when the last process is gone.
      this.#check = setInterval(() => this.#askCgroup(), cgroupCheckMs);
      return;
    }
    const { link } = this.#options.kernel;
    this.#check = setInterval(() => {
      if (this.#forgotten || !link.recorder) return;
      link.totals(this.#options.facts.sid).then(
        ({ liveTasks }) => liveTasks === 0 && this.idle(),
        () => {}, // asked again at the next tick
      );
    }, idleCheckMs);
    this.#check.unref();
  }

  /** SIGKILL to everything in the session's cgroup. What left it is killed with its leader, or lingers watched. */
  async kill(): Promise<void> {
    await this.#cgroup?.kill().catch((err) => this.#options.log.error({ err }, 'a cgroup was not killed'));
  }

  /** Closes the watch. Resolves when every kernel event of the session is in the log. */
  async finish(): Promise<WatchResult> {
    clearInterval(this.#check);
    let totals: TotalsByKind | undefined;
    let whole = false;
    const ended = this.#watched ? await this.#end() : undefined;
    if (ended) {
      await this.#pump.drain(ended.spoolLength);
      totals = ended.kinds;
      whole = true;
    }
    if (this.#detached) throw new AppError('unavailable', 'session.detached', 'The service is going down.');
    // Ended by a daemon before us, or its recorder is gone: the file holds all there will ever be.
    if (totals === undefined && (await this.#pump.exists()) && (await this.#isReadable())) {
      await this.#pump.drainWhole();
      totals = await this.#pump.totalsInSpool();
      // The recorder writes its last frame only when it watched to the end.
      whole = totals !== undefined;
    }
    this.#unsubscribe?.();
    if (totals) this.#options.kernel.meter.ended(totals);
    return { whole, totals };
  }

  /** False: a daemon of another version had the session. Its evidence is kept aside; this session ends without it. */
  async #isReadable(): Promise<boolean> {
    const { kernel, facts, log } = this.#options;
    const path = spoolPath(kernel.spoolDir, facts.sid);
    try {
      await (await SpoolReader.open(path)).close();
      return true;
    } catch (thrown) {
      const error = fromKernel(thrown);
      if (error.code !== 'spool.wire.mismatch') throw error;
      await rename(path, `${path}.other-version`);
      log.error({ err: error, sid: facts.sid, kept: `${path}.other-version` }, 'a spool cannot be read');
      this.#gap('forgotten', error);
      return false;
    }
  }

  /**
   * undefined: the recorder does not know the session any more. A recorder that dies meanwhile is asked again
   * when it is back. Rejects when the service goes down: the next start ends the watch.
   */
  async #end(): Promise<SessionTotals | undefined> {
    const { kernel, facts, log } = this.#options;
    // Forgotten and back again: the kernel went on counting in its pinned maps, and the new recorder knows.
    while (!this.#forgotten || kernel.link.recorder) {
      try {
        return await kernel.link.end(facts.sid);
      } catch (thrown) {
        const error = AppError.from(thrown);
        if (kernel.link.isClosing) throw error;
        if (error.kind === 'not_found') return undefined;
        log.warn({ err: error, sid: facts.sid }, 'the watch did not end; it is asked again');
      }
      await delay(endRetryMs);
    }
    return undefined;
  }

  /** Leaves the session to the recorder and to the next start. Nothing of it is written any more. */
  async detach(): Promise<void> {
    this.#detached = true;
    clearInterval(this.#check);
    this.#unsubscribe?.();
    await this.#pump.stop();
  }

  /** Records that are in the log, by kind. */
  get logged() {
    return this.#pump.logged;
  }

  /** For a session that never began: nothing of it goes into the log. */
  async discard(): Promise<void> {
    clearInterval(this.#check);
    if (this.#watched) {
      await this.#options.kernel.link
        .end(this.#options.facts.sid)
        .catch((err) => this.#options.log.warn({ err }, 'the watch of a refused session did not end'));
    }
    this.#unsubscribe?.();
    await this.close();
  }

  /** Lets go of files and of the cgroup. */
  async close(): Promise<void> {
    await this.#pump.stop();
    await this.#cgroup?.remove().catch((err) => this.#options.log.warn({ err }, 'a cgroup was not removed'));
  }

  progress(spoolLength: number): void {
    this.#spoolLength = Math.max(this.#spoolLength, spoolLength);
    if (this.#released) this.#pump.advance(this.#spoolLength);
  }

  idle(): void {
    clearInterval(this.#check);
    this.#idle.resolve();
  }

  /** The spool says how much; see #lost. */
  loss(): void {
    this.#gap(
      'loss',
      new AppError('unavailable', 'session.events_lost', 'Kernel events of the session were lost.'),
    );
  }

  resumed(session: WatchedSession): void {
    this.progress(session.spoolLength);
    if (session.liveTasks === 0) this.idle();
  }

  forgotten(error: AppError): void {
    if (this.#forgotten) return;
    this.#forgotten = error;
    clearInterval(this.#check);
    this.#check = setInterval(() => this.#askCgroup(), cgroupCheckMs);
    this.#gap('forgotten', error);
  }

  #askCgroup(): void {
    const populated = this.#cgroup?.populated() ?? Promise.resolve(false);
    populated.then(
      (alive) => !alive && this.idle(),
      () => this.idle(), // the directory is gone, hence everything in it
    );
  }

  #lost(event: LostEvent): void {
    const message = `${event.count} ${event.kind} events of the session were lost (${event.cause}).`;
    this.#gap('loss', new AppError('unavailable', 'session.events_lost', message));
  }

  #gap(kind: Gap['kind'], error: AppError): void {
    this.#options.onGap({ kind, error });
  }
}
