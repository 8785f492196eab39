// PeerConnection over a channel table: what either end may ask of the other.
import type { Duplex } from 'node:stream';
import { ChannelStream } from './channel-stream.ts';
import type { ChannelTable } from './channel-table.ts';
import type { PeerConnection } from './connection.ts';

const EMPTY = Buffer.alloc(0);

export function openStream(table: ChannelTable, type: string, payload: Buffer = EMPTY): Promise<Duplex> {
  return table.open(type, payload, (channel) => new ChannelStream(channel));
}

export function peerConnection(table: ChannelTable): Omit<PeerConnection, 'closed'> {
  return {
    openChannel: (type, payload) => openStream(table, type, payload),
    globalRequest(name, payload = EMPTY) {
      const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
      table.requests.ask(name, payload, resolve);
      return promise;
    },
    ping() {
      const { promise, resolve } = Promise.withResolvers<number | undefined>();
      const asked = performance.now();
      // A failure is an answer too; only the end of the connection is none.
      table.requests.ping(() => resolve(table.link.alive ? performance.now() - asked : undefined));
      return promise;
    },
  };
}
