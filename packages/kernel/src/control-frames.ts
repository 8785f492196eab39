// The control protocol's bytes: frames in and out of a stream, and the bodies of wire.h. Pure; the socket is
// recorder-client.ts. The peer is trusted to be root, not to be well: every length is checked.
import { count, decodeTotals, upToNul } from './fields.ts';
import type { Kind, LossPolicy } from './kernel-event.ts';
import type {
  Feature,
  RecorderHello,
  RecorderStats,
  SessionTotals,
  Watched,
  WatchedSession,
  WatchRequest,
} from './recorder.ts';
import { RecorderError } from './recorder-error.ts';
import { sessionIdBytes, sessionIdText } from './session-id.ts';
import * as wire from './wire.gen.ts';
import { featureWords } from './wire-names.ts';

export interface ControlFrame {
  readonly type: number;
  /** The request this answers; 0 is a notification. */
  readonly id: number;
  readonly body: Buffer;
}

export function controlFrame(type: number, id: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const f = wire.control_frame;
  const bytes = Buffer.alloc(f.SIZE + body.length);
  bytes.writeUInt32LE(body.length, f.length);
  bytes.writeUInt16LE(type, f.type);
  bytes.writeUInt16LE(wire.WIRE_VERSION, f.version);
  bytes.writeUInt32LE(id, f.id);
  body.copy(bytes, f.SIZE);
  return bytes;
}

export type ControlDamage = 'version' | 'length' | 'body';

/** Cuts a stream into frames; holds at most one incomplete frame. */
export class ControlStream {
  #rest: Buffer = Buffer.alloc(0);

  /** The frames the chunk completes, or why the stream cannot be read any further. */
  push(chunk: Buffer): ControlFrame[] | ControlDamage {
    const f = wire.control_frame;
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: ControlFrame[] = [];
    let at = 0;
    while (bytes.length - at >= f.SIZE) {
      if (bytes.readUInt16LE(at + f.version) !== wire.WIRE_VERSION) return 'version';
      const length = bytes.readUInt32LE(at + f.length);
      if (length > wire.CONTROL_MAX_BODY) return 'length';
      const end = at + f.SIZE + length;
      if (end > bytes.length) break;
      frames.push({
        type: bytes.readUInt16LE(at + f.type),
        id: bytes.readUInt32LE(at + f.id),
        body: bytes.subarray(at + f.SIZE, end),
      });
      at = end;
    }
    // A copy, so that the remainder does not pin the chunk.
    this.#rest = Buffer.from(bytes.subarray(at));
    return frames;
  }
}

export function encodeSession(sessionId: string): Buffer {
  const bytes = sessionIdBytes(sessionId);
  if (bytes === undefined) {
    throw new RecorderError('a session id is a uuid in lower case', {
      kind: 'bad_input',
      code: 'session_id',
    });
  }
  return bytes;
}

const kindBits: Readonly<Record<Kind, number>> = {
  command: 1 << wire.kind.KIND_COMMAND,
  disk: 1 << wire.kind.KIND_DISK,
  network: 1 << wire.kind.KIND_NETWORK,
};
const policies: Readonly<Record<LossPolicy, number>> = {
  best_effort: wire.loss_policy.POLICY_BEST_EFFORT,
  throttle: wire.loss_policy.POLICY_THROTTLE,
  strict: wire.loss_policy.POLICY_STRICT,
};

export function encodeWatch(request: WatchRequest): Buffer {
  const w = wire.control_watch;
  const body = Buffer.alloc(w.SIZE);
  encodeSession(request.sessionId).copy(body, w.session_id);
  body.writeBigUInt64LE(request.cgroupId, w.cgroup_id);
  body.writeUInt32LE(request.auditSessionId ?? 0xffff_ffff, w.audit_session_id);
  body.writeUInt32LE(request.leaderPid, w.leader_pid);
  body.writeUInt32LE(request.supervisorPid, w.supervisor_pid);
  body.writeUInt32LE(
    request.kinds.reduce((bits, kind) => bits | kindBits[kind], 0),
    w.kinds,
  );
  body.writeUInt32LE(policies[request.policy], w.policy);
  return body;
}

// The decoders return undefined for a body that is too short: the caller closes the connection.

export function decodeHello(body: Buffer): RecorderHello | undefined {
  const h = wire.control_hello;
  if (body.length < h.SIZE) return undefined;
  const bits = body.readUInt32LE(h.features);
  return {
    wireHash: body.toString('hex', h.wire_hash, h.wire_hash + 32),
    pid: body.readUInt32LE(h.pid),
    features: new Set<Feature>(featureWords.filter((_, bit) => (bits & (1 << bit)) !== 0)),
    ringSize: count(body, h.ring_size),
    startKtime: body.readBigUInt64LE(h.start_ktime),
    resumedSessions: body.readUInt32LE(h.resumed_sessions),
  };
}

export function decodeWatched(body: Buffer): Watched | undefined {
  const w = wire.control_watched;
  if (body.length < w.SIZE) return undefined;
  return {
    session: body.readBigUInt64LE(w.session),
    realtimeOffsetNs: body.readBigUInt64LE(w.realtime_offset),
  };
}

export function decodeSessionTotals(body: Buffer): SessionTotals | undefined {
  const t = wire.control_totals;
  if (body.length < t.SIZE) return undefined;
  return {
    kinds: decodeTotals(body, t.totals),
    lastSeq: count(body, t.last_seq),
    spoolLength: count(body, t.spool_length),
    liveTasks: body.readUInt32LE(t.live_tasks),
  };
}

export function decodeList(body: Buffer): WatchedSession[] | undefined {
  const s = wire.control_status;
  if (body.length % s.SIZE !== 0) return undefined;
  return Array.from({ length: body.length / s.SIZE }, (_, i) => {
    const at = i * s.SIZE;
    return {
      sessionId: sessionIdText(body, at + s.session_id),
      session: body.readBigUInt64LE(at + s.session),
      cgroupId: body.readBigUInt64LE(at + s.cgroup_id),
      spoolLength: count(body, at + s.spool_length),
      liveTasks: body.readUInt32LE(at + s.live_tasks),
      leaderPid: body.readUInt32LE(at + s.leader_pid),
    };
  });
}

export function decodeStats(body: Buffer): RecorderStats | undefined {
  const s = wire.control_stats;
  if (body.length < s.SIZE) return undefined;
  return {
    ringSize: count(body, s.ring_size),
    ringUsed: count(body, s.ring_used),
    drainedRecords: count(body, s.drained_records),
    drainedBytes: count(body, s.drained_bytes),
    ringLost: count(body, s.ring_lost),
    orphanRecords: count(body, s.orphan_records),
    outsideTasks: count(body, s.outside_tasks),
    programMisses: count(body, s.program_misses),
    sessions: body.readUInt32LE(s.sessions),
    lineageEntries: body.readUInt32LE(s.lineage_entries),
    foreignPrograms: body.readUInt32LE(s.foreign_programs),
  };
}

export function decodeProgress(body: Buffer): { sessionId: string; spoolLength: number } | undefined {
  const p = wire.control_progress;
  if (body.length < p.SIZE) return undefined;
  return { sessionId: sessionIdText(body, p.session_id), spoolLength: count(body, p.spool_length) };
}

export function decodeSession(body: Buffer): string | undefined {
  return body.length < wire.control_session.SIZE ? undefined : sessionIdText(body, 0);
}

/** `errno` is positive. */
export function decodeError(body: Buffer): { errno: number; message: string } | undefined {
  const e = wire.control_error;
  if (body.length < e.SIZE) return undefined;
  const message = upToNul(body, e.message, e.SIZE - e.message).toString('utf8');
  return { errno: Math.abs(body.readInt32LE(e.error)), message };
}
