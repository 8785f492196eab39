// A place and events for the tests of this room.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { EventOf } from '@sallyport/contracts/events/event.ts';
import { TerminalRecording, type TerminalRecordingOptions } from './terminal-recording.ts';

export const hostId = '1048a649-8f3f-4431-9529-0c53339b65a5';
export const sid = 'fad07202-35bb-11ea-83aa-125400432324';
export const startMs = Date.UTC(2026, 0, 2, 3, 4, 5, 0);

export interface Scene {
  readonly logDir: string;
  readonly live: string;
  readonly finished: string;
  readonly options: TerminalRecordingOptions;
  /** The injected clock. */
  nowMs: number;
  ei: number;
  recording: TerminalRecording;
}

/** A new recording with a clock that the test moves. Lines are coalesced by that clock. */
export async function scene(t: TestContext, change: Partial<TerminalRecordingOptions> = {}): Promise<Scene> {
  const logDir = change.logDir ?? (await mkdtemp(join(tmpdir(), 'sallyport-recording-')));
  const made = {
    logDir,
    live: join(logDir, 'upload/sessions/default'),
    finished: join(logDir, hostId, 'sessions/default'),
    nowMs: startMs,
    ei: 0,
  } as Scene;
  const options = { logDir, hostId, sid, nextEi: () => made.ei++, now: () => made.nowMs, ...change };
  t.after(async () => {
    await made.recording.abandon().catch(() => {});
    await rm(logDir, { recursive: true, force: true });
  });
  return Object.assign(made, { options, recording: await TerminalRecording.create(options) });
}

const shared = {
  uid: '734930bb-00e6-4ee6-8798-37f1e9473fac',
  time: '2026-01-02T03:04:05.000Z',
  cluster_name: 'purple',
  user: 'alice',
  login: 'root',
  sid,
  namespace: 'default',
  server_id: hostId,
} as const;

export function startEvent(ei: number): EventOf<'T2000I'> {
  return { ...shared, event: 'session.start', code: 'T2000I', ei, size: '80:25' };
}

export function resizeEvent(ei: number): EventOf<'T2002I'> {
  return { ...shared, event: 'resize', code: 'T2002I', ei, size: '120:40' };
}

export function endEvent(ei: number): EventOf<'T2004I'> {
  return {
    ...shared,
    event: 'session.end',
    code: 'T2004I',
    ei,
    enhanced_recording: true,
    interactive: true,
    participants: ['alice'],
  };
}

export function commandEvent(ei: number): EventOf<'T4000I'> {
  return {
    ...shared,
    event: 'session.command',
    code: 'T4000I',
    ei,
    pid: 1,
    ppid: 0,
    cgroup_id: 2360,
    program: 'curl',
    path: '/bin/curl',
    argv: [],
    return_code: 0,
  };
}

export function networkEvent(ei: number): EventOf<'T4002I'> {
  return {
    ...shared,
    event: 'session.network',
    code: 'T4002I',
    ei,
    pid: 1,
    cgroup_id: 2360,
    program: 'curl',
    src_addr: '127.0.0.1',
    dst_addr: '127.0.0.1',
    dst_port: 443,
    version: 4,
    operation: 0,
    action: 0,
  };
}
