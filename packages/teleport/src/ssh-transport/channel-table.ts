// The channels of one connection: numbers, opening, dispatch, and whose turn it is to send. Both ends use it.
import { AppError, type ErrorKind } from '@sallyport/contracts/errors.ts';
import {
  Channel,
  type ChannelHome,
  LOCAL_PACKET_BYTES,
  LOCAL_WINDOW_BYTES,
  MIN_PACKET_BYTES,
  type RemoteEnd,
} from './channel.ts';
import type { ChannelRefusal, GlobalAnswer, GlobalRequest } from './connection.ts';
import { GlobalRequests } from './global-requests.ts';
import { DisconnectReason, Message, OPEN_FAILURE } from './message.ts';
import { type PacketLink, printable } from './packet-link.ts';
import { encode, WireReader } from './wire.ts';

/** The answer to a peer that wants a channel. `accept` runs once the peer has been told. */
export type OpenAnswer = { readonly accept: (channel: Channel) => void } | ChannelRefusal;

export interface ChannelPolicy {
  /** Ours and the peer's together, those not yet answered included. */
  readonly maxChannels: number;
  /** `fields` stands behind the common part of CHANNEL_OPEN, and is only valid until this returns. */
  open(type: string, fields: WireReader): OpenAnswer | Promise<OpenAnswer>;
  globalRequest(request: GlobalRequest): GlobalAnswer | Promise<GlobalAnswer>;
  countChanged?(open: number): void;
  /** Whoever was handed a channel threw: that channel is closed, the others go on. */
  handlerFailed?(error: unknown): void;
}

interface Opening {
  readonly wantsExtended: boolean;
  readonly opened: (channel: Channel) => void;
  readonly reject: (error: AppError) => void;
}

const REFUSED: Readonly<Record<number, ErrorKind>> = {
  [OPEN_FAILURE.prohibited]: 'denied',
  [OPEN_FAILURE['unknown-type']]: 'unsupported',
  [OPEN_FAILURE.resources]: 'limit',
};

const connectionLost = () => new AppError('unavailable', 'ssh.connection_lost', 'The connection has ended.');

export class ChannelTable implements ChannelHome {
  readonly link: PacketLink;
  readonly requests: GlobalRequests;
  readonly #policy: ChannelPolicy;
  readonly #channels = new Map<number, Channel | Opening>();
  readonly #waiting = new Set<Channel>();
  /** The peer's opens whose answer is being thought about. */
  #deciding = 0;
  #pumping = false;
  #open = 0;

  constructor(link: PacketLink, policy: ChannelPolicy) {
    this.link = link;
    this.#policy = policy;
    this.requests = new GlobalRequests(link, (request) => policy.globalRequest(request));
  }

  get size(): number {
    return this.#open;
  }

  kick(channel: Channel): void {
    this.#waiting.add(channel);
    this.pump();
  }

  /** Round robin, a turn each, until nothing is left or the link is full. */
  pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      // A set is walked in the order of adding, what is added on the way included: so this goes round and round.
      for (const channel of this.#waiting) {
        if (!this.link.writable) break;
        this.#waiting.delete(channel);
        if (channel.pump()) this.#waiting.add(channel);
      }
    } finally {
      this.#pumping = false;
    }
  }

  forget(channel: Channel): void {
    this.#waiting.delete(channel);
    if (!this.#channels.delete(channel.id)) return;
    this.#open--;
    this.#policy.countChanged?.(this.#open);
  }

  #freeId(): number {
    let id = 0;
    while (this.#channels.has(id)) id++;
    return id;
  }

  get #full(): boolean {
    return this.#channels.size + this.#deciding >= this.#policy.maxChannels;
  }

  /**
   * Asks the peer for a channel; rejects as PeerConnection.openChannel says. `wrap` makes its owner, before the peer's
   * next message is looked at. `wantsExtended`: keep its stderr.
   */
  open<T>(type: string, payload: Buffer, wrap: (channel: Channel) => T, wantsExtended = false): Promise<T> {
    if (!this.link.alive) return Promise.reject(connectionLost());
    if (this.#full) {
      const text = 'This connection has as many channels as it may.';
      return Promise.reject(new AppError('limit', 'ssh.too_many_channels', text));
    }
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const id = this.#freeId();
    this.#channels.set(id, { wantsExtended, opened: (channel) => resolve(wrap(channel)), reject });
    const windows = [{ uint32: LOCAL_WINDOW_BYTES }, { uint32: LOCAL_PACKET_BYTES }];
    this.link.send(encode({ byte: Message.channelOpen }, type, { uint32: id }, ...windows), payload);
    return promise;
  }

  /** The connection is gone. */
  lost(): void {
    const channels = [...this.#channels.values()];
    this.#channels.clear();
    this.#waiting.clear();
    this.#open = 0;
    for (const channel of channels) {
      if (channel instanceof Channel) loseQuietly(channel);
      else channel.reject(connectionLost());
    }
    this.requests.lost();
  }

  /** A message of the connection protocol (80 to 100). */
  message(type: number, payload: Buffer): void {
    const wrong = this.#dispatch(type, new WireReader(payload, 1));
    if (wrong) this.link.disconnect(DisconnectReason.protocolError, `Protocol error: ${wrong}.`);
  }

  /** Returns what is wrong with the message. */
  #dispatch(type: number, reader: WireReader): string | undefined {
    switch (type) {
      case Message.globalRequest:
        return this.requests.received(reader);
      case Message.requestSuccess:
      case Message.requestFailure:
        return this.requests.replied(type === Message.requestSuccess, reader);
      case Message.channelOpen:
        return this.#opened(reader);
      case Message.channelOpenConfirmation:
      case Message.channelOpenFailure:
        return this.#answered(type, reader);
      default:
        return this.#toChannel(type, reader);
    }
  }

  // ── channels the peer opens ─────────────────────────────────────────────────────────────────────────────────

  #opened(reader: WireReader): string | undefined {
    const type = reader.text();
    const remote = { id: reader.uint32(), window: reader.uint32(), packet: reader.uint32() };
    if (!reader.ok) return 'malformed channel open';
    if (remote.packet < MIN_PACKET_BYTES) {
      this.#refuse(remote, { refuse: 'resources', text: 'maximum packet size too small' });
      return undefined;
    }
    if (this.#full) {
      this.#refuse(remote, { refuse: 'resources', text: 'too many channels in this connection' });
      return undefined;
    }
    let answer: OpenAnswer | Promise<OpenAnswer>;
    try {
      answer = this.#policy.open(type, reader);
    } catch (error) {
      answer = failed(error);
    }
    if (!reader.ok) return 'malformed channel open';
    if (answer instanceof Promise) void this.#decideLater(remote, answer);
    else this.#decide(remote, answer);
    return undefined;
  }

  async #decideLater(remote: RemoteEnd, eventual: Promise<OpenAnswer>): Promise<void> {
    this.#deciding++;
    const answer = await eventual.catch(failed);
    this.#deciding--;
    this.#decide(remote, answer);
  }

  #decide(remote: RemoteEnd, answer: OpenAnswer): void {
    if ('refuse' in answer) {
      this.#refuse(remote, answer);
      return;
    }
    if (!this.link.alive) {
      // The owner holds something for this channel by now (a socket): it must hear of the end, as ever.
      const channel = new Channel(this, -1, remote, false);
      this.#handOver(channel, answer.accept);
      loseQuietly(channel);
      return;
    }
    const channel = this.#add(this.#freeId(), remote, false);
    const ends = [{ uint32: remote.id }, { uint32: channel.id }];
    const windows = [{ uint32: LOCAL_WINDOW_BYTES }, { uint32: LOCAL_PACKET_BYTES }];
    this.link.send(encode({ byte: Message.channelOpenConfirmation }, ...ends, ...windows));
    this.#handOver(channel, answer.accept);
  }

  #handOver(channel: Channel, accept: (channel: Channel) => void): void {
    try {
      accept(channel);
    } catch (error) {
      channel.abort();
      this.#policy.handlerFailed?.(error);
    }
  }

  #refuse(remote: RemoteEnd, { refuse, text }: ChannelRefusal): void {
    const reason = { uint32: OPEN_FAILURE[refuse] };
    this.link.send(encode({ byte: Message.channelOpenFailure }, { uint32: remote.id }, reason, text, ''));
  }

  #add(id: number, remote: RemoteEnd, wantsExtended: boolean): Channel {
    const channel = new Channel(this, id, remote, wantsExtended);
    this.#channels.set(id, channel);
    this.#open++;
    this.#policy.countChanged?.(this.#open);
    return channel;
  }

  // ── channels we open ────────────────────────────────────────────────────────────────────────────────────────

  #answered(type: number, reader: WireReader): string | undefined {
    const id = reader.uint32();
    const opening = this.#channels.get(id);
    if (!reader.ok || !opening || opening instanceof Channel) return 'answer to no channel open';
    if (type === Message.channelOpenFailure) {
      this.#channels.delete(id);
      const kind = REFUSED[reader.uint32()] ?? 'unavailable';
      const text = `The other side opens no channel: ${printable(reader.text()) || 'it gives no reason'}.`;
      opening.reject(new AppError(kind, 'ssh.channel_refused', text));
      return undefined;
    }
    const remote = { id: reader.uint32(), window: reader.uint32(), packet: reader.uint32() };
    if (!reader.ok || remote.packet < MIN_PACKET_BYTES) return 'malformed channel confirmation';
    opening.opened(this.#add(id, remote, opening.wantsExtended));
    return undefined;
  }

  // ── messages for a channel ──────────────────────────────────────────────────────────────────────────────────

  #toChannel(type: number, reader: WireReader): string | undefined {
    const channel = this.#channels.get(reader.uint32());
    if (!reader.ok || !(channel instanceof Channel)) return `message ${type} for no channel`;
    const wrong = this.#channelMessage(channel, type, reader);
    return reader.ok ? wrong : `malformed message ${type}`;
  }

  #channelMessage(channel: Channel, type: number, reader: WireReader): string | undefined {
    switch (type) {
      case Message.channelWindowAdjust:
        return channel.adjusted(reader.uint32());
      case Message.channelData:
        return channel.data(reader.string(), undefined);
      case Message.channelExtendedData: {
        const kind = reader.uint32();
        return channel.data(reader.string(), kind);
      }
      case Message.channelEof:
        channel.ended();
        return undefined;
      case Message.channelClose:
        channel.closedByPeer();
        return undefined;
      case Message.channelRequest: {
        const name = reader.text();
        const wantReply = reader.boolean();
        if (reader.ok) channel.requested(name, wantReply, reader);
        return undefined;
      }
      case Message.channelSuccess:
      case Message.channelFailure:
        return channel.replied(type === Message.channelSuccess);
      default:
        this.link.unimplemented();
        return undefined;
    }
  }
}

/** An AppError's message is safe to show; of anything else we say nothing. */
function failed(error: unknown): ChannelRefusal {
  return { refuse: 'connect-failed', text: error instanceof AppError ? error.message : 'failed' };
}

/** An owner's fault must not keep the others from hearing of the end. */
function loseQuietly(channel: Channel): void {
  try {
    channel.lost();
  } catch {
    // It has been told; what it made of it is its own affair.
  }
}
