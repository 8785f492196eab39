// Who is in a session besides its owner, what each of them may do, and whether those who must be there are. Output
// goes to all of them; input comes from the owner and from peers, and from nobody while the session is paused.
// Joining and leaving stand in the record before they take effect.
import {
  type JoinMode,
  maxParticipants,
  type SessionReport,
  type SessionState,
} from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { ChannelWriter, SessionChannel } from '../../ssh-transport/session-channel.ts';
import type { SessionFacts, TerminalSize } from '../session-facts.ts';
import { Hold } from './hold.ts';
import { InputMarks } from './input-marks.ts';
import { OutputTail } from './output-tail.ts';
import { Participant, type ParticipantFacts } from './participant.ts';
import { Pulse } from './pulse.ts';
import type { Missing, Moderation, Person, SessionSharing } from './sharing.ts';
import { inputEvent, joinEvent, leaveEvent, type SharedRecord } from './sharing-events.ts';
import { banner, leftByThemselves, leftText, missingText, sizeNotice } from './words.ts';

export interface PartyOptions {
  readonly facts: SessionFacts;
  /** The owner's. */
  readonly channel: SessionChannel;
  readonly record: SharedRecord;
  readonly sharing: SessionSharing;
  /** undefined: nobody must be there. */
  readonly moderation: Moderation | undefined;
  /** Stops or lets go what runs in the session. */
  readonly freeze: (frozen: boolean) => void;
  /** Ends the session for a reason its people are told. */
  readonly end: (reason: AppError) => void;
  /** Something of `report` is different now. */
  readonly changed: () => void;
}

export interface JoinRequest extends Omit<ParticipantFacts, 'joined'> {
  readonly channel: SessionChannel;
  /** See Pulse. */
  readonly ping: () => Promise<number | undefined>;
}

/** Bytes into the session's terminal. Resolves when it has room for more. */
export type TypeInto = (bytes: Buffer) => Promise<void>;

/** Windows of one person in one session: nobody takes the places of all others. */
const maxOfUser = 4;

const ctrlC = 0x03;
/** What a moderator presses to end the session; alone, so that a pasted text does not. */
const terminateKey = 't'.charCodeAt(0);

export class Party {
  readonly #options: PartyOptions;
  /** With the watch over their connection, where somebody must be there. */
  readonly #people = new Map<Participant, Pulse | undefined>();
  /** Those whose connection does not answer now. */
  readonly #silent = new Set<Participant>();
  /** Also those who left. */
  readonly #everybody = new Set<string>();
  readonly #tail = new OutputTail();
  readonly #marks: InputMarks;
  readonly #hold: Hold;
  #state: SessionState = 'pending';
  /** Between session.start and the end. */
  #open = false;
  /** Users whose joining is being written down. */
  readonly #joining: string[] = [];
  #size: TerminalSize | undefined;
  #typeInto: TypeInto | undefined;
  /** Somebody else could have typed: from then on it is noted who did. */
  #hadPeers = false;
  /** Closed while there is one: output waits, and what runs is frozen. */
  #gate: PromiseWithResolvers<boolean> | undefined;
  #leaving: Promise<unknown>[] = [];

  constructor(options: PartyOptions) {
    this.#options = options;
    this.#size = options.facts.terminal;
    this.#everybody.add(options.facts.user);
    this.#hold = new Hold(options.channel, options.sharing.holdMs);
    this.#marks = new InputMarks((mark) => void options.record.emit(inputEvent(options.facts, mark)));
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Everybody who was ever in it, the owner first. */
  get participants(): readonly string[] {
    return [...this.#everybody];
  }

  /** For the list of live sessions; undefined: it is not in it. */
  get report(): SessionReport | undefined {
    const { facts } = this.#options;
    if (!this.#open || facts.terminal === undefined) return undefined;
    const missing = this.#missing();
    return {
      sid: facts.sid,
      state: this.#state,
      login: facts.login,
      owner: facts.user,
      owner_roles: [...facts.roles],
      started: facts.started,
      participants: [
        { user: facts.user, mode: 'owner', joined: facts.started },
        ...[...this.#people.keys()].map(({ facts: { user, mode, joined } }) => ({ user, mode, joined })),
      ],
      ...(missing.length === 0 ? {} : { missing: missing.map(({ needs }) => needs.slice(0, 1024)) }),
    };
  }

  /**
   * session.start is in the log: people may come. Resolves when the session may begin; rejects when it may not, and
   * nothing of it has run then.
   */
  async begin(): Promise<void> {
    this.#open = true;
    const missing = this.#missing();
    if (missing.length === 0) this.#state = 'running';
    this.#options.changed();
    if (missing.length === 0) return;
    if (this.#options.facts.terminal === undefined) throw unattended(missing);
    await this.#hold.until(missingText(missing));
  }

  /** Whoever waits for the beginning is told why there is none. */
  abort(reason: AppError): void {
    this.#hold.abort(reason);
  }

  /** The terminal is there. */
  attach(typeInto: TypeInto): void {
    this.#typeInto = typeInto;
  }

  /** Resolves with the participant, or with why there is none. */
  async join(request: JoinRequest): Promise<Participant | string> {
    const { facts, record } = this.#options;
    const refused = this.#refuses(request, request.mode);
    if (refused !== undefined) return refused;
    this.#joining.push(request.user);
    const joined = new Date().toISOString();
    const participant = new Participant({ ...request, joined }, request.channel, {
      typed: (who, bytes) => this.#typed(who, bytes),
      left: (who, reason) => this.#left(who, reason),
    });
    try {
      this.#marks.flush();
      // On record first, so that nobody sees anything that the record does not know they saw.
      await record.append(joinEvent(facts, participant.facts));
    } catch (thrown) {
      return `the log cannot take it: ${AppError.from(thrown).message}`;
    } finally {
      this.#joining.splice(this.#joining.indexOf(request.user), 1);
    }
    this.#everybody.add(request.user);
    this.#enter(participant, request.ping);
    return participant;
  }

  /** Why somebody may not (any more) be in it. */
  #refuses(person: Person, mode: JoinMode): string | undefined {
    const { facts, sharing } = this.#options;
    if (!this.#open) return 'it does not take anybody now';
    if (facts.terminal === undefined) return 'it has no terminal';
    const users = [...this.#people.keys()].map((participant) => participant.facts.user).concat(this.#joining);
    if (users.length >= maxParticipants - 1) return `it has ${maxParticipants} participants already`;
    if (users.filter((user) => user === person.user).length >= maxOfUser)
      return `${person.user} is in it ${maxOfUser} times already`;
    return sharing.refusesJoin(person, { user: facts.user, roles: facts.roles }, mode);
  }

  #enter(participant: Participant, ping: JoinRequest['ping']): void {
    const { mode, user } = participant.facts;
    const { facts, channel } = this.#options;
    this.#people.set(participant, this.#pulseOf(participant, ping));
    // Between the append and now it may all have ended.
    if (!channel.isOpen || !this.#open) return void participant.leave('the session has ended');
    if (mode === 'peer') this.#hadPeers = true;
    participant.send(banner(facts, mode, this.#state, this.#size));
    participant.send(this.#tail.snapshot());
    participant.listen();
    this.#tellAll(`[${user} joined the session as ${mode}.]`, participant);
    this.#review();
  }

  #pulseOf(participant: Participant, ping: JoinRequest['ping']): Pulse | undefined {
    if (!this.#options.moderation) return undefined;
    return new Pulse({
      ping,
      silent: (silent) => {
        if (silent) this.#silent.add(participant);
        else this.#silent.delete(participant);
        this.#stopOrGo();
      },
      dead: () => void participant.leave('does not answer any more'),
    });
  }

  /** Whoever may not be in it any more leaves: roles changed. */
  recheck(): void {
    const { facts, sharing } = this.#options;
    const owner = { user: facts.user, roles: facts.roles };
    for (const participant of this.#people.keys()) {
      const refused = sharing.refusesJoin(participant.facts, owner, participant.facts.mode);
      if (refused !== undefined)
        void participant.leave(refused, `You may not be in this session: ${refused}.`);
    }
  }

  /** The session's output, on its way to everybody. Only the owner is waited for. */
  get output(): ChannelWriter {
    return {
      write: async (bytes) => {
        if (this.#gate && !(await this.#gate.promise)) return false;
        this.#tail.push(bytes);
        for (const participant of this.#people.keys()) participant.send(bytes);
        return this.#options.channel.stdout.write(bytes);
      },
    };
  }

  /** False: what the owner typed goes nowhere. */
  ownerTyped(bytes: Buffer): boolean {
    if (!this.#runs) return false;
    if (this.#hadPeers) this.#marks.typed(undefined, bytes.length);
    return true;
  }

  resized(size: TerminalSize): void {
    this.#size = size;
    for (const participant of this.#people.keys()) participant.send(sizeNotice(size));
  }

  /** The owner is told by the session itself. */
  tell(text: string): void {
    for (const participant of this.#people.keys()) participant.tell(text);
  }

  /** The session is over, or its owner is gone. Resolves when it is on record that everybody left. */
  async close(words: string): Promise<void> {
    this.#open = false;
    this.#gate?.resolve(false);
    this.#hold.abort(new AppError('unavailable', 'session.over', words));
    this.#marks.flush();
    for (const participant of this.#people.keys()) void participant.leave('the session ended', words);
    this.#options.changed();
    await Promise.all(this.#leaving);
  }

  #missing(people: Iterable<Participant> = this.#people.keys()): readonly Missing[] {
    return this.#options.moderation?.missing([...people].map(({ facts }) => facts)) ?? [];
  }

  /** Input reaches it and output leaves it. */
  get #runs(): boolean {
    return this.#state === 'running' && !this.#gate;
  }

  async #typed(participant: Participant, bytes: Buffer): Promise<void> {
    const { mode, user } = participant.facts;
    const types = mode === 'peer' && this.#runs;
    if (types && this.#typeInto) {
      this.#marks.typed(participant.facts, bytes.length);
      return this.#typeInto(bytes);
    }
    if (bytes.includes(ctrlC)) return participant.leave(leftByThemselves, 'You left the session.');
    if (mode === 'moderator' && bytes.length === 1 && bytes[0] === terminateKey) this.#terminated(user);
  }

  #terminated(moderator: string): void {
    const message = `The moderator ${moderator} ended it.`;
    this.#options.end(new AppError('denied', 'session.terminated', message));
  }

  #left(participant: Participant, reason: string): void {
    const { facts, record, changed } = this.#options;
    if (!this.#people.has(participant)) return;
    this.#people.get(participant)?.stop();
    this.#people.delete(participant);
    this.#silent.delete(participant);
    this.#marks.flush(); // what they typed stands before their leaving
    const told = record.emit(leaveEvent(facts, participant.facts, reason));
    this.#leaving.push(told);
    void told.finally(() => {
      this.#leaving = this.#leaving.filter((each) => each !== told);
    });
    if (!this.#open) return;
    this.#tellAll(leftText(participant.facts.user, reason));
    this.#review();
    changed();
  }

  /** Somebody came or left: is everybody there who must be? */
  #review(): void {
    const missing = this.#missing();
    this.#options.changed();
    if (this.#state === 'pending') {
      if (missing.length > 0) return;
      // At once: whoever leaves before the process has begun leaves a session that runs.
      this.#state = 'running';
      this.#hold.release();
    } else if (missing.length === 0) {
      this.#resume();
      this.#stopOrGo();
    } else if (missing.some(({ onLeave }) => onLeave === 'terminate')) {
      const message = `Nobody is left of those it needs: ${missingText(missing)}.`;
      this.#options.end(new AppError('denied', 'session.unattended', message));
    } else this.#pause(missing);
  }

  /** Output and input stop now; the processes as fast as the kernel can. */
  #pause(missing: readonly Missing[]): void {
    if (this.#state === 'paused') return;
    this.#state = 'paused';
    this.#stopOrGo();
    this.#tellAll(`[The session is paused until somebody comes: ${missingText(missing)}.]`);
  }

  #resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    this.#tellAll('[The session goes on.]');
    this.#stopOrGo();
  }

  /** It stands still while it is paused, and for as long as the connections of those it needs say nothing. */
  #stopOrGo(): void {
    const answering = [...this.#people.keys()].filter((participant) => !this.#silent.has(participant));
    const unseen = this.#state === 'running' && this.#missing(answering).length > 0;
    if ((this.#state === 'paused' || unseen) === (this.#gate !== undefined)) return;
    this.#options.freeze(this.#gate === undefined);
    this.#gate?.resolve(true);
    this.#gate = this.#gate === undefined ? Promise.withResolvers() : undefined;
  }

  #tellAll(text: string, except?: Participant): void {
    const { channel } = this.#options;
    if (channel.isOpen) void channel.stderr.write(Buffer.from(`\r\n${text}\r\n`));
    for (const participant of this.#people.keys()) if (participant !== except) participant.tell(text);
  }
}

/** Nobody can join what has no terminal. */
function unattended(missing: readonly Missing[]): AppError {
  const message = `Sessions of this user need somebody else in them: ${missingText(missing)}.`;
  return new AppError('denied', 'session.no_terminal', message, { hint: 'Ask for a terminal: tsh ssh -t.' });
}
