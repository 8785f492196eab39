// The events of a transfer on their way to the log: in order, many a write, and no more of them waiting than a bound.
// Whoever feeds it stops while `isFull`; a client with ten thousand requests under way is slowed down, not dropped.
import type { EventDraft } from '@sallyport/contracts/events/event.ts';

export type Emit = (drafts: readonly EventDraft[]) => Promise<void>;

const FULL = 512;
/** One write of the log. */
const BATCH = 256;

export class TransferLog {
  readonly #emit: Emit;
  readonly #roomy: () => void;
  #waiting: EventDraft[] = [];
  /** Handed to the log and not durable yet. */
  #under = 0;
  #pumping: Promise<void> | undefined;

  /** `roomy`: it was full, and is no longer. */
  constructor(emit: Emit, roomy: () => void) {
    this.#emit = emit;
    this.#roomy = roomy;
  }

  get isFull(): boolean {
    return this.#waiting.length + this.#under >= FULL;
  }

  push(drafts: readonly EventDraft[]): void {
    if (drafts.length === 0) return;
    this.#waiting.push(...drafts);
    this.#pumping ??= this.#pump();
  }

  /** Resolves when all that was pushed is in the log, or the log has told its session that it takes nothing. */
  async drained(): Promise<void> {
    while (this.#pumping) await this.#pumping;
  }

  async #pump(): Promise<void> {
    while (this.#waiting.length > 0) {
      const wasFull = this.isFull;
      const batch = this.#waiting.splice(0, BATCH);
      this.#under = batch.length;
      await this.#emit(batch);
      this.#under = 0;
      if (wasFull && !this.isFull) this.#roomy();
    }
    this.#pumping = undefined;
  }
}
