// Who was at the keyboard: one session.input a second at most for each person who typed into a shared session, with
// the number of bytes. What was typed is nobody's business here; what the terminal showed is in the recording.

import type { ParticipantFacts } from './participant.ts';

/** Typing that comes within so many ms is one mark. */
const markMs = 1_000;

export interface InputMark {
  /** undefined: the owner. */
  readonly who: ParticipantFacts | undefined;
  readonly bytes: number;
}

export class InputMarks {
  readonly #emit: (mark: InputMark) => void;
  /** Bytes by person. */
  readonly #pending = new Map<ParticipantFacts | undefined, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(emit: (mark: InputMark) => void) {
    this.#emit = emit;
  }

  typed(who: ParticipantFacts | undefined, bytes: number): void {
    this.#pending.set(who, (this.#pending.get(who) ?? 0) + bytes);
    this.#timer ??= setTimeout(() => this.flush(), markMs);
  }

  /** What was typed so far is told now: somebody comes, goes, or the session ends. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [who, bytes] of this.#pending) this.#emit({ who, bytes });
    this.#pending.clear();
  }
}
