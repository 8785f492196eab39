// What a session shows, and to whom: its output, the size of its screen, notices. The owner's pace is the session's, and
// that of whoever must see it: a flood would hide from them what it carries away. Nobody else is waited for.
import type { ChannelWriter, SessionChannel } from '../../ssh-transport/session-channel.ts';
import type { TerminalSize } from '../session-facts.ts';
import type { Gate } from './gate.ts';
import { OutputTail } from './output-tail.ts';
import type { Roster } from './roster.ts';
import type { Seat } from './seat.ts';
import { sizeNotice } from './words.ts';

/** Notices on their way to an owner who does not read: more say nothing new. */
const maxNotices = 16;

export interface AudienceOptions {
  /** The owner's. */
  readonly channel: SessionChannel;
  readonly roster: Roster<Seat>;
  readonly gate: Gate;
  readonly size: TerminalSize | undefined;
}

export class Audience {
  readonly #options: AudienceOptions;
  readonly #tail = new OutputTail();
  #size: TerminalSize | undefined;
  #notices = 0;

  constructor(options: AudienceOptions) {
    this.#options = options;
    this.#size = options.size;
  }

  get size(): TerminalSize | undefined {
    return this.#size;
  }

  /** The end of what was shown, for whoever comes late. */
  get past(): Buffer {
    return this.#tail.snapshot();
  }

  get output(): ChannelWriter {
    return { write: (bytes) => this.#show(bytes) };
  }

  async #show(bytes: Buffer): Promise<boolean> {
    const { gate, roster, channel } = this.#options;
    if (!(await gate.passes())) return false;
    this.#tail.push(bytes);
    const seats = roster.members;
    // The buffer is read into again as soon as this returns; people read when they can.
    const kept = seats.length === 0 ? bytes : Buffer.from(bytes);
    for (const { participant } of seats) participant.send(kept);
    const needed = seats.filter(({ counts }) => counts).map(({ participant }) => participant.caughtUp());
    const [sent] = await Promise.all([channel.stdout.write(bytes), ...needed]);
    return sent;
  }

  resized(size: TerminalSize): void {
    this.#size = size;
    for (const { participant } of this.#options.roster.members) participant.send(sizeNotice(size));
  }

  /** All but the owner. */
  tellJoined(text: string, except?: Seat): void {
    for (const seat of this.#options.roster.members) if (seat !== except) seat.participant.tell(text);
  }

  tellAll(text: string, except?: Seat): void {
    void this.#tellOwner(text);
    this.tellJoined(text, except);
  }

  async #tellOwner(text: string): Promise<void> {
    const { channel } = this.#options;
    if (!channel.isOpen || this.#notices >= maxNotices) return;
    this.#notices += 1;
    await channel.stderr.write(Buffer.from(`\r\n${text}\r\n`));
    this.#notices -= 1;
  }
}
