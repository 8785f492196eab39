// What a server answers, read for somebody who only looks on.
import { WireReader } from '../wire.ts';
import { Packet } from './protocol.ts';

export type SftpAnswer =
  | { readonly kind: 'version' }
  | { readonly kind: 'status'; readonly code: number; readonly message: string }
  | { readonly kind: 'handle'; readonly handle: string }
  | { readonly kind: 'data'; readonly bytes: number }
  /** `first`: a view. */
  | { readonly kind: 'name'; readonly first: Buffer }
  | { readonly kind: 'attrs' | 'extended' };

export interface NumberedAnswer {
  readonly id: number;
  readonly answer: SftpAnswer;
}

/** A path and what stands in front of it; of everything else a part of that is enough. */
const HEAD_BYTES = 12 + 4096;

/** For PacketFramer. */
export function answerWants(type: number): number {
  return type === Packet.data ? 8 : HEAD_BYTES;
}

/** `body` and `length` as PacketFramer gives them. A string: what is wrong with the answer. */
export function parseAnswer(type: number, body: Buffer, length: number): NumberedAnswer | string {
  const reader = new WireReader(body);
  const id = reader.uint32();
  const answer = parse(type, reader, length);
  return reader.ok && answer ? { id, answer } : `malformed answer of type ${type}`;
}

function parse(type: number, reader: WireReader, length: number): SftpAnswer | undefined {
  switch (type) {
    case Packet.version:
      return { kind: 'version' };
    case Packet.status: {
      const code = reader.uint32();
      return { kind: 'status', code, message: reader.text() };
    }
    case Packet.handle:
      return { kind: 'handle', handle: reader.string().toString('latin1') };
    case Packet.data: {
      const bytes = reader.uint32();
      return bytes === length - 8 ? { kind: 'data', bytes } : undefined;
    }
    case Packet.name:
      return { kind: 'name', first: reader.uint32() > 0 ? reader.string() : Buffer.alloc(0) };
    case Packet.attrs:
      return { kind: 'attrs' };
    case Packet.extendedReply:
      return { kind: 'extended' };
    default:
      return undefined;
  }
}
