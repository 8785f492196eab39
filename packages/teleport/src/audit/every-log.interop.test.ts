import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, before, describe, it, type TestContext } from 'node:test';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditEvent } from '@sallyport/contracts/events/event.ts';
import { loadConfig } from '../config/load-config.ts';
import { PostgresServer } from '../postgres/postgres.fixture.ts';
import { auditLogContract, collect } from './audit-log.contract.ts';
import type { AuditLog } from './audit-log.ts';
import { commandEvent, hostId } from './event.fixture.ts';
import { EveryLog, OnceLog } from './every-log.ts';
import { FileLog } from './file-log.ts';
import { type OpenedAuditLog, openAuditLog } from './open-audit-log.ts';
import { PostgresLog } from './postgres-log.ts';
import { readPages } from './search-page.contract.ts';
import { StdoutLog } from './stdout-log.ts';

let server: PostgresServer;
before(async () => {
  server = await PostgresServer.start();
});
after(() => server.close());

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);
const eis = async (log: AuditLog) => (await collect(log)).map(({ ei }) => ei);

async function folder(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-every-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** As the daemon does, from a teleport.yaml. */
async function fromConfig(t: TestContext, dataDir: string, storage: string): Promise<OpenedAuditLog> {
  const { config } = loadConfig(`teleport:\n  data_dir: ${dataDir}\n  storage:\n    ${storage}\n`);
  const opened = await openAuditLog(config, { hostUuid: hostId });
  t.after(() => opened.log.close());
  return opened;
}

/** A log that refuses what it is told to refuse. */
class Fickle implements AuditLog {
  readonly #log: AuditLog;
  away = false;

  constructor(log: AuditLog) {
    this.#log = log;
  }

  async append(events: readonly AuditEvent[]): Promise<void> {
    if (this.away) throw new AppError('unavailable', 'audit.disk_full', 'The disk of the audit log is full.');
    await this.#log.append(events);
  }

  search(...query: Parameters<AuditLog['search']>) {
    return this.#log.search(...query);
  }

  close() {
    return this.#log.close();
  }
}

async function several(t: TestContext) {
  const dir = await folder(t);
  const database = await PostgresLog.open(server.address(), { schema: server.freshName() });
  const file = new Fickle(await OnceLog.of(await FileLog.open({ logDir: dir, hostId })));
  const log = new EveryLog({
    positioned: { name: 'the database', log: database },
    others: [{ name: 'the file', log: file }],
    searched: database,
  });
  t.after(() => log.close());
  return { log, database, file };
}

auditLogContract('EveryLog', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'sallyport-every-'));
  const schema = server.freshName();
  const open = async () => {
    const database = await PostgresLog.open(server.address(), { schema, limits: { connections: 2 } });
    const file = await FileLog.open({ logDir: dir, hostId });
    return new EveryLog({
      positioned: { name: 'database', log: database },
      others: [{ name: 'file', log: await OnceLog.of(file) }],
      searched: database,
    });
  };
  let log = await open();
  return {
    log,
    reopen: async () => {
      await log.close();
      log = await open();
      return log;
    },
    cleanUp: async () => {
      await log.close();
      await rm(dir, { recursive: true });
    },
  };
});

describe('several logs at once', () => {
  it('keep an event when every one of them has it, and each has it once', async (t) => {
    const { log, database, file } = await several(t);
    await log.append([commandEvent(1)]);
    file.away = true;
    await assert.rejects(log.append([commandEvent(2), commandEvent(3)]), {
      kind: 'unavailable',
      code: 'audit.disk_full',
      message: 'the file: The disk of the audit log is full.',
    });
    assert.equal(await log.has(commandEvent(2).uid, new Date(0)), false, 'not everywhere: not kept');
    file.away = false;
    await Promise.all([
      log.append([commandEvent(2), commandEvent(3)]),
      log.append([commandEvent(3), commandEvent(4)]),
    ]);
    assert.equal(await log.has(commandEvent(2).uid, new Date(0)), true);
    assert.deepEqual(await eis(database), [1, 2, 3, 4]);
    assert.deepEqual(await eis(file), [1, 2, 3, 4]);
  });

  it('know after a restart what the files took last', async (t) => {
    const dir = await folder(t);
    const first = await FileLog.open({ logDir: dir, hostId });
    await first.append(range(0, 30).map((n) => commandEvent(n)));
    await first.close();
    const again = await OnceLog.of(await FileLog.open({ logDir: dir, hostId }), 20);
    t.after(() => again.close());
    await again.append(range(25, 32).map((n) => commandEvent(n)));
    assert.deepEqual(await eis(again), range(0, 32));
  });

  it('take a host’s batch in its place, once', async (t) => {
    const dir = await folder(t);
    const database = await server.freshDatabase();
    const opened = await fromConfig(
      t,
      dir,
      `audit_events_uri: ["file://${dir}/events", "${server.uri(database)}"]`,
    );
    assert.deepEqual(opened.places, [`${dir}/events`, `postgresql://sallyport@${server.dir}/${database}`]);
    const place = { host: 'h', stream: 's', first: 0, next: 2 };
    const events = [commandEvent(0), commandEvent(1)];
    assert.equal(await opened.positioned?.appendAt(place, events), 2);
    assert.equal(await opened.positioned?.appendAt(place, events), 2);
    assert.equal(await opened.positioned?.appendAt({ ...place, first: 7, next: 8 }, [commandEvent(7)]), 2);
    assert.deepEqual(await eis(opened.log), [0, 1], 'the file, which is searched');
    assert.deepEqual((await readPages(opened.pages, {})).flat(), [0, 1]);
    const rows = await server.sql('SELECT count(*)::int AS n FROM sallyport.events', database);
    assert.deepEqual(rows, [{ n: 2 }]);
  });

  it('write to the standard output what a journal gathers', async () => {
    const out = new PassThrough();
    await new StdoutLog(out).append([commandEvent(1), commandEvent(2)]);
    const lines = String(out.read()).trimEnd().split('\n');
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).ei),
      [1, 2],
    );
  });
});

describe('the audit log of a configuration', () => {
  it('is the files of the data directory, when nothing is said', async (t) => {
    const dir = await folder(t);
    const { log, places, positioned, file } = await fromConfig(t, dir, 'type: sqlite');
    await log.append([commandEvent(1)]);
    assert.deepEqual([places, positioned, file === log], [[join(dir, 'log')], undefined, true]);
    assert.ok((await readdir(join(dir, 'log'))).includes('events.log'));
  });

  it('is the database of the store, when that is PostgreSQL and nothing else is said', async (t) => {
    const dir = await folder(t);
    const database = await server.freshDatabase();
    const opened = await fromConfig(t, dir, `type: postgresql\n    conn_string: "${server.uri(database)}"`);
    await opened.log.append([commandEvent(1)]);
    assert.deepEqual(await eis(opened.log), [1]);
    assert.equal(opened.file, undefined);
    assert.equal(opened.problem(), undefined);
    assert.equal(opened.stats()[0]?.[1].appendedEvents, 1);
    const there = await readdir(join(dir, 'log'));
    assert.deepEqual(there.sort(), [hostId, 'playbacks', 'upload'], 'recordings have their place');
  });

  it('does not open when one of its places cannot be reached', async (t) => {
    const dir = await folder(t);
    const nowhere = `postgresql://u@localhost/nowhere?host=${server.dir}&port=${server.port}`;
    await assert.rejects(fromConfig(t, dir, `audit_events_uri: ["file://${dir}/events", "${nowhere}"]`), {
      kind: 'unavailable',
      code: 'postgres.refused',
    });
  });
});
