// The audit log while its database is killed or hangs, and how much it takes.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { PostgresServer } from '../postgres/postgres.fixture.ts';
import { collect } from './audit-log.contract.ts';
import { commandEvent } from './event.fixture.ts';
import { PostgresLog, type PostgresLogOptions } from './postgres-log.ts';

let server: PostgresServer;
before(async () => {
  server = await PostgresServer.start({ durable: true });
});
after(() => server.close());

async function place(t: TestContext) {
  const schema = server.freshName();
  return async (more: PostgresLogOptions = {}) => {
    const log = await PostgresLog.open(server.address(), { schema, ...more });
    t.after(() => log.close());
    return Object.assign(log, { schema });
  };
}

/** An auth server of its own, as a process. */
async function taker(t: TestContext, schema: string) {
  const file = join(import.meta.dirname, 'postgres-taker.fixture.ts');
  const child = spawn(process.execPath, [file, server.uri(), schema], { stdio: ['pipe', 'pipe', 'inherit'] });
  const kill = () => child.kill('SIGKILL');
  t.after(kill);
  child.stdin.on('error', () => undefined);
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'ready');
  return {
    kill,
    /** undefined: it was killed before it answered. */
    async ask(batch: string): Promise<string | undefined> {
      child.stdin.write(batch);
      const { value } = await lines.next();
      return value;
    },
  };
}

async function until(holds: () => boolean, what: string, limitMs = 15_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!holds()) {
    assert.ok(Date.now() < deadline, what);
    await delay(10);
  }
}

const fresh = (ei: number) => commandEvent(ei, { uid: randomUUID(), time: new Date().toISOString() });

describe('the audit log on PostgreSQL', { timeout: 120_000 }, () => {
  it('has every acknowledged event once, in order, when the database is killed under load', async (t) => {
    const open = await place(t);
    const logs = [await open(), await open()];
    const stop = new AbortController();
    const counts = logs.map(() => 0);
    const loads = logs.map(async (log, i) => {
      let position = 0;
      for (let n = 0; !stop.signal.aborted; n += 20) {
        const events = Array.from({ length: 20 }, (_, k) => fresh(n + k));
        const named = events.map((event) => ({ ...event, user: `u${i}` }));
        // One as the auth service appends, the other as a host's batch.
        if (i === 0) await log.append(named);
        else {
          const next = position + 20;
          assert.equal(await log.appendAt({ host: 'h', stream: 's', first: position, next }, named), next);
          position = next;
        }
        counts[i] = n + 20;
      }
    });
    for (let round = 0; round < 2; round++) {
      const before = [...counts];
      await until(() => counts.every((count, i) => count >= (before[i] ?? 0) + 100), 'work goes on');
      await server.killAll();
      await server.boot();
    }
    const before = [...counts];
    await until(() => counts.every((count, i) => count > (before[i] ?? 0)), 'work goes on after it');
    stop.abort();
    await Promise.all(loads);
    for (const [i, count] of counts.entries()) {
      const own = (await collect(logs[0] ?? assert.fail(), { user: `u${i}` })).map(({ ei }) => ei);
      assert.deepEqual(
        own,
        Array.from({ length: count }, (_, n) => n),
      );
    }
  });

  it('has a host’s events once, in order, whichever server is killed before it answered', async (t) => {
    const open = await place(t);
    const log = await open();
    const { schema } = log;
    const takers = [taker(t, schema), taker(t, schema)];
    let kills = 0;
    for (let first = 0; first < 2_000; ) {
      const events = Array.from({ length: 50 }, (_, n) => fresh(first + n));
      const batch = `${JSON.stringify({ place: { host: 'h', stream: 's', first, next: first + 50 }, events })}\n`;
      // The same batch until somebody answers, as an outbox does.
      for (let answer: string | undefined; answer === undefined; ) {
        const current = takers[0] ?? assert.fail();
        const answered = (await current).ask(batch);
        if (first % 400 === 350 && kills < 5) {
          kills++;
          await delay(Math.random() * 12);
          (await current).kill();
          takers.push(taker(t, schema));
        }
        answer = await answered;
        if (answer === undefined) takers.shift();
        else assert.equal(answer, String(first + 50));
      }
      first += 50;
    }
    assert.ok(kills >= 4);
    const all = (await collect(log)).map(({ ei }) => ei);
    assert.deepEqual(
      all,
      Array.from({ length: 2_000 }, (_, n) => n),
    );
  });

  it('refuses in bounded time while the database hangs, says so, and takes the same again when it is back', async (t) => {
    const open = await place(t);
    const log = await open({ limits: { statementMs: 800, connectMs: 800, operationMs: 1_000 } });
    t.after(() => server.thaw());
    const events = [fresh(1), fresh(2)];
    server.freeze();
    const begun = performance.now();
    await assert.rejects(log.append(events), { kind: 'unavailable' });
    await assert.rejects(log.pages.page({}), { kind: 'unavailable' });
    assert.ok(performance.now() - begun < 8_000, `it took ${performance.now() - begun} ms`);
    assert.match(log.problem ?? '', /does not answer|took too long/);
    server.thaw();
    const again = () =>
      log.append(events).then(
        () => true,
        () => false,
      );
    const deadline = Date.now() + 40_000;
    while (!(await again())) assert.ok(Date.now() < deadline, 'it is back');
    assert.equal(log.problem, undefined);
    assert.deepEqual(
      (await collect(log)).map(({ ei }) => ei),
      [1, 2],
    );
  });

  it('notices without being used that the database is away, and that it is back', async (t) => {
    const open = await place(t);
    const log = await open({ limits: { operationMs: 500 } });
    await server.killAll();
    await until(() => log.problem !== undefined, 'it is away', 10_000);
    await server.boot();
    await until(() => log.problem === undefined, 'it is back', 10_000);
  });

  it('takes tens of thousands of events a second (printed), and finds a rare one fast', async (t) => {
    const open = await place(t);
    const log = await open();
    const total = 40_000;
    const groups = Array.from({ length: total / 500 }, (_, g) =>
      Array.from({ length: 500 }, (_, n) => fresh(g * 500 + n)),
    );
    await log.append([commandEvent(0, { uid: randomUUID(), user: 'rare', argv: ['needle'] })]);
    const begun = performance.now();
    await Promise.all(groups.map((group) => log.append(group)));
    const seconds = (performance.now() - begun) / 1000;
    t.diagnostic(`${Math.round(total / seconds)} events/s, ${log.stats.batches} batches, synced`);
    for (const query of [{ user: 'rare' }, { text: 'NEEDLE' }]) {
      const asked = performance.now();
      const found = await collect(log, { ...query, order: 'desc' });
      t.diagnostic(`${JSON.stringify(query)} of ${total}: ${Math.round(performance.now() - asked)} ms`);
      assert.equal(found.length, 1);
    }
    assert.equal(log.stats.appendedEvents, total + 1);
  });
});
