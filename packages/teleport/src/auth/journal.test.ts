import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { AuditEvent, EventDraft } from '@sallyport/contracts/events/event.ts';
import { FileLog } from '../audit/file-log.ts';
import { EventStamp } from '../audit/session-emitter.ts';
import { temporaryDirectory } from '../temporary-directory.fixture.ts';
import type { AuditSink } from './audit-sink.ts';
import { auditSink } from './audit-sink.ts';
import { Journal } from './journal.ts';
import { SqliteStore } from './store/sqlite-store.ts';

const created: EventDraft = { event: 'user.create', code: 'T1002I', name: 'ana', user: 'root' };
const put = (key: string) => ({ type: 'put', key, value: '{}' }) as const;
const stamp = new EventStamp({ clusterName: 'test', validate: true });
const log = { info: () => undefined, warn: () => undefined };

async function openStore(t: TestContext, dataDir: string): Promise<SqliteStore> {
  const store = await SqliteStore.open(dataDir);
  t.after(() => store.close());
  return store;
}

/** A log in memory that refuses as long as `away` is set. */
function memoryLog(): AuditSink & { events: AuditEvent[]; away: boolean } {
  const sink = {
    events: [] as AuditEvent[],
    away: false,
    stamp: (draft: EventDraft) => stamp.stamp(draft),
    append: async (batch: readonly AuditEvent[]) => {
      if (sink.away) throw new Error('disk full');
      sink.events.push(...batch);
    },
    has: async (uid: string) => sink.events.some((event) => event.uid === uid),
  };
  return sink;
}

test('a change is told before its caller hears of it, and nothing waits after', async (t) => {
  const store = await openStore(t, await temporaryDirectory(t));
  const audit = memoryLog();
  const journal = await Journal.open({ store, audit, log });
  const items = await journal.commit([put('user/ana')], [created]);
  assert.deepEqual(
    [items.map(({ key }) => key), audit.events.map(({ code }) => code)],
    [['user/ana'], ['T1002I']],
  );
  await journal.close();
  assert.deepEqual(await store.range('outbox/'), []);
});

test('a change that conflicts is told to nobody', async (t) => {
  const store = await openStore(t, await temporaryDirectory(t));
  const audit = memoryLog();
  const journal = await Journal.open({ store, audit, log });
  const write = { ...put('user/ana'), expect: 'something' as const };
  await assert.rejects(journal.commit([write], [created]), { kind: 'conflict' });
  await journal.close();
  assert.deepEqual(audit.events, []);
});

test('while the log is away changes stand, their events wait and follow in order, once', async (t) => {
  const store = await openStore(t, await temporaryDirectory(t));
  const audit = memoryLog();
  const journal = await Journal.open({ store, audit, log, retryMs: 5 });
  audit.away = true;
  await journal.commit([put('user/a')], [{ ...created, name: 'a' }]);
  await journal.commit([put('user/b')], [{ ...created, name: 'b' }]);
  await assert.rejects(journal.commitTold([], [{ ...created, name: 'c' }]), { code: 'auth.not_audited' });
  assert.equal((await store.range('outbox/')).length, 3);
  audit.away = false;
  const deadline = Date.now() + 5000;
  while ((await store.range('outbox/')).length > 0 && Date.now() < deadline) await new Promise(setImmediate);
  assert.deepEqual(
    audit.events.map((event) => 'name' in event && event.name),
    ['a', 'b', 'c'],
  );
  await journal.close();
});

test('with too many events waiting nothing is changed any more', async (t) => {
  const store = await openStore(t, await temporaryDirectory(t));
  const audit = memoryLog();
  const journal = await Journal.open({ store, audit, log, retryMs: 60_000 });
  audit.away = true;
  const many = Array.from({ length: 1000 }, () => created);
  await journal.commit([], many);
  await assert.rejects(journal.commit([put('user/x')], [created]), { code: 'auth.not_audited' });
  assert.equal(await store.get('user/x'), undefined);
  audit.away = false;
  await journal.close();
  assert.equal(audit.events.length, 1000);
});

test('a process killed between change and log loses neither', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const child = spawn(process.execPath, [join(import.meta.dirname, 'journal-crash.fixture.ts'), dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  const store = await openStore(t, dataDir);
  assert.ok(await store.get('user/ana'));
  const audit = memoryLog();
  await (await Journal.open({ store, audit, log, abandonedMs: 0 })).close();
  assert.deepEqual(
    audit.events.map(({ code }) => code),
    ['T1002I'],
  );
  assert.deepEqual(await store.range('outbox/'), []);
});

test('an event that reached the log before the process died is not told twice', async (t) => {
  const dataDir = await temporaryDirectory(t);
  const store = await openStore(t, dataDir);
  const file = await FileLog.open({ logDir: join(dataDir, 'log'), hostId: 'h' });
  t.after(() => file.close());
  const told = stamp.stamp(created);
  const untold = stamp.stamp({ ...created, name: 'ben' });
  await file.append([told]);
  for (const [i, event] of [told, untold].entries())
    await store.commit([{ type: 'put', key: `outbox/dead/${i}`, value: JSON.stringify(event) }]);
  await (await Journal.open({ store, audit: auditSink(file, stamp), log, abandonedMs: 0 })).close();
  const uids: string[] = [];
  for await (const event of file.search()) uids.push(event.uid);
  assert.deepEqual(uids, [told.uid, untold.uid]);
});

test('what a living process is about to tell is left to it, by daemon and by tctl', async (t) => {
  const store = await openStore(t, await temporaryDirectory(t));
  const value = JSON.stringify(stamp.stamp(created));
  await store.commit([{ type: 'put', key: 'outbox/alive/0', value }]);
  const audit = memoryLog();
  await (await Journal.open({ store, audit, log })).close();
  await (await Journal.open({ store, audit, log, secondary: true, abandonedMs: 0 })).close();
  assert.deepEqual([audit.events.length, (await store.range('outbox/')).length], [0, 1]);
});
