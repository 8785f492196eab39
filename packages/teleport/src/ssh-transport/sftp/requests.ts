// What a client asks, read for somebody who only looks on: paths as bytes, handles as opaque words, of the bytes of a
// file how many they are.
import { WireReader } from '../wire.ts';
import { type FileAttributes, readAttributes, readUint64 } from './attributes.ts';
import { Packet } from './protocol.ts';

export type SftpRequest =
  | { readonly kind: 'init' }
  | {
      readonly kind: 'open';
      readonly path: Buffer;
      readonly flags: number;
      readonly attributes: FileAttributes;
    }
  | { readonly kind: 'read' | 'write'; readonly handle: string; readonly bytes: number }
  | { readonly kind: 'close' | 'readdir'; readonly handle: string }
  | { readonly kind: 'fsetstat'; readonly handle: string; readonly attributes: FileAttributes }
  | { readonly kind: 'setstat' | 'mkdir'; readonly path: Buffer; readonly attributes: FileAttributes }
  | { readonly kind: 'opendir' | 'remove' | 'rmdir' | 'realpath'; readonly path: Buffer }
  /** `target`: where it goes to, or what a link points at. */
  | { readonly kind: 'rename' | 'symlink' | 'link'; readonly path: Buffer; readonly target: Buffer }
  | { readonly kind: 'copy'; readonly from: string; readonly to: string; readonly bytes: number }
  /** Changes nothing and opens nothing. */
  | { readonly kind: 'ask' };

export interface Numbered {
  /** 0 of `init`, which has none. */
  readonly id: number;
  readonly request: SftpRequest;
}

/** Of a WRITE: id, handle (§6.3: at most 256 bytes), offset, length. */
const WRITE_HEAD_BYTES = 4 + 4 + 256 + 8 + 4;

/** For PacketFramer. */
export function requestWants(type: number): number {
  return type === Packet.write ? WRITE_HEAD_BYTES : Number.POSITIVE_INFINITY;
}

/** `body` and `length` as PacketFramer gives them. A string: what is wrong with the request. The views are of `body`. */
export function parseRequest(type: number, body: Buffer, length: number): Numbered | string {
  const reader = new WireReader(body);
  if (type === Packet.init) {
    reader.uint32();
    return reader.ok ? { id: 0, request: { kind: 'init' } } : 'malformed greeting';
  }
  const id = reader.uint32();
  const request = parse(type, reader, length);
  return reader.ok && request ? { id, request } : `malformed request of type ${type}`;
}

const word = (reader: WireReader): string => reader.string().toString('latin1');

function parse(type: number, reader: WireReader, length: number): SftpRequest | undefined {
  switch (type) {
    case Packet.open:
      return { kind: 'open', path: path(reader), flags: reader.uint32(), attributes: readAttributes(reader) };
    case Packet.close:
      return { kind: 'close', handle: word(reader) };
    case Packet.read: {
      const handle = word(reader);
      readUint64(reader);
      return { kind: 'read', handle, bytes: reader.uint32() };
    }
    case Packet.write:
      return parseWrite(reader, length);
    case Packet.setstat:
      return { kind: 'setstat', path: path(reader), attributes: readAttributes(reader) };
    case Packet.fsetstat:
      return { kind: 'fsetstat', handle: word(reader), attributes: readAttributes(reader) };
    case Packet.opendir:
      return { kind: 'opendir', path: path(reader) };
    case Packet.readdir:
      return { kind: 'readdir', handle: word(reader) };
    case Packet.remove:
      return { kind: 'remove', path: path(reader) };
    case Packet.mkdir:
      return { kind: 'mkdir', path: path(reader), attributes: readAttributes(reader) };
    case Packet.rmdir:
      return { kind: 'rmdir', path: path(reader) };
    case Packet.realpath:
      return { kind: 'realpath', path: path(reader) };
    case Packet.rename:
      return { kind: 'rename', path: path(reader), target: path(reader) };
    case Packet.symlink:
      return parseLink('symlink', reader);
    case Packet.extended:
      return parseExtended(reader);
    default:
      return { kind: 'ask' };
  }
}

/** No path of the system's holds a NUL, and none is longer (PATH_MAX): our server would answer an error. */
function path(reader: WireReader): Buffer {
  return reader.string();
}

/** Its own word of how much comes must agree with how long the packet is. */
function parseWrite(reader: WireReader, length: number): SftpRequest | undefined {
  const handle = word(reader);
  readUint64(reader);
  const bytes = reader.uint32();
  return reader.position + bytes === length ? { kind: 'write', handle, bytes } : undefined;
}

/** OpenSSH's order, against the draft: what it points at comes first. */
function parseLink(kind: 'symlink' | 'link', reader: WireReader): SftpRequest {
  const target = path(reader);
  return { kind, path: path(reader), target };
}

function parseExtended(reader: WireReader): SftpRequest {
  switch (reader.text()) {
    case 'posix-rename@openssh.com':
      return { kind: 'rename', path: path(reader), target: path(reader) };
    case 'hardlink@openssh.com':
      return parseLink('link', reader);
    case 'lsetstat@openssh.com':
      return { kind: 'setstat', path: path(reader), attributes: readAttributes(reader) };
    case 'copy-data':
      return parseCopy(reader);
    default:
      return { kind: 'ask' };
  }
}

function parseCopy(reader: WireReader): SftpRequest {
  const from = word(reader);
  readUint64(reader);
  const bytes = readUint64(reader);
  const to = word(reader);
  readUint64(reader);
  return { kind: 'copy', from, to, bytes };
}
