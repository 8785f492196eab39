// Records and frames as the recorder writes them, for tests of the readers.
import { crc32 } from 'node:zlib';
import { sessionIdBytes } from './session-id.ts';
import * as wire from './wire.gen.ts';

export interface RecordParts {
  readonly type: number;
  readonly kind?: number;
  readonly seq?: number;
  readonly pid?: number;
  readonly comm?: string;
  /** Behind the header. */
  readonly fixed: Buffer;
  readonly tail?: readonly (readonly [tag: number, value: Buffer])[];
}

/** The fixed part behind the header, `size` being the whole struct's; `set` gets struct offsets. */
export function fixedPart(
  size: number,
  set: (at: (offset: number) => number, bytes: Buffer) => void = () => {},
) {
  const bytes = Buffer.alloc(size - wire.record_header.SIZE);
  set((offset) => offset - wire.record_header.SIZE, bytes);
  return bytes;
}

export function recordBytes(parts: RecordParts): Buffer {
  const header = Buffer.alloc(wire.record_header.SIZE);
  const record = Buffer.concat([header, parts.fixed, ...(parts.tail ?? []).map(tlvBytes)]);
  const h = wire.record_header;
  record.writeUInt32LE(record.length, h.length);
  record[h.type] = parts.type;
  record[h.kind] = parts.kind ?? wire.kind.KIND_COMMAND;
  record[h.source] = wire.source.SOURCE_SYS_EXIT;
  record.writeBigUInt64LE(7n, h.session);
  record.writeBigUInt64LE(BigInt(parts.seq ?? 1), h.seq);
  record.writeBigUInt64LE(123_456_789_000n, h.ktime);
  record.writeUInt32LE(parts.pid ?? 4711, h.pid);
  record.writeUInt32LE(0xffff_ffff, h.audit_session_id);
  record.write(parts.comm ?? 'sh', h.comm, 'latin1');
  return record;
}

function tlvBytes([tag, value]: readonly [tag: number, value: Buffer]): Buffer {
  const bytes = Buffer.alloc(wire.tlv.SIZE + Math.ceil(value.length / 8) * 8);
  bytes.writeUInt16LE(tag, wire.tlv.tag);
  bytes.writeUInt32LE(value.length, wire.tlv.length);
  value.copy(bytes, wire.tlv.SIZE);
  return bytes;
}

export function openRecord(seq: number, path: string | Buffer, result = 3): Buffer {
  const r = wire.record_open;
  return recordBytes({
    type: wire.record_type.RECORD_OPEN,
    kind: wire.kind.KIND_DISK,
    seq,
    fixed: fixedPart(r.SIZE, (at, bytes) => {
      bytes.writeBigInt64LE(BigInt(result), at(r.result));
      bytes[at(r.path_source)] = wire.path_source.PATH_FD;
    }),
    tail: [[wire.tlv_tag.TLV_PATH, Buffer.from(path)]],
  });
}

export function execRecord(seq: number, argv: readonly string[], exe = '/usr/bin/env'): Buffer {
  const area = Buffer.from(argv.map((a) => `${a}\0`).join(''));
  const r = wire.record_exec;
  return recordBytes({
    type: wire.record_type.RECORD_EXEC,
    seq,
    fixed: fixedPart(r.SIZE, (at, bytes) => {
      bytes.writeBigUInt64LE(BigInt(area.length), at(r.argv_size));
      bytes.writeUInt32LE(argv.length, at(r.argc));
    }),
    tail: [
      [wire.tlv_tag.TLV_PATH, Buffer.from(argv[0] ?? '')],
      [wire.tlv_tag.TLV_EXE, Buffer.from(exe)],
      [wire.tlv_tag.TLV_CWD, Buffer.from('/root')],
      [wire.tlv_tag.TLV_ARGV, area],
      [wire.tlv_tag.TLV_ENV, Buffer.from('LD_PRELOAD=/tmp/x.so\0')],
    ],
  });
}

/** struct spool_frame, the record, padding to 8. */
export function frameBytes(record: Buffer): Buffer {
  const f = wire.spool_frame;
  const bytes = Buffer.alloc(f.SIZE + Math.ceil(record.length / 8) * 8);
  bytes.writeUInt32LE(wire.SPOOL_FRAME_MAGIC, f.magic);
  bytes.writeUInt32LE(record.length, f.length);
  bytes.writeUInt32LE(crc32(record), f.crc32);
  record.copy(bytes, f.SIZE);
  return bytes;
}

export function spoolHeaderBytes(sessionId: string, wireHash = wire.WIRE_HASH): Buffer {
  const s = wire.spool_header;
  const bytes = Buffer.alloc(s.SIZE);
  bytes.writeBigUInt64LE(wire.SPOOL_MAGIC, s.magic);
  bytes.writeUInt32LE(wire.WIRE_VERSION, s.version);
  bytes.writeUInt32LE(s.SIZE, s.header_length);
  Buffer.from(wireHash, 'hex').copy(bytes, s.wire_hash);
  sessionIdBytes(sessionId)?.copy(bytes, s.session_id);
  return bytes;
}
