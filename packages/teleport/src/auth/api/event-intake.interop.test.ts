import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import { serialize } from '@sallyport/contracts/events/event.ts';
import fc from 'fast-check';
import type { AuditLog } from '../../audit/audit-log.ts';
import { aliceSid, bobSid, commandEvent, hostId, loginEvent } from '../../audit/event.fixture.ts';
import { FileLog } from '../../audit/file-log.ts';
import { Outbox } from '../../audit/outbox.ts';
import { collectedLog } from './api.fixture.ts';
import { EventIntake } from './event-intake.ts';
import type { CallContext } from './handler.ts';

const authId = '9048a649-8f3f-4431-9529-0c53339b65a5';

function contextOf(hostUuid: string): CallContext {
  return {
    caller: { kind: 'host', hostUuid, roles: ['node'] },
    requestId: 'test',
    remoteAddress: '',
    signal: new AbortController().signal,
  };
}

/** The auth side on a folder; `restart` is what a kill leaves: nothing is closed in order. */
class AuthSide {
  readonly dir: string;
  log!: FileLog;
  intake!: EventIntake;
  readonly foreign: AppError[] = [];
  /** The next append takes place and the process dies before the cursor is stored. */
  dieAfterAppend = false;

  constructor(dir: string) {
    this.dir = dir;
  }

  async start(): Promise<void> {
    const logDir = join(this.dir, 'log');
    this.log = await FileLog.open({ logDir, hostId: authId, durability: 'written' });
    const log = this.log;
    const audit: AuditLog = {
      append: async (events) => {
        await log.append(events);
        if (!this.dieAfterAppend) return;
        this.dieAfterAppend = false;
        throw new AppError('internal', 'test.died', 'Died.');
      },
      search: (query) => log.search(query),
      close: () => log.close(),
    };
    this.intake = await EventIntake.open({
      audit,
      logDir,
      hostId: authId,
      stateDir: join(this.dir, 'intake'),
      clusterName: 'purple',
      log: collectedLog(),
      onForeign: ({ reason }) => this.foreign.push(reason),
    });
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async stop(): Promise<void> {
    await this.intake.close();
    await this.log.close();
  }

  send(stream: string, first: number, events: readonly (AuditEvent | string)[], host = hostId) {
    const lines = events.map((event) => (typeof event === 'string' ? event : serialize(event)));
    const request = { params: undefined, query: undefined, body: { stream, first, lines } };
    return this.intake.handler(request, contextOf(host));
  }

  async found(): Promise<AuditEvent[]> {
    const events: AuditEvent[] = [];
    for await (const event of this.log.search()) events.push(event);
    return events;
  }
}

async function start(t: TestContext): Promise<AuthSide> {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-intake-'));
  const auth = new AuthSide(dir);
  await auth.start();
  t.after(async () => {
    await auth.stop();
    await rm(dir, { recursive: true });
  });
  return auth;
}

describe('the intake of events', () => {
  it('writes what comes once, and drops what comes again', async (t) => {
    const auth = await start(t);
    const stream = randomUUID();
    const events = [0, 1, 2, 3].map((n) => commandEvent(n));
    assert.deepEqual(await auth.send(stream, 0, events.slice(0, 3)), { acknowledged: 3 });
    assert.deepEqual(await auth.send(stream, 0, events.slice(0, 3)), { acknowledged: 3 });
    assert.deepEqual(await auth.send(stream, 1, events.slice(1)), { acknowledged: 4 });
    assert.deepEqual(await auth.send(stream, 2, events.slice(2, 3)), { acknowledged: 4 });
    assert.deepEqual(await auth.found(), events);
    assert.deepEqual(auth.intake.stats, { events: 4, repeated: 6, unreadable: 0 });
  });

  it('refuses a gap and says what it expects', async (t) => {
    const auth = await start(t);
    const stream = randomUUID();
    await auth.send(stream, 0, [commandEvent(0)]);
    await assert.rejects(auth.send(stream, 2, [commandEvent(2)]), {
      kind: 'conflict',
      code: 'audit.position_gap',
      message: /from position 1 .* 2 was sent/,
    });
    await assert.rejects(auth.send(randomUUID(), 5, [commandEvent(5)]), { message: /from position 0 / });
  });

  it('keeps hosts and streams apart', async (t) => {
    const auth = await start(t);
    const stream = randomUUID();
    const other = randomUUID();
    await auth.send(stream, 0, [commandEvent(0)]);
    await auth.send(stream, 0, [commandEvent(1, { server_id: other })], other);
    assert.equal((await auth.found()).length, 2);
  });

  it('lets a host speak for itself only, and tells the audit when it does not', async (t) => {
    const auth = await start(t);
    const refused = (event: AuditEvent) =>
      assert.rejects(auth.send(randomUUID(), 0, [commandEvent(0), event]), {
        kind: 'denied',
        code: 'audit.foreign_event',
      });
    await refused(commandEvent(1, { server_id: randomUUID() }));
    await refused(commandEvent(1, { cluster_name: 'green' }));
    await refused(loginEvent());
    const { server_id: _, ...anonymous } = commandEvent(1);
    await refused(anonymous);
    assert.equal(auth.foreign.length, 4);
    assert.match(auth.foreign[2]?.message ?? '', /T1000I in the name of the cluster/);
    assert.deepEqual(await auth.found(), []);
  });

  it('keeps aside what it cannot read, and goes on', async (t) => {
    const auth = await start(t);
    const unknown = JSON.stringify({ ...commandEvent(1), code: 'T9999I' });
    const answer = await auth.send(randomUUID(), 0, [commandEvent(0), unknown, '{', commandEvent(2)]);
    assert.deepEqual(answer, { acknowledged: 4 });
    assert.deepEqual(
      (await auth.found()).map(({ ei }) => ei),
      [0, 2],
    );
    const aside = (await readFile(join(auth.dir, 'intake', 'unreadable.jsonl'), 'utf8'))
      .trimEnd()
      .split('\n');
    assert.deepEqual(
      aside.map((line) => JSON.parse(line).line),
      [unknown, '{'],
    );
    assert.equal(auth.intake.stats.unreadable, 2);
  });

  it('takes batches of a host one after another, and few at a time', async (t) => {
    const auth = await start(t);
    const stream = randomUUID();
    const sent = Array.from({ length: 8 }, (_, n) => auth.send(stream, n, [commandEvent(n)]));
    const outcomes = await Promise.allSettled(sent);
    assert.deepEqual(
      outcomes.map((one) => (one.status === 'fulfilled' ? one.value.acknowledged : one.reason.code)),
      [1, 2, 3, 4, ...Array<string>(4).fill('audit.intake_busy')],
    );
  });

  it('remembers its cursors over a restart', async (t) => {
    const auth = await start(t);
    const stream = randomUUID();
    await auth.send(stream, 0, [commandEvent(0), commandEvent(1)]);
    await auth.restart();
    assert.deepEqual(await auth.send(stream, 1, [commandEvent(1), commandEvent(2)]), { acknowledged: 3 });
    assert.deepEqual(
      (await auth.found()).map(({ ei }) => ei),
      [0, 1, 2],
    );
  });

  it('writes nothing twice after it died between append and cursor, however often', async (t) => {
    const auth = await start(t);
    const [one, two] = [randomUUID(), randomUUID()];
    const other = randomUUID();
    auth.dieAfterAppend = true;
    await assert.rejects(auth.send(one, 0, [commandEvent(0), commandEvent(1)]), { code: 'test.died' });
    await auth.restart();
    // Another host moves the cursors on, and it dies again, before the first host has come back.
    await auth.send(two, 0, [commandEvent(5, { server_id: other })], other);
    auth.dieAfterAppend = true;
    await assert.rejects(auth.send(two, 1, [commandEvent(6, { server_id: other })], other));
    await auth.restart();
    await auth.restart();
    await auth.send(one, 0, [commandEvent(0), commandEvent(1), commandEvent(2)]);
    await auth.send(
      two,
      1,
      [commandEvent(6, { server_id: other }), commandEvent(7, { server_id: other })],
      other,
    );
    assert.deepEqual(
      (await auth.found()).map(({ ei }) => ei),
      [0, 1, 5, 6, 2, 7],
    );
  });
});

/** What happens to one batch on its way, and to the two ends. */
const fate = fc.constantFrom(
  'arrives',
  'arrives',
  'answer lost',
  'auth dies',
  'auth restarts',
  'node restarts',
);
const step = fc.record({ events: fc.integer({ min: 0, max: 30 }), fate });

describe('outbox and intake together', () => {
  it('bring every event into the log exactly once and in order of its session, whatever dies when', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        const dir = await mkdtemp(join(tmpdir(), 'sallyport-once-'));
        const auth = new AuthSide(dir);
        await auth.start();
        const openOutbox = () =>
          Outbox.open({ dir: join(dir, 'outbox'), segmentBytes: 4_000, keepAcknowledgedBytes: 0 });
        let outbox = await openOutbox();
        try {
          let made = 0;
          for (const { events, fate } of [...steps, { events: 1, fate: 'arrives' as const }]) {
            const batch = Array.from({ length: events }, (_, n) =>
              commandEvent(made + n, { sid: n % 2 === 0 ? aliceSid : bobSid }),
            );
            await outbox.append(batch);
            made += events;
            if (fate === 'auth restarts') await auth.restart();
            if (fate === 'node restarts') {
              await outbox.close();
              outbox = await openOutbox();
            }
            auth.dieAfterAppend = fate === 'auth dies';
            const sent = await outbox.read();
            if (sent === undefined) continue;
            const answer = await auth.send(sent.stream, sent.first, sent.lines).catch(() => undefined);
            if (fate === 'auth dies') await auth.restart();
            if (answer !== undefined && fate !== 'answer lost')
              await outbox.acknowledge(sent.base + answer.acknowledged);
          }
          for (let sent = await outbox.read(); sent !== undefined; sent = await outbox.read()) {
            const { acknowledged } = await auth.send(sent.stream, sent.first, sent.lines);
            await outbox.acknowledge(sent.base + acknowledged);
          }
          const found = (await auth.found()).map(({ ei }) => ei);
          assert.deepEqual(
            found,
            Array.from({ length: made }, (_, n) => n),
          );
        } finally {
          await outbox.close();
          await auth.stop();
          await rm(dir, { recursive: true });
        }
      }),
      { numRuns: 40 },
    );
  });
});
