// One SSH transport over one stream: packets in and out, key exchange and its renewal, back-pressure both ways, and
// the one place where a connection dies. Knows nothing of log-in or channels.
//
// Nothing that a peer sends may throw out of here, and nothing a peer refuses to read may pile up: channels ask
// `writable` before they send, and reading stops while too much waits to be written.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { CIPHERS, KEX, MACS } from './algorithms.ts';
import { bulkPassed } from './bulk-garbage.ts';
import { MlKem768X25519 } from './hybrid-kex.ts';
import { DisconnectReason, Message } from './message.ts';
import { plainKey } from './public-key.ts';
import {
  createProtocol,
  type HostKeySigner,
  kexInit,
  type Negotiated,
  type Protocol,
  sendPayload,
} from './ssh2-protocol.ts';
import { encode, WireReader } from './wire.ts';

export interface LinkOptions {
  readonly stream: Duplex;
  readonly server: boolean;
  /** Server: signers by host key algorithm name, in the order to offer. */
  readonly hostKeys?: Readonly<Record<string, HostKeySigner>>;
  /** Client: host key algorithms to ask for. */
  readonly hostKeyAlgorithms?: readonly string[];
  /** Client: see ProtocolConfig. */
  hostVerifier?(blob: Buffer, decide: (permitted: boolean) => void): boolean | undefined;
  /** What follows `SSH-2.0-`. */
  readonly version: string;
  readonly rekeyBytes: number;
  readonly rekeyIntervalMs: number;
  /** Gets what comes in, instead of the protocol, until `open`. Our own version is sent at once all the same. */
  firstBytes?(bytes: Buffer): void;
  /** Fewer than what algorithms.ts lists. */
  readonly offer?: {
    readonly kex?: readonly string[];
    readonly cipher?: readonly string[];
    readonly mac?: readonly string[];
  };
}

/** Called by the link; none of them may assume that the link is still alive afterwards. */
export interface LinkHandler {
  /** The first key exchange is done: payloads may be sent. */
  secured(negotiated: Negotiated): void;
  message(type: number, payload: Buffer): void;
  /** `writable` became true again. */
  drained(): void;
  /** Exactly once. */
  ended(reason: string): void;
}

/** Channel data stops while so much waits in the stream: bounds memory, keeps the pipe full. */
const HIGH_WATER_BYTES = 256 * 1024;
/** Reading stops while so much waits (replies to a peer that asks and does not read). Above HIGH_WATER_BYTES. */
const STOP_READING_BYTES = 1024 * 1024;
/** Replies that may wait for a key exchange to end; then it is an attack or a fault. */
const MAX_QUEUED_PACKETS = 4096;
/** sshd gives a key exchange this long before it gives up, roughly. */
const REKEY_DEADLINE_MS = 60_000;
/** Time for the last packets to leave before the stream is torn down. */
const LINGER_MS = 1_000;
/** A peer that exchanges keys over and over before logging in only burns our CPU. */
const MAX_EARLY_HANDSHAKES = 3;

const KEX_METHODS = { 'mlkem768x25519-sha256': () => new MlKem768X25519() };

/** A peer's text for logs and terminals: no control characters, no more than a line. */
export const printable = (text: string) => text.slice(0, 256).replaceAll(/\p{Cc}/gu, '?');

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export class PacketLink {
  peerVersion = '';
  handshakes = 0;
  negotiated: Negotiated | undefined;
  lastReceivedMs = performance.now();
  /** Set by the owner once the peer is logged in: lifts the limit on key exchanges. */
  trusted = false;

  readonly #stream: Duplex;
  readonly #handler: LinkHandler;
  readonly #options: LinkOptions;
  readonly #protocol: Protocol;
  #dead = false;
  #opened: boolean;
  #corked = false;
  #bytesSinceKeys = 0;
  #rekeyTimer: NodeJS.Timeout | undefined;
  #deadlineTimer: NodeJS.Timeout | undefined;

  constructor(options: LinkOptions, handler: LinkHandler) {
    this.#stream = options.stream;
    this.#options = options;
    this.#handler = handler;
    this.#opened = options.firstBytes === undefined;
    this.#protocol = createProtocol({
      server: options.server,
      ...(options.hostKeys && { hostKeys: options.hostKeys }),
      ident: Buffer.from(options.version),
      offer: this.#offer(),
      onWrite: (data) => this.#write(data),
      onError: (error) => this.#die(`protocol error: ${messageOf(error)}`),
      onHeader: (header) => {
        this.peerVersion = printable(header.identRaw);
      },
      onHandshakeComplete: (negotiated) => this.#keysChanged(negotiated),
      messageHandlers: { DISCONNECT: (_protocol, reason, text) => this.#disconnected(reason, text) },
      ...(options.hostVerifier && { hostVerifier: options.hostVerifier }),
      kexMethods: KEX_METHODS,
      // An empty key makes ssh2 fail the exchange: it must not see the certificate.
      plainHostKey: (blob) => plainKey(blob) ?? Buffer.alloc(0),
      onMessage: (type, payload) => this.#message(type, payload),
    });
    this.#listen();
    this.#protocol.start();
  }

  get alive(): boolean {
    return !this.#dead;
  }

  /** Hash of the first key exchange: what a log-in signature is bound to. */
  get sessionId(): Buffer {
    const id = this.#protocol._kex?.sessionID;
    if (!id) throw new Error('no key exchange yet');
    return id;
  }

  /** Also while the first key exchange still runs. */
  get hostKeyAlgorithm(): string {
    return this.#protocol._kex?.negotiated.serverHostKey ?? '';
  }

  get rekeying(): boolean {
    return this.#protocol._kexinit !== undefined;
  }

  /** May channel data be sent now? If not, `drained` will be called. */
  get writable(): boolean {
    if (this.#dead || this.rekeying) return false;
    return this.#stream.writableLength < HIGH_WATER_BYTES || !this.#stream.writableNeedDrain;
  }

  /** Sends one message (two parts of it, to save a copy). Does nothing once the link is dead. */
  send(head: Buffer, tail?: Buffer): void {
    if (this.#dead) return;
    const size = head.length + (tail?.length ?? 0);
    try {
      sendPayload(this.#protocol, head, tail);
    } catch (error) {
      this.#die(`cannot send: ${messageOf(error)}`);
      return;
    }
    if ((this.#protocol._queue?.length ?? 0) > MAX_QUEUED_PACKETS) {
      this.#die('too much waits for the key exchange to end');
      return;
    }
    this.#count(size);
    if (this.#stream.writableLength >= STOP_READING_BYTES) this.#stream.pause();
  }

  /** The protocol begins: with these bytes of the peer, and then with whatever comes in. */
  open(bytes: Buffer): void {
    this.#opened = true;
    this.#receive(bytes);
  }

  /** Starts a key exchange unless one is running. */
  rekey(): void {
    if (this.#dead || this.rekeying || this.handshakes === 0) return;
    this.#protocol.rekey();
    this.#armDeadline();
  }

  /** Says goodbye (most clients show the text) and ends the connection; `why` is for us, where it differs. */
  disconnect(reason: number, text: string, why = text): void {
    if (this.#dead) return;
    // Amid a key exchange only ssh2 can get a packet out, and it sends no text.
    if (this.rekeying) this.#protocol.disconnect(reason);
    else this.send(encode({ byte: Message.disconnect }, { uint32: reason }, text, ''));
    this.#die(why);
  }

  /** RFC 4253 section 11.4. Only right while handling the message in question. */
  unimplemented(): void {
    const sequence = (this.#protocol._decipher?.inSeqno ?? 1) - 1;
    this.send(encode({ byte: Message.unimplemented }, { uint32: sequence >>> 0 }));
  }

  #offer(): object {
    const { server, hostKeys, hostKeyAlgorithms, offer } = this.#options;
    const strict = server ? ['kex-strict-s-v00@openssh.com'] : ['ext-info-c', 'kex-strict-c-v00@openssh.com'];
    return kexInit({
      kex: [...(offer?.kex ?? KEX), ...strict],
      serverHostKey: server ? Object.keys(hostKeys ?? {}) : (hostKeyAlgorithms ?? []),
      cipher: offer?.cipher ?? CIPHERS,
      mac: offer?.mac ?? MACS,
    });
  }

  #listen(): void {
    const stream = this.#stream;
    // Nagle's algorithm would hold back every answer of a keystroke's size for an acknowledgement.
    if (stream instanceof Socket) stream.setNoDelay(true);
    stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    stream.on('drain', () => this.#drain());
    stream.on('error', (error) => this.#die(`connection lost: ${error.message}`));
    stream.on('end', () => this.#die('the peer closed the connection'));
    stream.on('close', () => this.#die('the connection closed'));
    const interval = this.#options.rekeyIntervalMs;
    if (interval > 0) this.#rekeyTimer = setInterval(() => this.rekey(), interval).unref();
  }

  #receive(chunk: Buffer): void {
    if (this.#dead) return;
    this.lastReceivedMs = performance.now();
    if (!this.#opened) {
      this.#options.firstBytes?.(chunk);
      return;
    }
    try {
      this.#protocol.parse(chunk, 0, chunk.length);
    } catch (error) {
      this.#die(`protocol error: ${messageOf(error)}`);
      return;
    }
    if (this.rekeying && this.handshakes > 0) this.#armDeadline();
    this.#count(chunk.length);
  }

  /** Many small writes a packet come from ssh2: gathered into one writev a turn of the event loop. */
  #write(data: Uint8Array): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.writableEnded) return;
    if (!this.#corked) {
      this.#corked = true;
      stream.cork();
      process.nextTick(() => {
        this.#corked = false;
        stream.uncork();
      });
    }
    stream.write(data);
  }

  #drain(): void {
    if (this.#dead) return;
    this.#stream.resume();
    this.#guarded(() => this.#handler.drained());
  }

  #message(type: number, payload: Buffer): void {
    // The parser may still hold packets of the same chunk when we die.
    if (this.#dead) return;
    switch (type) {
      case Message.ignore:
      case Message.debug:
      case Message.unimplemented:
        return;
      case Message.disconnect: {
        const reader = new WireReader(payload, 1);
        this.#disconnected(reader.uint32(), reader.text());
        return;
      }
      default:
        this.#guarded(() => this.#handler.message(type, payload));
    }
  }

  #keysChanged(negotiated: Negotiated): void {
    if (this.#dead) return;
    clearTimeout(this.#deadlineTimer);
    this.#deadlineTimer = undefined;
    this.#bytesSinceKeys = 0;
    this.handshakes++;
    this.negotiated = negotiated;
    if (!this.trusted && this.handshakes > MAX_EARLY_HANDSHAKES) {
      this.disconnect(DisconnectReason.protocolError, 'Too many key exchanges.');
      return;
    }
    this.#guarded(() => {
      if (this.handshakes === 1) this.#handler.secured(negotiated);
      else this.#handler.drained();
    });
  }

  #count(bytes: number): void {
    bulkPassed(bytes);
    this.#bytesSinceKeys += bytes;
    if (this.#bytesSinceKeys >= this.#options.rekeyBytes) this.rekey();
  }

  #armDeadline(): void {
    this.#deadlineTimer ??= setTimeout(() => {
      this.#die('the key exchange did not end in time');
    }, REKEY_DEADLINE_MS).unref();
  }

  #disconnected(reason: number, text: string): void {
    const said = printable(text);
    this.#die(
      reason === DisconnectReason.byApplication
        ? `the peer disconnected${said && `: ${said}`}`
        : `the peer disconnected (${reason}): ${said}`,
    );
  }

  /** A throw in a handler ends this connection and no other. */
  #guarded(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.disconnect(
        DisconnectReason.byApplication,
        'Internal error.',
        `handler failed: ${messageOf(error)}`,
      );
    }
  }

  #die(reason: string): void {
    if (this.#dead) return;
    this.#dead = true;
    clearInterval(this.#rekeyTimer);
    clearTimeout(this.#deadlineTimer);
    const stream = this.#stream;
    if (!stream.destroyed) {
      stream.resume(); // what still comes is thrown away, so that the peer can read our goodbye
      stream.end();
      const timer = setTimeout(() => stream.destroy(), LINGER_MS).unref();
      stream.once('close', () => clearTimeout(timer));
    }
    try {
      this.#handler.ended(reason);
    } catch {
      // Nothing is left that could be told.
    }
    // Deferred: we may be inside ssh2's parser, which would go on with freed ciphers.
    setImmediate(() => this.#protocol.cleanup());
  }
}
