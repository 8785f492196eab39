import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SessionReport } from '@sallyport/contracts/api/session-trackers.ts';
import { until } from '../until.fixture.ts';
import { Backoff } from './backoff.ts';
import { SessionReports } from './session-reports.ts';

const report = (sid: string, state: SessionReport['state'] = 'running'): SessionReport => ({
  sid,
  state,
  login: 'root',
  owner: 'ana',
  owner_roles: [],
  started: '2026-03-01T12:00:00.000Z',
  participants: [],
});

/** As auth would know it; refuses as often as it is told to. */
function reporting(againMs?: number) {
  const known = new Map<string, string>();
  const state = { live: [] as SessionReport[], refusals: 0, calls: 0 };
  const reports = new SessionReports({
    client: {
      reportSessions: async ({ body }) => {
        state.calls += 1;
        if (state.refusals-- > 0) throw new Error('away');
        for (const each of body.live) known.set(each.sid, each.state);
        for (const sid of body.over) known.delete(sid);
        return { expires: '2026-03-01T12:02:00.000Z' };
      },
    },
    live: () => state.live,
    log: { debug: () => {}, info: () => {}, warn: () => {} },
    backoff: new Backoff({ firstMs: 1, maxMs: 2 }),
    ...(againMs === undefined ? {} : { againMs }),
  });
  return { known, state, reports };
}

test('a change is told at once, a burst of them in one call', async () => {
  const { known, state, reports } = reporting();
  state.live = [report('a'), report('b')];
  for (let n = 0; n < 50; n++) reports.changed(n % 2 ? 'a' : 'b');
  await until('both are known', () => known.size === 2);
  assert.equal(state.calls, 1);
  state.live = [report('a', 'paused')];
  reports.changed('a');
  reports.changed('b');
  await until('one is over, one paused', () => known.size === 1 && known.get('a') === 'paused');
  await reports.close();
  assert.equal(known.size, 0, 'a service that stops takes its sessions out of the list');
});

test('what could not be told is told when auth is back', async () => {
  const { known, state, reports } = reporting();
  state.refusals = 3;
  state.live = [report('a')];
  reports.changed('a');
  await until('it is known', () => known.has('a'));
  state.refusals = 3;
  state.live = [];
  reports.changed('a');
  await until('it is over', () => !known.has('a'));
  await reports.close();
});

test('everything is told again before auth would forget it', async () => {
  const { known, state, reports } = reporting(50);
  state.live = [report('a')];
  reports.changed('a');
  await until('it is known', () => known.has('a'));
  known.clear();
  await until('it is known again', () => known.has('a'));
  await reports.close();
});
