// Events for the tests of this room.
import type { EventOf } from '@sallyport/contracts/events/event.ts';

export const hostId = '1048a649-8f3f-4431-9529-0c53339b65a5';
export const aliceSid = '44c6cea8-362f-11ea-83aa-125400432324';
export const bobSid = 'fad07202-35bb-11ea-83aa-125400432324';

/** A command of alice; `ei` tells one from another. */
export function commandEvent(ei: number, change: Partial<EventOf<'T4000I'>> = {}): EventOf<'T4000I'> {
  return {
    event: 'session.command',
    code: 'T4000I',
    ei,
    uid: `00000000-0000-4000-8000-${ei.toString(16).padStart(12, '0')}`,
    time: new Date(Date.UTC(2026, 0, 2, 3, 4, 5, ei % 1000)).toISOString(),
    cluster_name: 'purple',
    user: 'alice',
    login: 'root',
    sid: aliceSid,
    namespace: 'default',
    server_id: hostId,
    server_hostname: 'web-1',
    pid: 2653,
    ppid: 2660,
    cgroup_id: 4294968064,
    program: 'curl',
    path: '/usr/bin/curl',
    argv: ['google.com'],
    return_code: 0,
    ...change,
  };
}

export function loginEvent(change: Partial<EventOf<'T1000I'>> = {}): EventOf<'T1000I'> {
  return {
    event: 'user.login',
    code: 'T1000I',
    ei: 0,
    uid: '00000000-0000-4000-8000-ffffffffffff',
    time: '2026-01-02T03:04:05.000Z',
    cluster_name: 'purple',
    user: 'bob',
    success: true,
    method: 'local',
    ...change,
  };
}
