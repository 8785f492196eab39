// The channels of one connection: numbers, opening, dispatch, and whose turn it is to send. Both ends use it.
import {
  Channel,
  type ChannelHome,
  LOCAL_PACKET_BYTES,
  LOCAL_WINDOW_BYTES,
  MIN_PACKET_BYTES,
} from './channel.ts';
import { DisconnectReason, Message, OpenFailure } from './message.ts';
import type { PacketLink } from './packet-link.ts';
import { encode, type Field, WireReader } from './wire.ts';

/** The answer to a peer that wants a channel. */
export type OpenAnswer =
  | { readonly accept: (channel: Channel) => void }
  | { readonly refuse: number; readonly text: string };

export interface ChannelPolicy {
  /** Keep stderr that comes in (a client does). */
  readonly wantsExtended: boolean;
  /** `fields` stands behind the common part of CHANNEL_OPEN. */
  open(type: string, fields: WireReader): OpenAnswer;
  /** True answers a global request with success. */
  globalRequest?(name: string, fields: WireReader): boolean;
  countChanged?(open: number): void;
}

interface Opening {
  readonly resolve: (channel: Channel | undefined) => void;
}

export class ChannelTable implements ChannelHome {
  readonly link: PacketLink;
  readonly #policy: ChannelPolicy;
  readonly #channels = new Map<number, Channel | Opening>();
  readonly #waiting = new Set<Channel>();
  #pumping = false;
  #open = 0;

  constructor(link: PacketLink, policy: ChannelPolicy) {
    this.link = link;
    this.#policy = policy;
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

  /** Asks the peer for a channel; undefined when it refuses or the connection ends. */
  open(type: string, ...fields: readonly Field[]): Promise<Channel | undefined> {
    const { promise, resolve } = Promise.withResolvers<Channel | undefined>();
    if (!this.link.alive) return Promise.resolve(undefined);
    const id = this.#freeId();
    this.#channels.set(id, { resolve });
    const windows = [{ uint32: LOCAL_WINDOW_BYTES }, { uint32: LOCAL_PACKET_BYTES }];
    this.link.send(encode({ byte: Message.channelOpen }, type, { uint32: id }, ...windows, ...fields));
    return promise;
  }

  /** A global request that any peer answers, one way or the other (OpenSSH's own name). */
  ping(): void {
    this.link.send(encode({ byte: Message.globalRequest }, 'keepalive@openssh.com', true));
  }

  /** The connection is gone. */
  lost(): void {
    const channels = [...this.#channels.values()];
    this.#channels.clear();
    this.#waiting.clear();
    this.#open = 0;
    for (const channel of channels) {
      if (!(channel instanceof Channel)) channel.resolve(undefined);
      else {
        try {
          channel.lost();
        } catch {
          // An owner's fault must not keep the others from hearing of it.
        }
      }
    }
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
        return this.#globalRequest(reader);
      case Message.requestSuccess:
      case Message.requestFailure:
        return undefined; // an answer to ping: that something came is all we wanted
      case Message.channelOpen:
        return this.#opened(reader);
      case Message.channelOpenConfirmation:
      case Message.channelOpenFailure:
        return this.#answered(type, reader);
      default:
        return this.#toChannel(type, reader);
    }
  }

  #globalRequest(reader: WireReader): string | undefined {
    const name = reader.text();
    const wantReply = reader.boolean();
    if (!reader.ok) return 'malformed global request';
    const ok = this.#policy.globalRequest?.(name, reader) ?? false;
    if (wantReply) this.link.send(encode({ byte: ok ? Message.requestSuccess : Message.requestFailure }));
    return undefined;
  }

  #opened(reader: WireReader): string | undefined {
    const type = reader.text();
    const remote = { id: reader.uint32(), window: reader.uint32(), packet: reader.uint32() };
    if (!reader.ok) return 'malformed channel open';
    const answer: OpenAnswer =
      remote.packet < MIN_PACKET_BYTES
        ? { refuse: OpenFailure.resourceShortage, text: 'maximum packet size too small' }
        : this.#policy.open(type, reader);
    if ('refuse' in answer) {
      const { refuse, text } = answer;
      this.link.send(
        encode({ byte: Message.channelOpenFailure }, { uint32: remote.id }, { uint32: refuse }, text, ''),
      );
      return undefined;
    }
    const channel = this.#add(this.#freeId(), remote);
    const ends = [{ uint32: remote.id }, { uint32: channel.id }];
    const windows = [{ uint32: LOCAL_WINDOW_BYTES }, { uint32: LOCAL_PACKET_BYTES }];
    this.link.send(encode({ byte: Message.channelOpenConfirmation }, ...ends, ...windows));
    answer.accept(channel);
    return undefined;
  }

  #add(id: number, remote: { id: number; window: number; packet: number }): Channel {
    const channel = new Channel(this, id, remote, this.#policy.wantsExtended);
    this.#channels.set(id, channel);
    this.#open++;
    this.#policy.countChanged?.(this.#open);
    return channel;
  }

  #answered(type: number, reader: WireReader): string | undefined {
    const id = reader.uint32();
    const opening = this.#channels.get(id);
    if (!reader.ok || !opening || opening instanceof Channel) return 'answer to no channel open';
    if (type === Message.channelOpenFailure) {
      this.#channels.delete(id);
      opening.resolve(undefined);
      return undefined;
    }
    const remote = { id: reader.uint32(), window: reader.uint32(), packet: reader.uint32() };
    if (!reader.ok || remote.packet < MIN_PACKET_BYTES) return 'malformed channel confirmation';
    opening.resolve(this.#add(id, remote));
    return undefined;
  }

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
