// What every AuditLog does, run against each implementation.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import type { AuditLog, EventQuery } from './audit-log.ts';
import { aliceSid, bobSid, commandEvent, loginEvent } from './event.fixture.ts';

export interface AuditLogUnderTest {
  readonly log: AuditLog;
  /** Closes the log and opens the same one again. */
  reopen(): Promise<AuditLog>;
  cleanUp(): Promise<void>;
}

export async function collect(log: AuditLog, query?: EventQuery): Promise<AuditEvent[]> {
  const found: AuditEvent[] = [];
  for await (const event of log.search(query)) found.push(event);
  return found;
}

export function auditLogContract(name: string, open: () => Promise<AuditLogUnderTest>): void {
  const using = (test: (subject: AuditLogUnderTest) => Promise<void>) => async () => {
    const subject = await open();
    try {
      await test(subject);
    } finally {
      await subject.cleanUp();
    }
  };

  describe(`${name} as an audit log`, () => {
    it(
      'finds an event as it was appended',
      using(async ({ log }) => {
        const event = commandEvent(7, {
          path: '/tmp/caf\ufffd',
          path_bytes: 'L3RtcC9jYWb/',
          argv: ['\u001b[2J', 'a\nb'],
        });
        await log.append([event]);
        assert.deepEqual(await collect(log), [event]);
      }),
    );

    it(
      'keeps the order of events within an append and of appends among each other',
      using(async ({ log }) => {
        const appends = [];
        for (let n = 0; n < 300; n += 3) {
          appends.push(log.append([commandEvent(n), commandEvent(n + 1), commandEvent(n + 2)]));
        }
        await Promise.all(appends);
        const order = (await collect(log)).map((event) => event.ei);
        assert.deepEqual(
          order,
          Array.from({ length: 300 }, (_, n) => n),
        );
      }),
    );

    it(
      'gives the newest first when asked to, and no more than asked for',
      using(async ({ log }) => {
        await log.append(Array.from({ length: 10 }, (_, n) => commandEvent(n)));
        const found = await collect(log, { order: 'desc', limit: 3 });
        assert.deepEqual(
          found.map((event) => event.ei),
          [9, 8, 7],
        );
      }),
    );

    it(
      'selects by time, from inclusive, to exclusive',
      using(async ({ log }) => {
        await log.append(Array.from({ length: 10 }, (_, n) => commandEvent(n)));
        const found = await collect(log, {
          from: new Date('2026-01-02T03:04:05.004Z'),
          to: new Date('2026-01-02T03:04:05.006Z'),
        });
        assert.deepEqual(
          found.map((event) => event.ei),
          [4, 5],
        );
      }),
    );

    it(
      'selects by name, code, user, session and text together',
      using(async ({ log }) => {
        await log.append([
          commandEvent(1),
          commandEvent(2, { sid: bobSid, argv: ['say "Hi"'] }),
          loginEvent(),
        ]);
        const eis = async (query: EventQuery) =>
          (await collect(log, query)).map((event) => [event.code, event.ei]);
        assert.deepEqual(await eis({ types: ['user.login'] }), [['T1000I', 0]]);
        assert.deepEqual(await eis({ types: ['T4000I'], sid: aliceSid }), [['T4000I', 1]]);
        assert.deepEqual(await eis({ user: 'bob' }), [['T1000I', 0]]);
        assert.deepEqual(await eis({ text: 'SAY "hi"' }), [['T4000I', 2]]);
        assert.deepEqual(await eis({ text: 'GOOGLE', user: 'bob' }), []);
      }),
    );

    it(
      'holds what was appended after it is opened again',
      using(async ({ log, reopen }) => {
        await log.append([commandEvent(1)]);
        const again = await reopen();
        await again.append([commandEvent(2)]);
        assert.deepEqual(
          (await collect(again)).map((event) => event.ei),
          [1, 2],
        );
      }),
    );

    it(
      'writes what waits when it is closed, and refuses what comes later',
      using(async ({ log, reopen }) => {
        const appended = log.append([commandEvent(1)]);
        const again = await reopen();
        await appended;
        assert.equal((await collect(again)).length, 1);
        await assert.rejects(log.append([commandEvent(2)]), { code: 'audit.closed', kind: 'unavailable' });
      }),
    );

    it(
      'takes an append of nothing',
      using(async ({ log }) => {
        await log.append([]);
        assert.deepEqual(await collect(log), []);
      }),
    );
  });
}
