// One channel on its way into a session that lives here, and in it. Whoever is refused is told why, and the log, too.
import type { SessionChannel } from '../../ssh-transport/session-channel.ts';
import type { JoinWish } from './join-wish.ts';
import type { Participant, ParticipantFacts } from './participant.ts';
import type { Party } from './party.ts';
import { sentOut } from './words.ts';

/** Exit status of a channel that was not let in, as of a session that did not open. */
const refusedStatus = 254;

export interface JoiningOptions {
  readonly who: Omit<ParticipantFacts, 'mode' | 'joined'>;
  readonly wish: JoinWish;
  readonly channel: SessionChannel;
  readonly ping: () => Promise<number | undefined>;
  /** The end of their certificate; undefined: it has none. */
  readonly until: Date | undefined;
  /** undefined: no session of this id lives here, or it is not one to be joined. */
  readonly party: Party | undefined;
  readonly refused: (reason: string) => void;
}

export interface Joiner {
  readonly activity: number;
  /** Ends the participation; also one that is only about to be. */
  end(reason: string): void;
  channelClosed(): void;
}

export class Joining implements Joiner {
  readonly #options: JoiningOptions;
  #participant: Participant | undefined;
  #ended: string | undefined;
  /** Resolves when the channel is in, or was turned away. */
  readonly settled: Promise<void>;

  constructor(options: JoiningOptions) {
    this.#options = options;
    this.settled = this.#join();
  }

  get activity(): number {
    return this.#participant?.activity ?? 0;
  }

  end(reason: string): void {
    this.#ended ??= reason;
    void this.#participant?.leave(reason, sentOut(reason));
  }

  channelClosed(): void {
    this.#ended ??= 'the connection ended';
    this.#participant?.channelClosed();
  }

  async #join(): Promise<void> {
    const { wish, who, channel, party, ping, until } = this.#options;
    if (wish.mode === undefined) return this.#refuse('there are the modes observer, peer and moderator');
    if (party === undefined) return this.#refuse('no such session lives on this node');
    const found = await party.join({ ...who, mode: wish.mode, channel, ping, until });
    if (typeof found === 'string') return this.#refuse(found);
    this.#participant = found;
    // It may have happened while the log was written.
    if (this.#ended !== undefined) await found.leave(this.#ended);
  }

  #refuse(reason: string): void {
    const { channel, refused } = this.#options;
    refused(reason);
    // Behind the answer to the request, which leaves in this turn of the event loop.
    setImmediate(() => {
      if (channel.isOpen) {
        void channel.stderr.write(Buffer.from(`You cannot join this session: ${reason}.\r\n`));
        channel.exit(refusedStatus);
      }
      void channel.close();
    });
  }
}
