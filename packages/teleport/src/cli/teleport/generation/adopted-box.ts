// The outbox of a daemon that died: its sessions are finished into it, so that their events keep their order, and it is
// gone when all is sent.
import { setTimeout as delay } from 'node:timers/promises';
import { Outbox } from '../../../audit/outbox.ts';
import { type LeftBox, removeBox } from '../../../audit/outbox-boxes.ts';

export interface AdoptedLog {
  readonly generation: string | undefined;
  readonly audit: Outbox;
  /** Nothing more will be appended: it may go when all of it is sent. */
  release(): void;
}

const lookMs = 250;

export class AdoptedBox implements AdoptedLog {
  readonly generation: string | undefined;
  readonly audit: Outbox;
  /** Resolves when it is closed, sent or not. */
  readonly gone: Promise<void>;
  readonly #dir: string;
  readonly #stopSending: () => Promise<void>;
  readonly #ending = new AbortController();
  #released = false;

  private constructor(left: LeftBox, audit: Outbox, send: (box: Outbox) => () => Promise<void>) {
    this.generation = left.generation;
    this.#dir = left.dir;
    this.audit = audit;
    this.#stopSending = send(audit);
    this.gone = this.#live();
  }

  static async open(left: LeftBox, send: (box: Outbox) => () => Promise<void>): Promise<AdoptedBox> {
    return new AdoptedBox(left, await Outbox.open({ dir: left.dir }), send);
  }

  release(): void {
    this.#released = true;
  }

  /** What is not sent stays for the next daemon. */
  async close(): Promise<void> {
    this.#ending.abort();
    await this.gone;
  }

  async #live(): Promise<void> {
    const { signal } = this.#ending;
    const isEmpty = () => this.#released && this.audit.stats.heldEvents === 0;
    while (!signal.aborted && !isEmpty())
      await delay(lookMs, undefined, { signal, ref: false }).catch(() => {});
    await this.#stopSending();
    await this.audit.close();
    if (isEmpty()) await removeBox(this.#dir);
  }
}
