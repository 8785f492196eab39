// SFTP packets by hand, for tests: what a client would send and a server answer.
import { type FileAttributes, writeAttributes, writeUint64 } from '../../ssh-transport/sftp/attributes.ts';
import { Packet } from '../../ssh-transport/sftp/protocol.ts';
import { encode, type Field } from '../../ssh-transport/wire.ts';

export function packet(type: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([encode({ uint32: body.length + 1 }, { byte: type }), body]);
}

const simple =
  (type: number) =>
  (id: number, ...fields: readonly Field[]): Buffer =>
    packet(type, encode({ uint32: id }, ...fields));

const attributed =
  (type: number) =>
  (id: number, subject: string, attributes: FileAttributes, ...between: readonly Field[]): Buffer =>
    packet(type, encode({ uint32: id }, subject, ...between), writeAttributes(attributes));

export const ask = {
  init: packet(Packet.init, encode({ uint32: 3 })),
  open: (id: number, path: string, flags: number, attributes: FileAttributes = {}) =>
    attributed(Packet.open)(id, path, attributes, { uint32: flags }),
  close: simple(Packet.close),
  read: (id: number, handle: string, length: number) =>
    packet(Packet.read, encode({ uint32: id }, handle), writeUint64(0), encode({ uint32: length })),
  write: (id: number, handle: string, bytes: Buffer) =>
    packet(Packet.write, encode({ uint32: id }, handle), writeUint64(0), encode(bytes)),
  setstat: attributed(Packet.setstat),
  fsetstat: attributed(Packet.fsetstat),
  mkdir: attributed(Packet.mkdir),
  opendir: simple(Packet.opendir),
  readdir: simple(Packet.readdir),
  remove: simple(Packet.remove),
  rmdir: simple(Packet.rmdir),
  realpath: simple(Packet.realpath),
  rename: simple(Packet.rename),
  symlink: simple(Packet.symlink),
  stat: simple(Packet.stat),
  extended: simple(Packet.extended),
};

export const answer = {
  version: packet(Packet.version, encode({ uint32: 3 })),
  status: (id: number, code: number, message = '') =>
    packet(Packet.status, encode({ uint32: id }, { uint32: code }, message, '')),
  ok: (id: number) => answer.status(id, 0, 'Success'),
  denied: (id: number) => answer.status(id, 3, 'Permission denied'),
  handle: simple(Packet.handle),
  data: simple(Packet.data),
  name: (id: number, name: string) =>
    packet(Packet.name, encode({ uint32: id }, { uint32: 1 }, name, name), writeAttributes({})),
};
