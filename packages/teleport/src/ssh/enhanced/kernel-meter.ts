// What the kernel side of a node has done so far, as plain numbers: kept where it happens, read by whoever shows
// them. Counters only grow; they begin anew with the process.
import type { EventKind, TotalsByKind } from '@sallyport/kernel/kernel-event.ts';
import { eventKinds } from '@sallyport/kernel/recorder.ts';

export type CountsByKind = Record<EventKind, number>;

/** A spool on its way into the log. */
export interface Backlog {
  /** Bytes the recorder has announced and the log has not. */
  readonly backlogBytes: number;
}

export class KernelMeter {
  /** Events that are in the log. */
  readonly recorded: CountsByKind = zero();
  /** Declared as lost, in the log. */
  readonly lost: CountsByKind = zero();
  /** What the kernel itself says it emitted; known of a session when it ends. */
  readonly emitted: CountsByKind = zero();
  readonly #backlogs = new Set<Backlog>();
  #observe: (delayMs: number) => void = () => {};

  /** Called with each batch: ms from its last event in the kernel to the log. */
  set onBatch(observe: (delayMs: number) => void) {
    this.#observe = observe;
  }

  batch(kinds: readonly EventKind[], delayMs: number): void {
    for (const kind of kinds) this.recorded[kind] += 1;
    this.#observe(Math.max(0, delayMs));
  }

  ended(totals: TotalsByKind): void {
    for (const kind of eventKinds) this.emitted[kind] += totals[kind].emitted;
  }

  add(backlog: Backlog): void {
    this.#backlogs.add(backlog);
  }

  remove(backlog: Backlog): void {
    this.#backlogs.delete(backlog);
  }

  get backlogBytes(): number {
    let bytes = 0;
    for (const backlog of this.#backlogs) bytes += backlog.backlogBytes;
    return bytes;
  }
}

function zero(): CountsByKind {
  return { command: 0, disk: 0, network: 0, meta: 0 };
}
