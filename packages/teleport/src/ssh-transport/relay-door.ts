// The beginning of a connection that a relay may have handed over: holds back what comes in until it is settled
// whose connection it is.
import type { Address } from './connection.ts';
import { FirstBytesReader } from './relay-line.ts';
import type { RelayVerdict } from './ssh-server.ts';

export interface RelayDoorOptions {
  judge(line: string): Promise<RelayVerdict>;
  /** It is this person's; and it goes on, with what `open` brings, if the answer is yes. */
  relayed(remote: Address): boolean;
  /** It is the peer's own; and it goes on, if the answer is yes. */
  ordinary(): boolean;
  refuse(reason: string): void;
  /** What is the client's so far. Nothing is taken any more afterwards. */
  open(bytes: Buffer): void;
}

/** A client has no reason to send more before it is answered than its version and one or two messages. */
const MAX_WAITING_BYTES = 256 * 1024;

export class RelayDoor {
  readonly #options: RelayDoorOptions;
  readonly #reader = new FirstBytesReader();
  /** Of the client, while the line is judged. */
  #waiting: Buffer[] | undefined;
  #waitingBytes = 0;

  constructor(options: RelayDoorOptions) {
    this.#options = options;
  }

  take(piece: Buffer): void {
    if (this.#waiting) this.#wait(piece);
    else this.#first(piece);
  }

  #first(piece: Buffer): void {
    const first = this.#reader.push(piece);
    switch (first.kind) {
      case 'more':
        return;
      case 'client':
        if (this.#options.ordinary()) this.#options.open(first.bytes);
        return;
      case 'too-long':
        this.#options.refuse("the relay's line is too long");
        return;
      case 'relayed':
        this.#waiting = [];
        this.#wait(first.rest);
        void this.#judge(first.line);
    }
  }

  #wait(piece: Buffer): void {
    this.#waitingBytes += piece.length;
    if (this.#waitingBytes > MAX_WAITING_BYTES) this.#options.refuse('too much came before an answer');
    else this.#waiting?.push(piece);
  }

  async #judge(line: string): Promise<void> {
    const verdict = await this.#options.judge(line).catch(
      (error: unknown): RelayVerdict => ({
        refuse: `could not be checked: ${error instanceof Error ? error.message : error}`,
      }),
    );
    if ('refuse' in verdict) this.#options.refuse(verdict.refuse);
    else if (this.#options.relayed(verdict.remote)) this.#options.open(Buffer.concat(this.#waiting ?? []));
  }
}
