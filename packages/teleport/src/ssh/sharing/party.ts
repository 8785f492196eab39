// A session and its people: who comes in, who types, who leaves. What they see is audience.ts's matter, whether it may
// run course.ts's. Joining and leaving stand in the record before they take effect.
import type { JoinMode, SessionReport, SessionState } from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { ChannelWriter, SessionChannel } from '../../ssh-transport/session-channel.ts';
import type { SessionFacts, TerminalSize } from '../session-facts.ts';
import { Audience } from './audience.ts';
import { Course } from './course.ts';
import { Gate } from './gate.ts';
import { Hold } from './hold.ts';
import { InputMarks } from './input-marks.ts';
import { meaningOf } from './keys.ts';
import type { Participant } from './participant.ts';
import { Roster } from './roster.ts';
import { type JoinRequest, Seat } from './seat.ts';
import type { Moderation, Person, SessionSharing, Standstill } from './sharing.ts';
import {
  inputEvent,
  joinEvent,
  leaveEvent,
  needsOf,
  presenceEvent,
  type SharedRecord,
} from './sharing-events.ts';
import { banner, leftByThemselves, leftText } from './words.ts';

export interface PartyOptions {
  readonly facts: SessionFacts;
  /** The owner's. */
  readonly channel: SessionChannel;
  readonly record: SharedRecord;
  readonly sharing: SessionSharing;
  /** undefined: nobody must be there. */
  readonly moderation: Moderation | undefined;
  readonly standstill: Standstill;
  /** Ends the session for a reason its people are told. */
  readonly end: (reason: AppError) => void;
  /** Something of `report` is different now. */
  readonly changed: () => void;
}

/** Bytes into the session's terminal. Resolves when it has room for more. */
export type TypeInto = (bytes: Buffer) => Promise<void>;

export class Party {
  readonly #options: PartyOptions;
  readonly #roster: Roster<Seat>;
  readonly #gate = new Gate();
  readonly #audience: Audience;
  readonly #marks: InputMarks;
  readonly #hold: Hold;
  readonly #course: Course;
  /** Between session.start and the end. */
  #open = false;
  #typeInto: TypeInto | undefined;
  /** Somebody else could have typed: from then on it is noted who did. */
  #hadPeers = false;
  #leaving: Promise<unknown>[] = [];

  constructor(options: PartyOptions) {
    const { facts, channel, record, moderation, standstill, end } = options;
    this.#options = options;
    this.#roster = new Roster(facts.user);
    this.#audience = new Audience({ channel, roster: this.#roster, gate: this.#gate, size: facts.terminal });
    this.#hold = new Hold(options.channel, options.sharing.holdMs);
    this.#marks = new InputMarks((mark) => void record.emit(inputEvent(facts, mark)));
    this.#course = new Course({
      ...{ facts, record, moderation, standstill, end, hold: this.#hold, gate: this.#gate },
      tellAll: (text) => this.#audience.tellAll(text),
    });
  }

  get state(): SessionState {
    return this.#course.state;
  }

  /** Input reaches it, and output leaves it. */
  get runs(): boolean {
    return this.#course.runs;
  }

  /** Everybody who was ever in it, the owner first. */
  get participants(): readonly string[] {
    return this.#roster.everybody;
  }

  /** For the list of live sessions; undefined: it is not in it. */
  get report(): SessionReport | undefined {
    const { facts } = this.#options;
    if (!this.#open || facts.terminal === undefined) return undefined;
    const { missing } = this.#course;
    return {
      sid: facts.sid,
      state: this.state,
      login: facts.login,
      owner: facts.user,
      owner_roles: [...facts.roles],
      started: facts.started,
      participants: [
        { user: facts.user, mode: 'owner', joined: facts.started },
        ...this.#roster.members.map(({ facts: { user, mode, joined } }) => ({ user, mode, joined })),
      ],
      ...(missing.length === 0 ? {} : { missing: needsOf(missing) }),
    };
  }

  /**
   * session.start is in the log: people may come. Resolves when the session may begin; rejects when it may not, and
   * nothing of it has run then.
   */
  async begin(): Promise<void> {
    this.#open = true;
    this.#options.changed();
    await this.#course.begin();
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
    const { facts, record, moderation } = this.#options;
    const refused = this.#refuses(request, request.mode);
    if (refused !== undefined) return refused;
    const seat = new Seat(request, {
      moderation,
      typed: (who, bytes) => this.#typed(who, bytes),
      left: (who, reason) => this.#left(who, reason),
      silent: (who, silent) => this.#heard(who, silent),
    });
    try {
      this.#marks.flush();
      // On record first, so that nobody sees anything that the record does not know they saw.
      await this.#roster.reserve(request.user, record.append(joinEvent(facts, seat.facts)));
    } catch (thrown) {
      return `the log cannot take it: ${AppError.from(thrown).message}`;
    }
    this.#enter(seat);
    return seat.participant;
  }

  /** Why somebody may not (any more) be in it. */
  #refuses(person: Person, mode: JoinMode): string | undefined {
    const { facts, sharing } = this.#options;
    if (!this.#open) return 'it does not take anybody now';
    if (facts.terminal === undefined) return 'it has no terminal';
    const owner = { user: facts.user, roles: facts.roles };
    return sharing.refusesJoin(person, owner, mode) ?? this.#roster.isFull(person.user);
  }

  #enter(seat: Seat): void {
    const { participant } = seat;
    const { mode, user } = seat.facts;
    const { facts, channel } = this.#options;
    this.#roster.add(seat);
    // Between the append and now it may all have ended.
    if (!channel.isOpen || !this.#open) return void participant.leave('the session has ended');
    seat.take();
    if (participant.isOver) return;
    if (mode === 'peer') this.#hadPeers = true;
    participant.send(banner(facts, mode, this.state, this.#audience.size));
    participant.send(this.#audience.past);
    participant.listen();
    this.#audience.tellAll(`[${user} joined the session as ${mode}.]`, seat);
    this.#review();
  }

  /** Whoever may not be in it any more leaves: roles changed. */
  recheck(): void {
    const { facts, sharing } = this.#options;
    const owner = { user: facts.user, roles: facts.roles };
    for (const { participant } of this.#roster.members) {
      const refused = sharing.refusesJoin(participant.facts, owner, participant.facts.mode);
      if (refused !== undefined)
        void participant.leave(refused, `You may not be in this session: ${refused}.`);
    }
  }

  /** The session's output, on its way to everybody. */
  get output(): ChannelWriter {
    return this.#audience.output;
  }

  /** False: what the owner typed goes nowhere. */
  ownerTyped(bytes: Buffer): boolean {
    if (!this.runs) return false;
    if (this.#hadPeers) this.#marks.typed(undefined, bytes.length);
    return true;
  }

  resized(size: TerminalSize): void {
    this.#audience.resized(size);
  }

  /** The owner is told by the session itself. */
  tell(text: string): void {
    this.#audience.tellJoined(text);
  }

  /** The session is over, or its owner is gone. Resolves when it is on record that everybody left. */
  async close(words: string): Promise<void> {
    this.#open = false;
    this.#gate.abandon();
    this.#hold.abort(new AppError('unavailable', 'session.over', words));
    this.#marks.flush();
    for (const { participant } of this.#roster.members) void participant.leave('the session ended', words);
    this.#options.changed();
    await Promise.all(this.#leaving);
  }

  async #typed(seat: Seat, bytes: Buffer): Promise<void> {
    const { mode, user } = seat.facts;
    switch (meaningOf(mode, this.runs && this.#typeInto !== undefined, bytes)) {
      case 'type':
        this.#marks.typed(seat.facts, bytes.length);
        return this.#typeInto?.(bytes);
      case 'leave':
        return seat.participant.leave(leftByThemselves, 'You left the session.');
      case 'terminate':
        return this.#options.end(
          new AppError('denied', 'session.terminated', `The moderator ${user} ended it.`),
        );
    }
  }

  #heard(seat: Seat, silent: boolean): void {
    const { facts, record } = this.#options;
    if (!this.#roster.hear(seat, silent)) return;
    void record.emit(presenceEvent(facts, seat.facts, silent));
    this.#review();
  }

  #left(seat: Seat, reason: string): void {
    const { facts, record } = this.#options;
    if (!this.#roster.has(seat)) return;
    this.#roster.remove(seat);
    this.#marks.flush(); // what they typed stands before their leaving
    const told = record.emit(leaveEvent(facts, seat.facts, reason));
    this.#leaving.push(told);
    void told.finally(() => {
      this.#leaving = this.#leaving.filter((each) => each !== told);
    });
    if (!this.#open) return;
    this.#audience.tellAll(leftText(seat.facts.user, reason));
    this.#review();
  }

  /** Somebody came, left, fell silent or is back. */
  #review(): void {
    this.#course.review(this.#roster.attendance);
    this.#options.changed();
  }
}
