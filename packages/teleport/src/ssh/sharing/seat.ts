// One person's place in a session, and what takes it away besides themselves: a connection that says nothing for too
// long, where they must be there, and the end of the certificate they came with.
import type { SessionChannel } from '../../ssh-transport/session-channel.ts';
import { ConnectionClock } from '../connection-clock.ts';
import { Participant, type ParticipantFacts } from './participant.ts';
import { Pulse } from './pulse.ts';
import type { Moderation } from './sharing.ts';

export interface JoinRequest extends Omit<ParticipantFacts, 'joined'> {
  readonly channel: SessionChannel;
  /** See Pulse. */
  readonly ping: () => Promise<number | undefined>;
  /** The end of their certificate; undefined: it has none. */
  readonly until?: Date | undefined;
}

export interface SeatHost {
  readonly moderation: Moderation | undefined;
  typed(seat: Seat, bytes: Buffer): void | Promise<void>;
  /** Called once. */
  left(seat: Seat, reason: string): void;
  silent(seat: Seat, silent: boolean): void;
}

export class Seat {
  readonly participant: Participant;
  /** The session needs somebody, and this could be one of them. */
  readonly counts: boolean;
  readonly #request: JoinRequest;
  readonly #host: SeatHost;
  #silent = false;
  #pulse: Pulse | undefined;
  #clock: ConnectionClock | undefined;

  constructor(request: JoinRequest, host: SeatHost) {
    const { channel, ping, until, ...who } = request;
    const { moderation } = host;
    this.#request = request;
    this.#host = host;
    this.counts = moderation?.counts(who) ?? false;
    this.participant = new Participant({ ...who, joined: new Date().toISOString() }, channel, {
      typed: (_, bytes) => host.typed(this, bytes),
      left: (_, reason) => {
        this.#stop();
        host.left(this, reason);
      },
      // Who says nothing does not read either: then it is the limit of silence that counts.
      excused: () => this.#silent,
    });
  }

  get facts(): ParticipantFacts {
    return this.participant.facts;
  }

  /** From here on it is watched over. It may be over when this returns. */
  take(): void {
    const { participant } = this;
    const { ping, until } = this.#request;
    const { moderation } = this.#host;
    if (moderation && this.counts)
      this.#pulse = new Pulse({
        ping,
        silent: (silent) => {
          this.#silent = silent;
          this.#host.silent(this, silent);
        },
        dead: () => void participant.leave('does not answer any more'),
        limitMs: moderation.silenceLimitMs,
      });
    // Also where connections outlive their certificates: being in a session of others is a right of the certificate.
    this.#clock = new ConnectionClock({
      limits: { idleMs: undefined, until },
      activity: () => 0,
      due: () => void participant.leave('the certificate has expired', 'Your certificate has expired.'),
    });
    if (participant.isOver) this.#stop();
  }

  #stop(): void {
    this.#pulse?.stop();
    this.#clock?.stop();
  }
}
