// Bytes of one record (wire.h) → KernelEvent. The hot path between the spool and the audit log: every length
// is checked before a byte is read, nothing throws, and what cannot be decoded comes back as a typed drop
// for the caller to count. Byte strings are views into the given buffer: whoever keeps an event for long
// copies them, or the whole chunk stays in memory with them.
import { ipv4Text, ipv6Text } from './address.ts';
import { count, decodeTotals, upToNul } from './fields.ts';
import type {
  AttributionEvent,
  ConnectEvent,
  EndEvent,
  EventHeader,
  ExecEvent,
  ExecFailedEvent,
  ExitEvent,
  KernelEvent,
  LossPolicy,
  LostEvent,
  OpenEvent,
  WatchEvent,
} from './kernel-event.ts';
import { sessionIdText } from './session-id.ts';
import { readTail, splitStrings, type Tail } from './tlv.ts';
import * as wire from './wire.gen.ts';
import {
  attributionWords,
  kindWords,
  lostCauseWords,
  outcomeWords,
  pathSourceWords,
  sourceWords,
} from './wire-names.ts';

/** Why a record was not decoded. */
export type DropReason = 'short' | 'length_mismatch' | 'unknown_type' | 'unknown_kind' | 'bad_tail';

export interface Drop {
  readonly type: 'drop';
  readonly reason: DropReason;
  /** record_header.type, 0 when too short to hold one. */
  readonly recordType: number;
}

type Decode = (bytes: Buffer, at: number, header: EventHeader, tail: Tail) => KernelEvent;

/** Fixed size and decoder by record_type. */
const records: (readonly [size: number, decode: Decode] | undefined)[] = [];
records[wire.record_type.RECORD_EXEC] = [wire.record_exec.SIZE, decodeExec];
records[wire.record_type.RECORD_EXEC_FAILED] = [wire.record_exec_failed.SIZE, decodeExecFailed];
records[wire.record_type.RECORD_EXIT] = [wire.record_exit.SIZE, decodeExit];
records[wire.record_type.RECORD_OPEN] = [wire.record_open.SIZE, decodeOpen];
records[wire.record_type.RECORD_CONNECT] = [wire.record_connect.SIZE, decodeConnect('connect')];
records[wire.record_type.RECORD_CONNECT_OUTCOME] = [
  wire.record_connect.SIZE,
  decodeConnect('connect_outcome'),
];
records[wire.record_type.RECORD_SOCKET_CLOSE] = [wire.record_connect.SIZE, decodeConnect('socket_close')];
records[wire.record_type.RECORD_ATTRIBUTION] = [wire.record_attribution.SIZE, decodeAttribution];
records[wire.record_type.RECORD_WATCH] = [wire.record_watch.SIZE, decodeWatch];
records[wire.record_type.RECORD_LOST] = [wire.record_lost.SIZE, decodeLost];
records[wire.record_type.RECORD_END] = [wire.record_end.SIZE, decodeEnd];

/** Decodes the record in bytes[at, at + length). */
export function decodeRecord(bytes: Buffer, at = 0, length = bytes.length - at): KernelEvent | Drop {
  if (at < 0 || length < wire.record_header.SIZE || at + length > bytes.length) return drop('short', 0);
  const type = bytes[at + wire.record_header.type] ?? 0;
  if (bytes.readUInt32LE(at + wire.record_header.length) !== length) return drop('length_mismatch', type);
  const known = records[type];
  if (known === undefined) return drop('unknown_type', type);
  const [size, decode] = known;
  if (length < size) return drop('short', type);
  const header = decodeHeader(bytes, at);
  if (header === undefined) return drop('unknown_kind', type);
  const tail = readTail(bytes, at + size, at + length);
  return tail === undefined ? drop('bad_tail', type) : decode(bytes, at, header, tail);
}

function drop(reason: DropReason, recordType: number): Drop {
  return { type: 'drop', reason, recordType };
}

const none = Buffer.alloc(0);
const noAuditSession = 0xffff_ffff;

/** wire.h carries errors negative; a positive errno is what every message and table prints. */
function errno(bytes: Buffer, at: number): number {
  return Math.abs(bytes.readInt32LE(at));
}

function decodeHeader(bytes: Buffer, at: number): EventHeader | undefined {
  const h = wire.record_header;
  const kind = kindWords[bytes[at + h.kind] ?? -1];
  if (kind === undefined) return undefined;
  const flags = bytes[at + h.flags] ?? 0;
  const auditSessionId = bytes.readUInt32LE(at + h.audit_session_id);
  return {
    kind,
    source: sourceWords[bytes[at + h.source] ?? 0] ?? 'unknown',
    session: bytes.readBigUInt64LE(at + h.session),
    seq: count(bytes, at + h.seq),
    ktime: bytes.readBigUInt64LE(at + h.ktime),
    cgroupId: bytes.readBigUInt64LE(at + h.cgroup_id),
    pid: bytes.readUInt32LE(at + h.pid),
    tid: bytes.readUInt32LE(at + h.tid),
    ppid: bytes.readUInt32LE(at + h.ppid),
    auditSessionId: auditSessionId === noAuditSession ? undefined : auditSessionId,
    uid: bytes.readUInt32LE(at + h.uid),
    gid: bytes.readUInt32LE(at + h.gid),
    comm: commOf(bytes, at + h.comm),
    compat32: (flags & wire.record_flags.RECORD_FLAG_COMPAT32) !== 0,
    foreignMountNamespace: (flags & wire.record_flags.RECORD_FLAG_MOUNT_NS) !== 0,
    chroot: (flags & wire.record_flags.RECORD_FLAG_CHROOT) !== 0,
    userNamespace: (flags & wire.record_flags.RECORD_FLAG_USER_NS) !== 0,
  };
}

let lastComm = none;

/** Runs of events mostly come from one task: the same name is one Buffer, a copy that pins no chunk. */
function commOf(bytes: Buffer, at: number): Buffer {
  let same = 0;
  while (same < lastComm.length && bytes[at + same] === lastComm[same]) same++;
  if (same === lastComm.length && (same === wire.COMM_LEN || bytes[at + same] === 0)) return lastComm;
  lastComm = Buffer.from(upToNul(bytes, at, wire.COMM_LEN));
  return lastComm;
}

function decodeExec(bytes: Buffer, at: number, header: EventHeader, tail: Tail): ExecEvent {
  const r = wire.record_exec;
  const tag = wire.tlv_tag;
  const flag = wire.exec_flags;
  const flags = bytes.readUInt32LE(at + r.flags);
  const state = bytes.readUInt32LE(at + r.argv_state);
  return {
    type: 'exec',
    ...header,
    path: tail[tag.TLV_PATH] ?? none,
    exe: tail[tag.TLV_EXE] ?? none,
    cwd: tail[tag.TLV_CWD] ?? none,
    argv: splitStrings(tail[tag.TLV_ARGV]),
    argvState: argvState(state),
    argvError: errno(bytes, at + r.argv_error),
    argvSize: count(bytes, at + r.argv_size),
    argc: bytes.readUInt32LE(at + r.argc),
    env: splitStrings(tail[tag.TLV_ENV]),
    interpreter: tail[tag.TLV_INTERPRETER],
    envPartial: (flags & flag.EXEC_FLAG_ENV_PARTIAL) !== 0,
    memfd: (flags & flag.EXEC_FLAG_MEMFD) !== 0,
    deleted: (flags & flag.EXEC_FLAG_DELETED) !== 0,
    setuid: (flags & flag.EXEC_FLAG_SETUID) !== 0,
    ldExec: (flags & flag.EXEC_FLAG_LD_EXEC) !== 0,
    shm: (flags & flag.EXEC_FLAG_SHM) !== 0,
    pathPartial: (flags & flag.EXEC_FLAG_PATH_PARTIAL) !== 0,
    cwdPartial: (flags & flag.EXEC_FLAG_CWD_PARTIAL) !== 0,
    inode: bytes.readBigUInt64LE(at + r.inode),
    device: bytes.readUInt32LE(at + r.device),
    mode: bytes.readUInt32LE(at + r.mode),
  };
}

function argvState(state: number): ExecEvent['argvState'] {
  if (state === wire.argv_state.ARGV_EXACT) return 'exact';
  return state === wire.argv_state.ARGV_TRUNCATED ? 'truncated' : 'unreadable';
}

function decodeExecFailed(bytes: Buffer, at: number, header: EventHeader, tail: Tail): ExecFailedEvent {
  const tag = wire.tlv_tag;
  return {
    type: 'exec_failed',
    ...header,
    error: errno(bytes, at + wire.record_exec_failed.error),
    folded: bytes.readUInt32LE(at + wire.record_exec_failed.folded),
    path: tail[tag.TLV_USER_PATH] ?? tail[tag.TLV_PATH] ?? none,
    cwd: tail[tag.TLV_CWD] ?? none,
    argv: splitStrings(tail[tag.TLV_ARGV]),
  };
}

function decodeExit(bytes: Buffer, at: number, header: EventHeader): ExitEvent {
  const r = wire.record_exit;
  // As wait(2): status << 8 | core 0x80 | signal.
  const code = bytes.readUInt32LE(at + r.exit_code);
  const signal = code & 0x7f;
  return {
    type: 'exit',
    ...header,
    status: signal === 0 ? (code >>> 8) & 0xff : undefined,
    signal: signal === 0 ? undefined : signal,
    coreDumped: (code & 0x80) !== 0,
    durationNs: bytes.readBigUInt64LE(at + r.duration_ns),
    cpuNs: bytes.readBigUInt64LE(at + r.cpu_ns),
  };
}

function decodeOpen(bytes: Buffer, at: number, header: EventHeader, tail: Tail): OpenEvent {
  const r = wire.record_open;
  const flags = bytes[at + r.flags] ?? 0;
  return {
    type: 'open',
    ...header,
    result: Number(bytes.readBigInt64LE(at + r.result)),
    openFlags: bytes.readUInt32LE(at + r.open_flags),
    mode: bytes.readUInt32LE(at + r.mode),
    inode: bytes.readBigUInt64LE(at + r.inode),
    device: bytes.readUInt32LE(at + r.device),
    nlink: bytes.readUInt32LE(at + r.nlink),
    pathSource: pathSourceWords[bytes[at + r.path_source] ?? -1] ?? 'unknown',
    path: tail[wire.tlv_tag.TLV_PATH] ?? none,
    userPath: tail[wire.tlv_tag.TLV_USER_PATH],
    cwd: tail[wire.tlv_tag.TLV_BASE],
    pathPartial: (flags & wire.open_flags.OPEN_FLAG_PATH_PARTIAL) !== 0,
    dup: (flags & wire.open_flags.OPEN_FLAG_DUP) !== 0,
    syscall: bytes.readUInt16LE(at + r.syscall),
  };
}

function decodeConnect(type: ConnectEvent['type']): Decode {
  const r = wire.record_connect;
  return (bytes, at, header, tail): ConnectEvent => {
    const family = bytes.readUInt16LE(at + r.family);
    const operation = bytes[at + r.operation];
    return {
      type,
      ...header,
      family,
      protocol: bytes.readUInt16LE(at + r.protocol),
      srcAddr: addressText(family, bytes, at + r.src_addr),
      srcPort: bytes.readUInt16LE(at + r.src_port),
      dstAddr: addressText(family, bytes, at + r.dst_addr),
      dstPort: bytes.readUInt16LE(at + r.dst_port),
      operation: operation === wire.network_operation.NETWORK_SEND ? 'send' : 'connect',
      outcome: outcomeWords[bytes[at + r.outcome] ?? -1] ?? 'unknown',
      error: errno(bytes, at + r.error),
      socket: bytes.readBigUInt64LE(at + r.socket),
      bytesSent: bytes.readBigUInt64LE(at + r.bytes_sent),
      bytesReceived: bytes.readBigUInt64LE(at + r.bytes_received),
      durationNs: bytes.readBigUInt64LE(at + r.duration_ns),
      unixPath: unixPathOf(tail[wire.tlv_tag.TLV_UNIX_PATH]),
    };
  };
}

function addressText(family: number, bytes: Buffer, at: number): string {
  if (family === 2) return ipv4Text(bytes, at);
  return family === 10 ? ipv6Text(bytes, at) : '';
}

/** unix(7): a path ends at its NUL, if it has one; an abstract name is all of its bytes. */
function unixPathOf(bytes: Buffer | undefined): Buffer | undefined {
  return bytes === undefined || bytes[0] === 0 ? bytes : upToNul(bytes, 0, bytes.length);
}

function decodeAttribution(bytes: Buffer, at: number, header: EventHeader): AttributionEvent {
  const r = wire.record_attribution;
  return {
    type: 'attribution',
    ...header,
    reason: attributionWords[bytes.readUInt32LE(at + r.reason)] ?? 'unknown',
    oldValue: bytes.readBigUInt64LE(at + r.old_value),
    newValue: bytes.readBigUInt64LE(at + r.new_value),
  };
}

function decodeWatch(bytes: Buffer, at: number, header: EventHeader): WatchEvent {
  const r = wire.record_watch;
  const bits = bytes.readUInt32LE(at + r.kinds);
  return {
    type: 'watch',
    ...header,
    sessionId: sessionIdText(bytes, at + r.session_id),
    realtimeOffsetNs: bytes.readBigUInt64LE(at + r.realtime_offset),
    watchedCgroupId: bytes.readBigUInt64LE(at + r.cgroup_id),
    leaderPid: bytes.readUInt32LE(at + r.leader_pid),
    kinds: kindWords.filter(
      (word, bit) => word !== 'meta' && (bits & (1 << bit)) !== 0,
    ) as WatchEvent['kinds'],
    policy: policyOf(bytes.readUInt32LE(at + r.policy)),
  };
}

function policyOf(value: number): LossPolicy {
  if (value === wire.loss_policy.POLICY_THROTTLE) return 'throttle';
  return value === wire.loss_policy.POLICY_STRICT ? 'strict' : 'best_effort';
}

function decodeLost(bytes: Buffer, at: number, header: EventHeader): LostEvent {
  const r = wire.record_lost;
  return {
    type: 'lost',
    ...header,
    count: count(bytes, at + r.count),
    firstKtime: bytes.readBigUInt64LE(at + r.first_ktime),
    lastKtime: bytes.readBigUInt64LE(at + r.last_ktime),
    cause: lostCauseWords[bytes.readUInt32LE(at + r.cause)] ?? 'unknown',
  };
}

function decodeEnd(bytes: Buffer, at: number, header: EventHeader): EndEvent {
  return {
    type: 'end',
    ...header,
    totals: decodeTotals(bytes, at + wire.record_end.totals),
    lastSeq: count(bytes, at + wire.record_end.last_seq),
  };
}
