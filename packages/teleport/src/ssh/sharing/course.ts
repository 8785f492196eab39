// The course of a session as those who must be in it decide it: what is pure in standing.ts takes effect here, on what
// runs, on what is shown, on the record and on the people's screens. In that order: nothing waits for the log.
import type { SessionState } from '@sallyport/contracts/api/session-trackers.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { SessionFacts } from '../session-facts.ts';
import type { Gate } from './gate.ts';
import type { Hold } from './hold.ts';
import type { Missing, Moderation, Standstill } from './sharing.ts';
import { pauseEvent, resumeEvent, type SharedRecord } from './sharing-events.ts';
import {
  type Attendance,
  firstStanding,
  missingOf,
  nextStanding,
  type Standing,
  stepBetween,
} from './standing.ts';
import { missingText, standingText } from './words.ts';

export interface CourseOptions {
  readonly facts: SessionFacts;
  readonly record: SharedRecord;
  readonly moderation: Moderation | undefined;
  readonly hold: Hold;
  readonly gate: Gate;
  readonly standstill: Standstill;
  readonly tellAll: (text: string) => void;
  readonly end: (reason: AppError) => void;
}

export class Course {
  readonly #options: CourseOptions;
  #standing: Standing;
  #stoodAtMs = 0;
  /** A pause is in the log that no resume follows yet. */
  #paused = false;

  constructor(options: CourseOptions) {
    this.#options = options;
    this.#standing = firstStanding(options.moderation);
  }

  /** As it is listed: whoever looks there need not know why it stands still. */
  get state(): SessionState {
    const { state } = this.#standing;
    return state === 'suspended' || state === 'over' ? 'paused' : state;
  }

  /** What is typed reaches it, and what it shows is seen. */
  get runs(): boolean {
    return this.#standing.state === 'running';
  }

  get missing(): readonly Missing[] {
    return missingOf(this.#standing);
  }

  /** Resolves when the session may begin; rejects when it may not, and nothing of it has run then. */
  async begin(): Promise<void> {
    const { facts, standstill, hold } = this.#options;
    if (this.runs) return;
    if (facts.terminal === undefined) throw unattended(this.missing);
    // Already now, though nothing runs: a host that cannot stop a session shows it before there is one.
    await standstill.stop();
    await hold.until(missingText(this.missing));
    // Whoever left in the meantime has stopped it anew: then its process begins when they are back.
    if (this.runs) await standstill.go();
  }

  /** Somebody came, left, fell silent or answers again. */
  review(attendance: Attendance): void {
    const before = this.#standing;
    const after = nextStanding(before, this.#options.moderation, attendance);
    this.#standing = after;
    const { hold, tellAll, moderation, end } = this.#options;
    switch (stepBetween(before, after)) {
      case 'begin':
        hold.release();
        break;
      case 'stop':
        this.#stop();
        break;
      case 'go':
        this.#go();
        break;
      case 'end':
        end(nobodyLeft(missingOf(after)));
    }
    if (before.state === after.state) return;
    this.#note(after);
    const text = standingText(before, after, moderation?.silenceLimitMs);
    if (text !== undefined) tellAll(text);
  }

  #stop(): void {
    const { gate, standstill, end } = this.#options;
    gate.close();
    // What cannot be stopped is ended: it would go on with nobody watching.
    standstill.stop().catch((thrown: unknown) => end(AppError.from(thrown)));
  }

  #go(): void {
    const { gate, standstill, end } = this.#options;
    standstill.go().catch((thrown: unknown) => end(AppError.from(thrown)));
    gate.open();
  }

  #note(after: Standing): void {
    const { facts, record } = this.#options;
    if (after.state === 'running') {
      if (this.#paused) void record.emit(resumeEvent(facts, performance.now() - this.#stoodAtMs));
      this.#paused = false;
    } else if (after.state === 'suspended' || after.state === 'paused') {
      if (!this.#paused) this.#stoodAtMs = performance.now();
      this.#paused = true;
      void record.emit(pauseEvent(facts, after.missing, after.state === 'paused' ? 'left' : 'silent'));
    }
  }
}

/** Nobody can join what has no terminal. */
function unattended(missing: readonly Missing[]): AppError {
  const message = `Sessions of this user need somebody else in them: ${missingText(missing)}.`;
  return new AppError('denied', 'session.no_terminal', message, { hint: 'Ask for a terminal: tsh ssh -t.' });
}

function nobodyLeft(missing: readonly Missing[]): AppError {
  const message = `Nobody is left of those it needs: ${missingText(missing)}.`;
  return new AppError('denied', 'session.unattended', message);
}
