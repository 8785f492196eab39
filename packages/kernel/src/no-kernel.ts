// The recorder of a host with enhanced recording off: it accepts every session, records none of its kernel
// events and knows nothing of its tasks, so `idle` never comes. The callers need no second path.
import { EventEmitter } from 'node:events';
import { encodeSession } from './control-frames.ts';
import type {
  Recorder,
  RecorderEvents,
  RecorderHello,
  RecorderStats,
  SessionTotals,
  TotalsByKind,
  Watched,
  WatchedSession,
  WatchRequest,
} from './recorder.ts';
import { RecorderError } from './recorder-error.ts';
import { WIRE_HASH } from './wire.gen.ts';

const nothing = { emitted: 0, recorded: 0, lost: 0 };
const noTotals: TotalsByKind = { command: nothing, disk: nothing, network: nothing, meta: nothing };

export class NoKernel extends EventEmitter<RecorderEvents> implements Recorder {
  readonly hello: RecorderHello = {
    wireHash: WIRE_HASH,
    pid: 0,
    features: new Set(),
    ringSize: 0,
    startKtime: 0n,
    resumedSessions: 0,
  };
  readonly #sessions = new Map<string, WatchedSession>();
  #lastReference = 0n;
  #closed = false;

  async watch(request: WatchRequest): Promise<Watched> {
    this.#check(request.sessionId);
    if (this.#sessions.has(request.sessionId)) {
      throw new RecorderError('the session is watched already', {
        kind: 'conflict',
        code: 'recorder_eexist',
      });
    }
    const session = ++this.#lastReference;
    this.#sessions.set(request.sessionId, {
      sessionId: request.sessionId,
      session,
      cgroupId: request.cgroupId,
      spoolLength: 0,
      liveTasks: 0,
      leaderPid: request.leaderPid,
    });
    return { session, realtimeOffsetNs: 0n };
  }

  async end(sessionId: string): Promise<SessionTotals> {
    const totals = await this.totals(sessionId);
    this.#sessions.delete(sessionId);
    return totals;
  }

  async totals(sessionId: string): Promise<SessionTotals> {
    this.#check(sessionId);
    if (!this.#sessions.has(sessionId)) {
      throw new RecorderError('no such session', { kind: 'not_found', code: 'recorder_enoent' });
    }
    return { kinds: noTotals, lastSeq: 0, spoolLength: 0, liveTasks: 0 };
  }

  async list(): Promise<readonly WatchedSession[]> {
    this.#check();
    return [...this.#sessions.values()];
  }

  async stats(): Promise<RecorderStats> {
    this.#check();
    return {
      ringSize: 0,
      ringUsed: 0,
      drainedRecords: 0,
      drainedBytes: 0,
      ringLost: 0,
      orphanRecords: 0,
      outsideTasks: 0,
      programMisses: 0,
      sessions: this.#sessions.size,
      lineageEntries: 0,
      foreignPrograms: 0,
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.emit('closed', undefined);
  }

  #check(sessionId?: string): void {
    if (this.#closed) {
      throw new RecorderError('the connection to the recorder is closed', {
        kind: 'unavailable',
        code: 'recorder_gone',
      });
    }
    if (sessionId !== undefined) encodeSession(sessionId);
  }
}
