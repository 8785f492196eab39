// The ATTRS structure (§5): what is known of a file, or is to be changed of it. Absent means not said.
import type { WireReader } from '../wire.ts';

export interface FileAttributes {
  readonly size?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** st_mode: the type is in it where the server says so. */
  readonly mode?: number;
  /** Seconds since 1970, both or none. */
  readonly atime?: number;
  readonly mtime?: number;
}

const Has = { size: 1, owner: 2, mode: 4, times: 8, extended: 0x8000_0000 } as const;

export function readUint64(reader: WireReader): number {
  // Beyond 2^53 no file is; a peer that says so gets a rounded number.
  return reader.uint32() * 2 ** 32 + reader.uint32();
}

export function writeUint64(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeUInt32BE(Math.floor(value / 2 ** 32) >>> 0, 0);
  bytes.writeUInt32BE((value % 2 ** 32) >>> 0, 4);
  return bytes;
}

export function readAttributes(reader: WireReader): FileAttributes {
  const flags = reader.uint32();
  const size = flags & Has.size ? { size: readUint64(reader) } : {};
  const owner = flags & Has.owner ? { uid: reader.uint32(), gid: reader.uint32() } : {};
  const mode = flags & Has.mode ? { mode: reader.uint32() } : {};
  const times = flags & Has.times ? { atime: reader.uint32(), mtime: reader.uint32() } : {};
  if ((flags & Has.extended) !== 0) skipExtended(reader);
  return { ...size, ...owner, ...mode, ...times };
}

function skipExtended(reader: WireReader): void {
  for (let left = reader.uint32(); left > 0 && reader.ok; left--) {
    reader.string();
    reader.string();
  }
}

export function writeAttributes({ size, uid, gid, mode, atime, mtime }: FileAttributes): Buffer {
  const owner = uid !== undefined && gid !== undefined;
  const times = atime !== undefined && mtime !== undefined;
  const flags =
    (size === undefined ? 0 : Has.size) |
    (owner ? Has.owner : 0) |
    (mode === undefined ? 0 : Has.mode) |
    (times ? Has.times : 0);
  const numbers = [...(owner ? [uid, gid] : []), ...(mode === undefined ? [] : [mode])];
  if (times) numbers.push(atime, mtime);
  return Buffer.concat([
    uint32(flags),
    size === undefined ? Buffer.alloc(0) : writeUint64(size),
    ...numbers.map(uint32),
  ]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}
