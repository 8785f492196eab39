// What a session channel (RFC 4254 section 6) looks like from above: the node answers requests through a
// SessionHandler and moves bytes through a SessionChannel. Nothing here knows users, roles or processes.
import type { Duplex, Readable } from 'node:stream';
import type { Address } from './connection.ts';

export interface WindowSize {
  readonly cols: number;
  readonly rows: number;
  /** Pixels; 0 when the client does not know. */
  readonly xpixel: number;
  readonly ypixel: number;
}

export interface PtyRequest extends WindowSize {
  readonly term: string;
  /** Encoded terminal modes exactly as the client sent them (RFC 4254 section 8), at most 1 KiB. */
  readonly modes: Buffer;
}

/** RFC 4254 section 6.3.1. Protocol and cookie are for the authority file: `[A-Za-z0-9-]`, and an even number of hex digits. */
export interface X11Request {
  /** Only the first connection is to be forwarded. */
  readonly singleConnection: boolean;
  readonly protocol: string;
  /** A secret, though the client replaces it before it reaches the display. */
  readonly cookie: string;
  readonly screen: number;
}

/** Yes or no; `false` is what the client sees as CHANNEL_FAILURE. A throw or rejection counts as `false`. */
export type Answer = boolean | Promise<boolean>;

/**
 * Answers the requests of one session channel. Calls are serial and in the client's order: the next request is
 * handed over only when the answer to the one before it is known (so a resize sent while `shell` is still
 * starting waits for it). A missing method refuses that request.
 * After `shell`, `exec` or `subsystem` was answered with `true`, the transport refuses all three from then on,
 * and `pty` and `env` too.
 */
export interface SessionHandler {
  pty?(request: PtyRequest): Answer;
  /** Names are ASCII without `=` and NUL, values without NUL: others are refused before they come here. */
  env?(name: string, value: string): Answer;
  windowChange?(size: WindowSize): void;
  /** Without the prefix: `TERM`, `INT`, `HUP`... (RFC 4254 section 6.10). */
  signal?(name: string): Answer;
  shell?(): Answer;
  /** `raw` is what was sent; `command` its UTF-8 reading (U+FFFD where it is not UTF-8). No NUL bytes. */
  exec?(command: string, raw: Buffer): Answer;
  subsystem?(name: string): Answer;
  /**
   * The client lends its agent. Each `open()` is a new connection to it, to be joined with one of a program in the
   * session; it rejects as `PeerConnection.openChannel` does. Valid until `closed`.
   */
  agentForward?(open: () => Promise<Duplex>): Answer;
  /**
   * The client shows what programs of the session draw. Each `open()` is a connection of such a program to the client's
   * display, from the address given; otherwise as with `agentForward`.
   */
  x11?(request: X11Request, open: (originator: Address) => Promise<Duplex>): Answer;
  /** The channel is gone, whoever closed it and however (also when the connection broke). Called exactly once. */
  closed?(): void;
}

/** One direction of output. Both writers of a channel share the client's window and keep their order. */
export interface ChannelWriter {
  /**
   * Resolves `true` once the bytes have left our memory budget (sent within the client's window, with the socket
   * keeping up), `false` if the channel closed first and they were dropped. Never rejects. Wait for it before
   * writing more: that is the back-pressure. The buffer must not be changed until then.
   */
  write(bytes: Buffer): Promise<boolean>;
}

export interface SessionChannel {
  /** Our channel number, unique in its connection while it is open. */
  readonly id: number;
  /**
   * What the client sends. Ends at the client's EOF or at close. The SSH window is opened again only as this is
   * read: at most 2 MiB wait here.
   */
  readonly stdin: Readable;
  readonly stdout: ChannelWriter;
  readonly stderr: ChannelWriter;
  readonly isOpen: boolean;
  /** Reports the exit status, sent in order behind everything written so far. Use once, then `close()`. */
  exit(status: number): void;
  /** `name` without SIG. Names RFC 4254 does not list go out as `name@sallyport`, so that no client misreads them. */
  exitSignal(name: string, coreDumped: boolean, message: string): void;
  /** No more output will come; input goes on. */
  eof(): void;
  /** EOF (if not sent), then CLOSE behind all pending output. Resolves when the channel is closed at both ends. */
  close(): Promise<void>;
}
