import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import { facts } from './facts.fixture.ts';
import { readLoggedSessions } from './recovery-scan.ts';

test('the leaving of somebody who joined is not that of the owner, and who joined is known', async () => {
  const { sid } = facts;
  const events = [
    { event: 'session.start', ei: 0, sid, user: 'alice' },
    { event: 'session.join', ei: 1, sid, user: 'pete', mode: 'peer' },
    { event: 'session.leave', ei: 2, sid, user: 'pete', mode: 'peer' },
  ] as unknown as AuditEvent[];
  const log = {
    append: async () => {},
    async *search() {
      yield* events;
    },
    close: async () => {},
  };
  const found = await readLoggedSessions(log, [{ version: 1, facts, bootId: '' }]);
  const session = found.get(sid);
  assert.deepEqual([session?.started, session?.left, [...(session?.joined ?? [])]], [true, false, ['pete']]);
});
