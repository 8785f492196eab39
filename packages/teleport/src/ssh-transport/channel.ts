// One channel (RFC 4254 section 5): windows, order of output, EOF and CLOSE. What its requests mean is its owner's
// affair (server-session.ts, client-session.ts).
import { IncomingStream } from './incoming-stream.ts';
import { Message } from './message.ts';
import type { PacketLink } from './packet-link.ts';
import type { ChannelWriter } from './session-channel.ts';
import { encode, type Field, type WireReader } from './wire.ts';

/** As OpenSSH: enough for 2 MiB in flight, and what may wait here for a slow reader. */
export const LOCAL_WINDOW_BYTES = 2 * 1024 * 1024;
export const LOCAL_PACKET_BYTES = 32 * 1024;
/** The window is opened in steps of this size, not by the packet. */
const ADJUST_BYTES = LOCAL_WINDOW_BYTES / 8;
/** The protocol allows smaller; a peer that asks for one byte a packet only burns our CPU. */
export const MIN_PACKET_BYTES = 256;
/** What one channel sends before the next one's turn. */
const TURN_BYTES = 128 * 1024;
const MAX_WINDOW = 2 ** 32 - 1;
const EXTENDED_STDERR = 1;

export interface ChannelOwner {
  /** `fields` stands behind `want_reply`. With `reply`, it must be called exactly once, in order. */
  request(name: string, fields: WireReader, reply: ((ok: boolean) => void) | undefined): void;
  /** Exactly once, when both sides have closed or the connection is gone. */
  closed(): void;
}

/** What a channel needs from the connection it lives in. */
export interface ChannelHome {
  readonly link: PacketLink;
  /** There is something to send. */
  kick(channel: Channel): void;
  /** Both sides closed: the number is free. */
  forget(channel: Channel): void;
}

export interface RemoteEnd {
  readonly id: number;
  readonly window: number;
  readonly packet: number;
}

interface Data {
  readonly bytes: Buffer;
  readonly extended: boolean;
  at: number;
  readonly done: (sent: boolean) => void;
}

type Outgoing = Data | { readonly control: Buffer; sent?(): void };

const SENT = Promise.resolve(true);
const DROPPED = Promise.resolve(false);

export class Channel {
  readonly incoming: IncomingStream;
  readonly incomingExtended: IncomingStream | undefined;
  readonly writer: ChannelWriter = { write: (bytes) => this.#write(bytes, false) };
  readonly extendedWriter: ChannelWriter = { write: (bytes) => this.#write(bytes, true) };
  readonly whenClosed: Promise<void>;
  readonly id: number;

  readonly #home: ChannelHome;
  readonly #remote: RemoteEnd;
  readonly #resolveClosed: () => void;
  owner: ChannelOwner | undefined;
  #remoteWindow: number;
  #localWindow = LOCAL_WINDOW_BYTES;
  #consumed = 0;
  #outgoing: Outgoing[] = [];
  #ending = false; // EOF is sent or waits behind output: no more output
  #closing = false; // CLOSE is sent or waits
  #sentClose = false;
  #dead = false;
  #replies: ((ok: boolean) => void)[] = [];

  /** `wantsExtended`: keep what comes as stderr (a client's side); otherwise it is thrown away, as sshd does. */
  constructor(home: ChannelHome, id: number, remote: RemoteEnd, wantsExtended: boolean) {
    this.#home = home;
    this.id = id;
    this.#remote = remote;
    this.#remoteWindow = remote.window;
    this.incoming = new IncomingStream((bytes) => this.#release(bytes));
    this.incomingExtended = wantsExtended ? new IncomingStream((bytes) => this.#release(bytes)) : undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.whenClosed = promise;
    this.#resolveClosed = resolve;
  }

  get isOpen(): boolean {
    return !this.#closing && !this.#dead;
  }

  // ── output ──────────────────────────────────────────────────────────────────────────────────────────────────

  #write(bytes: Buffer, extended: boolean): Promise<boolean> {
    if (this.#ending || !this.isOpen) return DROPPED;
    if (bytes.length === 0) return SENT;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#outgoing.push({ bytes, extended, at: 0, done: resolve });
    this.#home.kick(this);
    return promise;
  }

  /** Queued behind all output so far. */
  control(payload: Buffer, sent?: () => void): void {
    if (this.#dead || this.#sentClose) return;
    this.#outgoing.push({ control: payload, ...(sent && { sent }) });
    this.#home.kick(this);
  }

  #header(type: number): Field[] {
    return [{ byte: type }, { uint32: this.#remote.id }];
  }

  /** A channel request of ours. Resolves with the peer's answer, `false` too if it never comes. */
  request(name: string, wantReply: boolean, ...fields: readonly Field[]): Promise<boolean> {
    if (!this.isOpen) return DROPPED;
    this.control(encode(...this.#header(Message.channelRequest), name, wantReply, ...fields));
    if (!wantReply) return SENT;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#replies.push(resolve);
    return promise;
  }

  eof(): void {
    if (this.#ending || !this.isOpen) return;
    this.#ending = true;
    this.control(encode(...this.#header(Message.channelEof)));
  }

  close(): Promise<void> {
    if (this.isOpen) {
      this.eof();
      this.#closing = true;
      this.control(encode(...this.#header(Message.channelClose)), () => {
        this.#sentClose = true;
      });
    }
    return this.whenClosed;
  }

  /** Closes without waiting for the peer to take the data that waits: that is thrown away. */
  abort(): void {
    const dropped = this.#outgoing.filter((item) => 'done' in item);
    this.#outgoing = this.#outgoing.filter((item) => !('done' in item));
    for (const item of dropped) item.done(false);
    void this.close();
  }

  /** Sends one turn's worth. True: there is more that could go now, or as soon as the link is writable. */
  pump(): boolean {
    let budget = TURN_BYTES;
    for (let item = this.#outgoing[0]; item; item = this.#outgoing[0]) {
      if (!this.#home.link.writable || budget <= 0) return true;
      if ('control' in item) {
        this.#outgoing.shift();
        this.#home.link.send(item.control);
        item.sent?.();
        continue;
      }
      if (this.#remoteWindow === 0) return false; // the next WINDOW_ADJUST kicks us
      budget -= this.#sendPart(item);
      if (item.at === item.bytes.length && this.#outgoing[0] === item) {
        this.#outgoing.shift();
        item.done(true);
      }
    }
    return false;
  }

  #sendPart(item: Data): number {
    const size = Math.min(
      item.bytes.length - item.at,
      this.#remoteWindow,
      this.#remote.packet,
      LOCAL_PACKET_BYTES,
    );
    const part = item.bytes.subarray(item.at, item.at + size);
    const head = item.extended
      ? [...this.#header(Message.channelExtendedData), { uint32: EXTENDED_STDERR }, { uint32: size }]
      : [...this.#header(Message.channelData), { uint32: size }];
    // Before sending: a send may end the connection, and with it this queue.
    item.at += size;
    this.#remoteWindow -= size;
    this.#home.link.send(encode(...head), part);
    return size;
  }

  // ── input; each returns what is wrong with the message, if anything ───────────────────────────────────────────

  adjusted(bytes: number): string | undefined {
    this.#remoteWindow += bytes;
    if (this.#remoteWindow > MAX_WINDOW) return 'window too large';
    if (this.#outgoing.length > 0) this.#home.kick(this);
    return undefined;
  }

  data(bytes: Buffer, extendedType: number | undefined): string | undefined {
    if (bytes.length > this.#localWindow) return 'more data than the window allows';
    this.#localWindow -= bytes.length;
    const stream = extendedType === undefined ? this.incoming : this.incomingExtended;
    if (stream && (extendedType ?? EXTENDED_STDERR) === EXTENDED_STDERR) stream.receive(bytes);
    else this.#release(bytes.length);
    return undefined;
  }

  /** These bytes no longer wait here: let the peer send as many again. */
  #release(bytes: number): void {
    this.#consumed += bytes;
    if (this.#consumed < ADJUST_BYTES || this.#closing || this.#dead) return;
    const amount = this.#consumed;
    this.#consumed = 0;
    this.#localWindow += amount;
    this.#home.link.send(encode(...this.#header(Message.channelWindowAdjust), { uint32: amount }));
  }

  ended(): void {
    this.incoming.end();
    this.incomingExtended?.end();
  }

  requested(name: string, wantReply: boolean, fields: WireReader): void {
    const reply = (ok: boolean) => {
      if (this.#dead || this.#sentClose) return;
      this.#home.link.send(encode(...this.#header(ok ? Message.channelSuccess : Message.channelFailure)));
    };
    this.owner?.request(name, fields, wantReply ? reply : undefined);
  }

  replied(ok: boolean): string | undefined {
    const resolve = this.#replies.shift();
    resolve?.(ok);
    return resolve ? undefined : 'answer to nothing';
  }

  /** The peer closed. Whatever output still waits has nobody to go to. */
  closedByPeer(): void {
    if (!this.#sentClose) this.#home.link.send(encode(...this.#header(Message.channelClose)));
    this.#home.forget(this);
    this.lost();
  }

  /** No message can reach or leave this channel any more. */
  lost(): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#closing = true;
    const waiting = this.#outgoing;
    this.#outgoing = [];
    for (const item of waiting) if ('done' in item) item.done(false);
    for (const resolve of this.#replies.splice(0)) resolve(false);
    this.ended();
    this.#resolveClosed();
    this.owner?.closed();
  }
}
