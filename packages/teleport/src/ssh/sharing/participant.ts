// Somebody who joined a session: their channel, and the queue in front of it. Nobody ever waits for it: who reads
// slowly misses some of the output and is told, who does not read at all is dropped.
import type { SessionChannel } from '../../ssh-transport/session-channel.ts';
import type { Present } from './sharing.ts';

/** What may wait for one participant, bytes. */
const maxWaiting = 1024 * 1024;
/** Bytes of one write: how much is on its way when somebody is found not to read. */
const maxWrite = 64 * 1024;
/** One write not taken for so long: nobody reads, ms. */
const stuckMs = 5_000;
/** How long the last words may take, ms. */
const farewellMs = 400;

export interface ParticipantFacts extends Present {
  readonly localAddr: string;
  readonly remoteAddr: string;
  /** RFC 3339. */
  readonly joined: string;
}

/** What a participant does to the session. */
export interface ParticipantHost {
  typed(participant: Participant, bytes: Buffer): void | Promise<void>;
  /** Called once. */
  left(participant: Participant, reason: string): void;
  /** True: that nobody reads is somebody else's matter now. */
  readonly excused?: () => boolean;
}

export class Participant {
  readonly facts: ParticipantFacts;
  readonly #channel: SessionChannel;
  readonly #host: ParticipantHost;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #skipped = 0;
  #pumping: Promise<void> | undefined;
  #over = false;
  #behind: (() => void)[] = [];
  #stuck: NodeJS.Timeout | undefined;
  /** Grows with what is seen and typed. */
  activity = 0;

  constructor(facts: ParticipantFacts, channel: SessionChannel, host: ParticipantHost) {
    this.facts = facts;
    this.#channel = channel;
    this.#host = host;
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** What they type is heard from here on. */
  listen(): void {
    void this.#listen();
  }

  /** Takes the bytes or counts them as skipped; never waits. They must not change afterwards. */
  send(bytes: Buffer): void {
    if (this.#over || bytes.length === 0) return;
    if (this.#waitingBytes + bytes.length > maxWaiting) this.#skip();
    this.#queue(bytes);
    this.#pumping ??= this.#pump();
  }

  /** Resolves when little of what was sent still waits for them, or they are gone: for those who must see it. */
  async caughtUp(): Promise<void> {
    while (!this.#over && this.#waitingBytes > maxWrite)
      await new Promise<void>((resolve) => this.#behind.push(resolve));
  }

  tell(text: string): void {
    this.send(Buffer.from(`\r\n${text}\r\n`));
  }

  /** Ends the participation from our side. Idempotent. */
  async leave(reason: string, words = reason): Promise<void> {
    if (this.#over) return;
    this.tell(words);
    this.#end(reason);
    // Behind what waits, as far as they read it.
    await Promise.race([this.#pumping, new Promise((resolve) => setTimeout(resolve, farewellMs))]);
    if (this.#channel.isOpen) this.#channel.exit(0);
    await this.#channel.close();
  }

  /** The channel is gone, whoever closed it. */
  channelClosed(): void {
    this.#end('the connection ended');
  }

  #end(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#moved();
    this.#host.left(this, reason);
  }

  #moved(): void {
    for (const resolve of this.#behind.splice(0)) resolve();
  }

  #queue(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  /** Old output gives way to new: what is on the screen now is what matters. */
  #skip(): void {
    this.#skipped += this.#waitingBytes;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#queue(skippedNotice(this.#skipped));
  }

  async #pump(): Promise<void> {
    while (this.#waiting.length > 0) {
      const bytes = this.#takeSome();
      this.#expectReading();
      const sent = await this.#channel.stdout.write(bytes);
      clearTimeout(this.#stuck);
      if (!sent) break;
      this.activity += bytes.length;
      this.#moved();
      if (this.#waiting.length === 0) this.#skipped = 0;
    }
    this.#pumping = undefined;
  }

  #expectReading(): void {
    this.#stuck = setTimeout(() => {
      if (this.#host.excused?.() && !this.#over) this.#expectReading();
      else void this.leave('does not read what the session shows');
    }, stuckMs);
  }

  #takeSome(): Buffer {
    const some: Buffer[] = [];
    let size = 0;
    while (this.#waiting.length > 0 && size < maxWrite) {
      const [first] = this.#waiting;
      if (first === undefined) break;
      const part = first.subarray(0, maxWrite - size);
      if (part.length === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(part.length);
      some.push(part);
      size += part.length;
    }
    this.#waitingBytes -= size;
    return some.length === 1 ? (some[0] as Buffer) : Buffer.concat(some);
  }

  async #listen(): Promise<void> {
    try {
      for await (const bytes of this.#channel.stdin as AsyncIterable<Buffer>) {
        if (this.#over) return;
        this.activity += bytes.length;
        await this.#host.typed(this, bytes);
      }
      // The end of input is no leaving: `tsh join --mode=observer SID </dev/null` watches on.
    } catch {
      // The channel broke: `channelClosed` says so.
    }
  }
}

function skippedNotice(bytes: number): Buffer {
  const size = `${Math.round(bytes / 1024)} KiB`;
  const text = `[About ${size} of output were skipped: this connection is slow. The recording has them.]`;
  // Colours of what was cut off must not run on.
  return Buffer.from(`\x1b[0m\r\n${text}\r\n`);
}
