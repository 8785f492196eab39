// One session's life: opening, flow, leaving, lingering, closing. What each step means for the evidence is in
// opening.ts and session-closing.ts; how bytes move is in session-flow.ts; the kernel's side in kernel-watch.ts.
//
// The channel closes when sshd's would. What the user left running goes on, watched: the session ends, for the
// log, when the last of its tasks is gone.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { TerminalRecording } from '../recording/terminal-recording.ts';
import type { SessionChannel } from '../ssh-transport/session-channel.ts';
import { Transfer, type TransferKind } from './file-transfer/transfer.ts';
import { type Gap, KernelWatch } from './kernel-watch.ts';
import type { LaunchedSession, PtyRequest, WindowSize } from './launch.ts';
import { OpeningFailed, type OpeningParts, openSession, type StepName } from './opening.ts';
import { closeSession } from './session-closing.ts';
import {
  execEvent,
  leaveEvent,
  recordingFailedEvent,
  rejectedEvent,
  resizeEvent,
  startEvent,
} from './session-events.ts';
import type { SessionFacts } from './session-facts.ts';
import { execOutcome, SessionFlow } from './session-flow.ts';
import { SessionGround } from './session-ground.ts';
import type { SessionHost } from './session-host.ts';
import { forgetSession, writeJournal } from './session-journal.ts';
import type { SessionRecord } from './session-record.ts';
import { Party } from './sharing/party.ts';
import type { Moderation, SessionSharing } from './sharing/sharing.ts';
import type { ByteCounts } from './terminal-flow.ts';

export interface SessionRequest {
  readonly facts: SessionFacts;
  readonly channel: SessionChannel;
  readonly pty: PtyRequest | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly remoteHost: string;
  /** It copies files: no terminal, and each thing done to a file is an event. */
  readonly transfer?: TransferKind | undefined;
  readonly sharing: SessionSharing;
  /** Who must be there; undefined: nobody. */
  readonly moderation?: Moderation | undefined;
  /** What is told of the session in the list of live ones is different now. */
  readonly changed?: (() => void) | undefined;
}

export class Session {
  readonly facts: SessionFacts;
  readonly #host: SessionHost;
  readonly #request: SessionRequest;
  readonly #record: SessionRecord;
  readonly #watch: KernelWatch | undefined;
  readonly party: Party;
  readonly #counts: ByteCounts = { tx: 0, rx: 0 };
  /** Resolves when the channel is gone. */
  readonly #gone = Promise.withResolvers<void>();
  #launched: LaunchedSession | undefined;
  #pendingSize: WindowSize | undefined;
  #announced = false;
  #detached = false;
  readonly #ground: SessionGround;
  /** Why we ended it, when we did. */
  #ended: AppError | undefined;
  readonly #broken = new Set<string>();

  constructor(host: SessionHost, request: SessionRequest) {
    this.facts = request.facts;
    this.#host = host;
    this.#request = request;
    this.#record = host.record((which, error) => this.#recordBroken(which, error));
    this.#watch = host.kernel && this.#makeWatch(host);
    const { facts } = request;
    this.#ground = new SessionGround({ host, facts, watch: this.#watch, launched: () => this.#launched });
    this.party = new Party({
      facts: this.facts,
      channel: request.channel,
      record: this.#record,
      sharing: request.sharing,
      moderation: request.moderation,
      standstill: this.#ground.tasks,
      end: (reason) => this.end(reason),
      changed: () => request.changed?.(),
    });
  }

  #makeWatch(host: SessionHost): KernelWatch | undefined {
    if (!host.kernel) return undefined;
    return new KernelWatch({
      kernel: host.kernel,
      facts: this.facts,
      emitter: this.#record.emitter,
      turn: this.#record.turn,
      audit: host.audit,
      record: (events) => this.#record.keep(events),
      log: host.log,
      onGap: (gap) => this.#gap(gap),
    });
  }

  /** Resolves when session.end is durable (or the session never began, and nothing of it is left). Never rejects. */
  async run(): Promise<void> {
    try {
      await openSession(this.#openingParts(), {
        recordSession: this.facts.recordSession,
        degraded: (step, error) => this.#degraded(step, error),
      });
    } catch (thrown) {
      await this.#guarded(this.#notOpened(thrown));
      return;
    }
    await this.#guarded(this.#live());
  }

  /** Grows when the user does something: types, or, where there is no terminal, is sent what a command puts out. */
  get activity(): number {
    return this.#counts.rx + (this.#request.pty === undefined ? this.#counts.tx : 0);
  }

  resize(size: WindowSize): void {
    if (this.#request.pty === undefined) return;
    this.#pendingSize = size;
    this.party.resized(size);
    if (!this.#launched || !this.#announced) return; // applied when it has been launched
    this.#launched.resize(size);
    void this.#record.emit(resizeEvent(this.facts, size));
  }

  signal(name: string): boolean {
    return this.party.runs ? (this.#launched?.signal(name) ?? false) : false;
  }

  /** The channel is gone, whoever closed it. */
  channelClosed(): void {
    this.#gone.resolve();
    const left = new AppError('unavailable', 'session.owner_left', 'Its owner left.');
    this.party.abort(left);
    // Whoever is frozen cannot hang up; and nobody waits for it any more.
    if (this.#announced && !this.party.runs) this.end(left);
  }

  /** Ends the session for a reason its user is told. What runs in it is killed. */
  end(reason: AppError): void {
    if (this.#ended) return;
    this.#ended = reason;
    const words = `This session was ended: ${reason.message}`;
    this.#tell(words);
    this.party.tell(words);
    this.party.abort(reason);
    void this.#kill();
  }

  /** The node stops: the user is told and the terminal hangs up. What survives a hang-up lives on, watched. */
  hangUp(message: string): void {
    // Whoever had to see it goes, too.
    if (this.facts.attended) this.end(new AppError('unavailable', 'session.service_stops', message));
    else this.#tell(message);
    this.#launched?.hangUp();
    void this.#request.channel.close();
  }

  async detach(): Promise<void> {
    this.#detached = true;
    this.#ground.tasks.close();
    await this.#watch?.detach();
    await this.#record.abandon();
  }

  #openingParts(): OpeningParts {
    const { spoolDir } = this.#host;
    return {
      journal: () => writeJournal(spoolDir, this.facts, this.#host),
      cgroup: () => this.#ground.makeCgroup(),
      launcher: () => this.#launch(),
      watch: async () => {
        if (this.#launched) await this.#watch?.watch(this.#launched);
      },
      announce: () => this.#announce(),
      hold: () => this.#hold(),
      go: async () => await this.#launched?.go(),
    };
  }

  async #hold(): Promise<void> {
    await this.#ground.guard((reason) => this.end(reason));
    await this.party.begin();
  }

  async #launch(): Promise<void> {
    const { env, remoteHost, pty } = this.#request;
    this.#launched = await this.#host.launch({
      launcher: this.#host.launcher,
      login: this.facts.login,
      command: this.facts.command,
      ...(this.#request.transfer === 'sftp' ? { sftp: true } : {}),
      env: { ...env, ...this.#connectionVariables() },
      ...(pty === undefined ? {} : { pty: { ...pty, ...this.#pendingSize } }),
      cgroupDir: this.#ground.cgroupDir,
      ...this.#host.manners(this.facts),
      remoteHost,
    });
    for (const warning of this.#launched.warnings) this.#host.log.warn({ sid: this.facts.sid }, warning);
  }

  /** As sshd sets them: `client port server-port`, and the same with the server's address. */
  #connectionVariables(): Record<string, string> {
    const remote = splitAddress(this.facts.remoteAddr);
    const local = splitAddress(this.facts.localAddr);
    return {
      SSH_CLIENT: `${remote.host} ${remote.port} ${local.port}`,
      SSH_CONNECTION: `${remote.host} ${remote.port} ${local.host} ${local.port}`,
    };
  }

  async #announce(): Promise<void> {
    if (this.facts.recordingMode !== 'off') {
      const { logDir, node } = this.#host;
      const nextEi = () => this.#record.emitter.nextEi();
      this.#record.open(
        await TerminalRecording.create({ logDir, hostId: node.serverId, sid: this.facts.sid, nextEi }),
      );
    }
    await this.#record.append(startEvent(this.facts));
    this.#announced = true;
    this.#watch?.release();
  }

  /** A step of the evidence failed and the role lets the session go on. */
  #degraded(step: StepName, error: AppError): void {
    const { log } = this.#host;
    log.error({ err: error, sid: this.facts.sid, step }, 'a session goes on without being fully recorded');
    this.#tell(`Warning: this session is not fully recorded: ${error.message}`);
    const which = step === 'announce' ? 'audit' : 'enhanced';
    void this.#record.emit(recordingFailedEvent(this.facts, which, error, 'continued'));
  }

  /** Nothing has been executed. The user learns why; nothing is left behind. */
  async #notOpened(thrown: unknown): Promise<void> {
    const error = AppError.from(thrown);
    const step = thrown instanceof OpeningFailed ? thrown.step : 'go';
    this.#host.log.error({ err: error, sid: this.facts.sid, step }, 'a session did not open');
    this.#tell(error.hint === undefined ? error.message : `${error.message} ${error.hint}`);
    this.#launched?.kill();
    const status = notOpenedStatus(error);
    this.#request.channel.exit(status);
    await Promise.all([this.#request.channel.close(), this.#launched?.closed]);
    if (step !== 'launcher' && step !== 'go' && step !== 'hold') {
      await this.#record.emit(recordingFailedEvent(this.facts, 'enhanced', error, 'refused'));
    } else if (this.facts.command !== undefined) {
      await this.#record.emit(execEvent(this.facts, status, error.message));
    }
    if (step === 'launcher') await this.#record.emit(rejectedEvent(this.facts, error.message));
    await this.#ground.tasks.kill();
    if (this.#announced) {
      await this.party.close('The session did not begin.');
      return this.#close(false, error.message);
    }
    await this.#watch?.discard();
    await this.#record.finish();
    await this.#ground.leave();
    await forgetSession(this.#host.spoolDir, this.facts.sid);
  }

  async #live(): Promise<void> {
    const launched = this.#launched;
    if (!launched) return;
    if (this.#pendingSize) launched.resize(this.#pendingSize);
    if (this.#ended) await this.#kill(); // asked for while it was opening
    const transfer = this.#makeTransfer();
    const flow = new SessionFlow({
      channel: this.#request.channel,
      launched,
      transfer,
      record: (bytes) => this.#recordOutput(bytes),
      counts: this.#counts,
      gone: this.#gone.promise,
      party: this.party,
    });
    const leader = flow.followLeader();
    await this.#gone.promise;
    flow.hangUp();
    // What needs somebody beside it does not go on when everybody has left; nor until the log has it.
    if (this.facts.attended) await this.#ground.tasks.kill();
    await this.party.close('The session has ended.');
    const [exit] = await Promise.all([leader, this.#record.emit(leaveEvent(this.facts))]);
    await transfer?.finish();
    if (this.facts.command !== undefined) await this.#record.emit(execOutcome(this.facts, exit));
    await launched.closed;
    this.#watch?.expectIdle();
    await this.#watch?.whenIdle;
    await this.#close(true, this.#ended?.message);
  }

  #makeTransfer(): Transfer | undefined {
    const kind = this.#request.transfer;
    if (kind === undefined) return undefined;
    const emit = (drafts: readonly EventDraft[]) => this.#record.emitAll(drafts);
    return new Transfer({ kind, facts: this.facts, emit, end: (reason) => this.end(reason) });
  }

  /** False: the bytes are not recorded and must not be passed on. */
  async #recordOutput(bytes: Buffer): Promise<boolean> {
    return (await this.#record.print(bytes)) || this.facts.recordSession === 'best_effort';
  }

  async #close(left: boolean, interrupted: string | undefined): Promise<void> {
    await this.#ground.leave();
    await closeSession({
      facts: this.facts,
      record: this.#record,
      watch: this.#watch,
      spoolDir: this.#host.spoolDir,
      counts: this.#counts,
      left,
      interrupted,
      participants: this.party.participants,
    });
  }

  async #kill(): Promise<void> {
    this.#launched?.kill();
    await this.#ground.tasks.kill();
  }

  /** Kernel evidence is missing, or will be. What follows is the role's decision. */
  #gap(gap: Gap): void {
    this.#host.log.error(
      { err: gap.error, sid: this.facts.sid, gap: gap.kind },
      'a gap in a session’s evidence',
    );
    // A declared loss is what a loss policy is for; a recorder that forgot the session, or a log that takes
    // nothing, is a session that cannot be recorded.
    const strict =
      gap.kind === 'loss' ? this.facts.lossPolicy === 'strict' : this.facts.recordSession === 'strict';
    this.#failed(gap.kind === 'log' ? 'audit' : 'enhanced', gap.error, strict);
  }

  #recordBroken(which: 'terminal' | 'audit', error: AppError): void {
    this.#host.log.error({ err: error, sid: this.facts.sid }, `the ${which} record of a session broke`);
    this.#failed(which, error, this.facts.recordSession === 'strict');
  }

  /** Once a kind of record: a full disk fails a thousand times a minute. */
  #failed(which: 'terminal' | 'enhanced' | 'audit', error: AppError, strict: boolean): void {
    const key = `${which}:${strict}`;
    if (this.#detached || this.#broken.has(key)) return;
    this.#broken.add(key);
    const consequence = strict ? 'ended' : 'continued';
    // Not awaited: the log may be what is broken; the queue holds it until it can be written.
    void this.#record.emit(recordingFailedEvent(this.facts, which, error, consequence));
    if (strict) this.end(error);
  }

  #tell(message: string): void {
    if (!this.#request.channel.isOpen) return;
    void this.#request.channel.stderr.write(Buffer.from(`\r\n${message.replaceAll('\n', '\r\n')}\r\n`));
  }

  async #guarded(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (err) {
      // Journal and spool are still there: recovery finishes what we could not.
      this.#host.log.error(
        { err, sid: this.facts.sid },
        'a session could not be closed; left to the next start',
      );
      await this.#request.channel.close();
    }
  }
}

/** What sshd ends with 1; whatever else the host has against it is 254. */
const plainFailures = new Set(['launch.shell_missing', 'launch.exec_failed', 'launch.password_expired']);

function notOpenedStatus({ code }: AppError): number {
  return plainFailures.has(code) ? 1 : 254;
}

function splitAddress(address: string): { host: string; port: string } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: address.slice(colon + 1) };
}
