// What both ends of a connection can do beyond session channels. Types only: whoever needs to name a connection, a
// channel or an address imports this and none of the implementation.
import type { Duplex } from 'node:stream';

export interface Address {
  readonly host: string;
  /** 0 where there is none (a Unix socket). */
  readonly port: number;
}

/** Why a channel is not opened (RFC 4254 section 5.1). The text goes to the peer, and most clients show it. */
export interface ChannelRefusal {
  readonly refuse: 'prohibited' | 'connect-failed' | 'unknown-type' | 'resources';
  readonly text: string;
}

/**
 * The stream given to `accept` (and the one an `open…` resolves with) is the channel's data in both directions, with
 * back-pressure both ways. `end()` sends EOF and leaves the other direction open; `destroy()` closes the channel. When
 * the peer closes, what it had sent can still be read, then the stream is destroyed without an error. It never emits
 * `error` by itself: a broken connection looks like a close.
 */
export type ChannelAnswer = ChannelRefusal | { accept(channel: Duplex): void };

/** Decide at leisure: the peer waits, and only this channel. A throw or rejection refuses with `connect-failed`. */
export type EventualChannelAnswer = ChannelAnswer | Promise<ChannelAnswer>;

/** A channel of a type this room does not know, e.g. `teleport-transport`. */
export interface ChannelOpen {
  /** At most 256 bytes. Untrusted. */
  readonly type: string;
  /** What stands behind the common part of CHANNEL_OPEN, unread. At most 32 KiB. A copy: keep it. */
  readonly payload: Buffer;
}

export interface GlobalRequest {
  readonly name: string;
  readonly payload: Buffer;
  /** False: whatever the answer, it is not sent. */
  readonly wantReply: boolean;
}

/** `false`: failure. `true`: success. Bytes: success with this payload. A throw or rejection counts as `false`. */
export type GlobalAnswer = boolean | Buffer;

/** What either end may be asked. A missing method refuses. */
export interface PeerHandler {
  /** Any type of channel but those with a method of their own. */
  channel?(open: ChannelOpen): EventualChannelAnswer;
  /**
   * Any global request but those with a method of their own. Handled one at a time: answers leave in the order of the
   * requests (RFC 4254 section 4). Keepalives under a name nobody knows are answered with failure, which is an answer.
   */
  globalRequest?(request: GlobalRequest): GlobalAnswer | Promise<GlobalAnswer>;
}

/** What either end may ask. */
export interface PeerConnection {
  /**
   * Opens a channel of any type. Rejects with an AppError: `ssh.channel_refused` (the message holds the peer's text;
   * kind `denied`: prohibited, `unavailable`: connect failed, `unsupported`: unknown type, `limit`: resources),
   * `ssh.connection_lost`, `ssh.too_many_channels`.
   */
  openChannel(type: string, payload?: Buffer): Promise<Duplex>;
  /** The payload of the peer's success; undefined when it refused or the connection ended. */
  globalRequest(name: string, payload?: Buffer): Promise<Buffer | undefined>;
  /** Round trip in milliseconds; undefined when the connection ended instead. Waits behind other global requests. */
  ping(): Promise<number | undefined>;
  /** Resolves with why it ended, once every channel's end has been told. Never rejects. */
  readonly closed: Promise<string>;
}
