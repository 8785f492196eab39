// What a connection forwards is a session of the log: opened in the same order as a shell's, watched by the kernel,
// so that each connection the relay makes stands there as what it is, and closed with the same totals. It has no
// terminal and no command: `purpose` tells it apart.
import { AppError } from '@sallyport/contracts/errors.ts';
import { type Gap, KernelWatch } from '../kernel-watch.ts';
import type { LaunchedSession } from '../launch.ts';
import { OpeningFailed, openSession, type StepName } from '../opening.ts';
import { closeSession } from '../session-closing.ts';
import { recordingFailedEvent, startEvent } from '../session-events.ts';
import type { SessionFacts } from '../session-facts.ts';
import type { SessionHost } from '../session-host.ts';
import { forgetSession, writeJournal } from '../session-journal.ts';
import type { SessionRecord } from '../session-record.ts';
import type { LiveSession } from '../session-registry.ts';
import type { ByteCounts } from '../terminal-flow.ts';
import { Relay } from './relay.ts';

/** A relay that is told to end removes its sockets; then it is killed, ms. */
const farewellMs = 1_000;

export class ForwardSession implements LiveSession {
  readonly facts: SessionFacts;
  /** Resolves when its session.end is durable, or nothing is left of one that did not open. Never rejects. */
  readonly over: Promise<void>;
  /** Payload of everything forwarded. */
  readonly counts: ByteCounts = { tx: 0, rx: 0 };
  readonly #host: SessionHost;
  readonly #remoteHost: string;
  readonly #record: SessionRecord;
  readonly #watch: KernelWatch | undefined;
  readonly #opened = Promise.withResolvers<Relay>();
  #launched: LaunchedSession | undefined;
  #relay: Relay | undefined;
  #announced = false;
  #leaving = false;
  #ended: AppError | undefined;

  constructor(host: SessionHost, facts: SessionFacts, remoteHost: string) {
    this.facts = facts;
    this.#host = host;
    this.#remoteHost = remoteHost;
    this.#record = host.record((which, error) => this.#failed(which, error, this.#isStrict));
    this.#watch = host.kernel && this.#makeWatch(host);
    this.#opened.promise.catch(() => {});
    this.over = this.#run();
  }

  /** Resolves with the relay, let off and watched. Rejects with an AppError whose message may be shown. */
  get relay(): Promise<Relay> {
    return this.#opened.promise;
  }

  end(reason: AppError): void {
    this.#ended ??= reason;
    this.#leave();
  }

  hangUp(): void {
    this.#leave();
  }

  async detach(): Promise<void> {
    await this.#watch?.detach();
    await this.#record.abandon();
  }

  get #isStrict(): boolean {
    return this.facts.recordSession === 'strict';
  }

  #makeWatch(host: SessionHost): KernelWatch | undefined {
    if (!host.kernel) return undefined;
    return new KernelWatch({
      kernel: host.kernel,
      facts: this.facts,
      emitter: this.#record.emitter,
      turn: this.#record.turn,
      audit: host.audit,
      record: async () => {}, // nothing of a terminal is recorded
      log: host.log,
      onGap: (gap) => this.#gap(gap),
    });
  }

  async #run(): Promise<void> {
    try {
      const relay = await this.#open();
      if (!relay) return;
      this.#opened.resolve(relay);
      if (this.#leaving) this.#leave(); // asked for while it was opening
      await relay.closed;
      this.#leave(); // it may have ended by itself
      await this.#launched?.closed;
      this.#watch?.expectIdle();
      await this.#watch?.whenIdle;
      await this.#close(this.#ended?.message);
    } catch (err) {
      // Journal and spool are still there: recovery finishes what we could not.
      this.#host.log.error({ err, sid: this.facts.sid }, 'forwarding was not closed; left to the next start');
    }
  }

  /** undefined: it did not open, which whoever waits for the relay has been told. */
  async #open(): Promise<Relay | undefined> {
    const { spoolDir } = this.#host;
    const parts = {
      journal: () => writeJournal(spoolDir, this.facts, this.#host),
      cgroup: async () => await this.#watch?.makeCgroup(),
      launcher: () => this.#launch(),
      watch: async () => {
        if (this.#launched) await this.#watch?.watch(this.#launched);
      },
      announce: () => this.#announce(),
      hold: async () => {}, // whoever must be seen forwards nothing (refusesUnattended)
      go: async () => await this.#launched?.go(),
    };
    const { recordSession } = this.facts;
    try {
      await openSession(parts, { recordSession, degraded: (step, error) => this.#degraded(step, error) });
    } catch (thrown) {
      this.#opened.reject(AppError.from(thrown));
      await this.#notOpened(thrown);
      return undefined;
    }
    return this.#makeRelay();
  }

  #makeRelay(): Relay | undefined {
    const { pipes, uid } = this.#launched ?? {};
    if (!pipes || uid === undefined) return undefined; // not so: a relay is launched without a terminal
    this.#relay = new Relay(pipes.stdin, pipes.stdout, uid, this.counts);
    pipes.stderr.resume();
    return this.#relay;
  }

  async #launch(): Promise<void> {
    this.#launched = await this.#host.launch({
      launcher: this.#host.launcher,
      login: this.facts.login,
      command: undefined,
      relay: true,
      env: {},
      cgroupDir: this.#watch?.cgroupDir,
      ...this.#host.manners(this.facts),
      remoteHost: this.#remoteHost,
    });
    for (const warning of this.#launched.warnings) this.#host.log.warn({ sid: this.facts.sid }, warning);
  }

  async #announce(): Promise<void> {
    await this.#record.append(startEvent(this.facts));
    this.#announced = true;
    this.#watch?.release();
  }

  #degraded(step: StepName, error: AppError): void {
    this.#host.log.error(
      { err: error, sid: this.facts.sid, step },
      'forwarding goes on without being fully recorded',
    );
    const which = step === 'announce' ? 'audit' : 'enhanced';
    void this.#record.emit(recordingFailedEvent(this.facts, which, error, 'continued'));
  }

  async #notOpened(thrown: unknown): Promise<void> {
    const error = AppError.from(thrown);
    const step = thrown instanceof OpeningFailed ? thrown.step : 'go';
    this.#host.log.error({ err: error, sid: this.facts.sid, step }, 'forwarding did not open');
    this.#launched?.kill();
    await this.#launched?.closed;
    await this.#watch?.kill();
    if (step !== 'launcher' && step !== 'go')
      await this.#record.emit(recordingFailedEvent(this.facts, 'enhanced', error, 'refused'));
    if (this.#announced) return this.#close(error.message);
    await this.#watch?.discard();
    await forgetSession(this.#host.spoolDir, this.facts.sid);
  }

  #leave(): void {
    this.#leaving = true;
    this.#relay?.close();
    const launched = this.#launched;
    if (!launched) return;
    const timer = setTimeout(() => launched.kill(), farewellMs);
    void launched.closed.then(() => clearTimeout(timer));
  }

  async #close(interrupted: string | undefined): Promise<void> {
    const { facts, counts } = this;
    const { spoolDir } = this.#host;
    await closeSession({
      facts,
      record: this.#record,
      watch: this.#watch,
      spoolDir,
      counts,
      left: false,
      interrupted,
    });
  }

  /** As for a shell: a loss is the loss policy's, a watch or a log that is gone is a session that is not recorded. */
  #gap({ kind, error }: Gap): void {
    const strict = kind === 'loss' ? this.facts.lossPolicy === 'strict' : this.#isStrict;
    this.#failed(kind === 'log' ? 'audit' : 'enhanced', error, strict);
  }

  #failed(which: 'terminal' | 'enhanced' | 'audit', error: AppError, strict: boolean): void {
    this.#host.log.error({ err: error, sid: this.facts.sid }, `the ${which} record of forwarding broke`);
    if (this.#ended) return;
    void this.#record.emit(recordingFailedEvent(this.facts, which, error, strict ? 'ended' : 'continued'));
    if (strict) this.end(error);
  }
}
