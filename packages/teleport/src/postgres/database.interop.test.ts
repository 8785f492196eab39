import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { AppError } from '@sallyport/contracts/errors.ts';
import { Database, type DatabaseOptions } from './database.ts';
import { type Migrations, migrate } from './migrate.ts';
import { addressOf, fixturePassword, PostgresServer } from './postgres.fixture.ts';

/** A key and a certificate that signed itself, for 127.0.0.1 or for somebody else. */
function selfSigned(dir: string, name: string, altName: string) {
  const [key, cert] = [join(dir, `${name}.key`), join(dir, `${name}.crt`)];
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      '-subj',
    ].concat([`/CN=${name}`, '-addext', `subjectAltName=${altName}`, '-keyout', key, '-out', cert]),
    { stdio: 'ignore' },
  );
  return { path: cert, keyPem: readFileSync(key, 'utf8'), certPem: readFileSync(cert, 'utf8') };
}

const dir = mkdtempSync(join(tmpdir(), 'sallyport-db-'));
const ours = selfSigned(dir, 'ours', 'IP:127.0.0.1');
const others = selfSigned(dir, 'others', 'IP:127.0.0.1');
let server: PostgresServer;
before(async () => {
  server = await PostgresServer.start({ tcp: ours });
});
after(async () => {
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});

/** As a role without other rights than to make a schema. */
function uri(more: string, password = fixturePassword, host = '127.0.0.1'): string {
  return `postgresql://visitor:${encodeURIComponent(password)}@${host}:${server.port}/sallyport?${more}`;
}

async function open(t: TestContext, text: string, more: Partial<DatabaseOptions> = {}): Promise<Database> {
  const database = await Database.open({ address: addressOf(text), applicationName: 'test', ...more });
  t.after(() => database.close());
  return database;
}

const one = { text: 'SELECT 1 AS one' };

describe('a database by network', () => {
  it('is reached by password and TLS, its certificate and name checked', async (t) => {
    const database = await open(t, uri(`sslrootcert=${ours.path}`));
    assert.deepEqual(await database.run('test', one), [{ one: 1 }]);
    const [row] = await database.run<{ ssl: boolean }>('test', {
      text: 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
    });
    assert.equal(row?.ssl, true);
  });

  it('is refused when its certificate is of another authority, or of another name', async (t) => {
    const refused = { kind: 'unavailable', code: 'postgres.tls' };
    await assert.rejects((await open(t, uri(`sslrootcert=${others.path}`))).run('test', one), refused);
    await assert.rejects((await open(t, uri(''))).run('test', one), refused, 'authorities of the system');
    const byName = uri(`sslrootcert=${ours.path}`, fixturePassword, 'localhost');
    await assert.rejects((await open(t, byName)).run('test', one), refused);
    const anyName = uri(`sslmode=verify-ca&sslrootcert=${ours.path}`, fixturePassword, 'localhost');
    assert.deepEqual(await (await open(t, anyName)).run('test', one), [{ one: 1 }]);
    const anybody = await open(t, uri('sslmode=require'));
    assert.deepEqual(await anybody.run('test', one), [{ one: 1 }]);
  });

  it('says that a password is wrong, and not which it was', async (t) => {
    const database = await open(t, uri('sslmode=require', 'hunter2'));
    await assert.rejects(database.run('test', one), (error: AppError) => {
      const words = [error.message, error.hint, String(error.cause), database.place].join(' ');
      assert.equal(error.code, 'postgres.refused');
      return !words.includes('hunter2');
    });
  });

  it('says that a server speaks no TLS', async (t) => {
    const plain = await PostgresServer.start({ tcp: true });
    t.after(() => plain.close());
    const text = uri(`sslrootcert=${ours.path}`).replace(String(server.port), String(plain.port));
    await assert.rejects((await open(t, text)).run('test', one), { code: 'postgres.tls' });
  });
});

describe('a database', () => {
  it('that nobody answers for is unavailable, after a bounded time', async (t) => {
    const limits = { connectMs: 200, operationMs: 300 };
    const database = await open(t, `postgresql://u@localhost/d?host=${dir}`, { limits });
    const begun = performance.now();
    await assert.rejects(database.run('test', one), { kind: 'unavailable', code: 'postgres.unreachable' });
    await assert.rejects(database.connectPatiently(), { kind: 'unavailable', code: 'postgres.unreachable' });
    assert.ok(performance.now() - begun < 3_000);
  });

  it('ends a statement that takes too long', async (t) => {
    const limits = { statementMs: 100, operationMs: 150 };
    const database = await server.database({ limits });
    t.after(() => database.close());
    await assert.rejects(database.run('test', { text: 'SELECT pg_sleep(5)' }), { code: 'postgres.timeout' });
    assert.equal(database.stats.connections, 1, 'the connection stays');
  });

  it('has no more connections than its bound, and refuses when too many wait for one', async (t) => {
    const seen: [string, boolean][] = [];
    const limits = { connections: 2, waiting: 3, connectMs: 5_000 };
    const observe = (operation: string, _: number, failed: boolean) => seen.push([operation, failed]);
    const database = await server.database({ limits, observe });
    t.after(() => database.close());
    const slow = { text: 'SELECT pg_sleep(0.1)' };
    const asked = await Promise.allSettled(Array.from({ length: 8 }, () => database.run('slow', slow)));
    const refused = asked.filter(({ status }) => status === 'rejected');
    assert.equal(refused.length, 3);
    assert.ok(refused.every((one) => 'reason' in one && one.reason.code === 'postgres.busy'));
    assert.ok(database.stats.connections <= 2);
    assert.equal(seen.filter(([, failed]) => failed).length, 3);
  });

  it('tries again what other transactions were in the way of', async (t) => {
    const database = await server.database();
    t.after(() => database.close());
    await server.sql(
      'CREATE TABLE public.tally (id int, n int); INSERT INTO public.tally VALUES (1, 0), (2, 0)',
    );
    // Both hold what the other wants: the server ends one of them.
    const raise = (first: number, second: number) => `DO $$ BEGIN
      SET LOCAL deadlock_timeout = 10;
      UPDATE public.tally SET n = n + 1 WHERE id = ${first};
      PERFORM pg_sleep(0.05);
      UPDATE public.tally SET n = n + 1 WHERE id = ${second};
    END $$`;
    const texts = [raise(1, 2), raise(2, 1), raise(1, 2), raise(2, 1)];
    await Promise.all(texts.map((text) => database.run('raise', { text })));
    assert.deepEqual(await server.sql('SELECT n FROM public.tally'), [{ n: 4 }, { n: 4 }]);
    assert.ok(database.stats.retries > 0, 'somebody was in the way');
  });
});

describe('tables of ours', () => {
  const steps: Migrations['up'] = [
    (schema) => `CREATE TABLE ${schema}.a (x int)`,
    (schema) => `ALTER TABLE ${schema}.a ADD COLUMN y int`,
  ];

  it('are made once by many who start together, in a schema of their own, without further rights', async (t) => {
    const databases = await Promise.all(Array.from({ length: 4 }, () => open(t, uri('sslmode=require'))));
    const schema = server.freshName();
    await Promise.all(databases.map((database) => migrate(database, schema, { part: 'x', up: steps })));
    assert.deepEqual(await server.sql(`SELECT * FROM ${schema}.versions`), [{ part: 'x', version: 2 }]);
  });

  it('are brought forward from where they are, and never back', async (t) => {
    const database = await server.database();
    t.after(() => database.close());
    const schema = server.freshName();
    await migrate(database, schema, { part: 'x', up: steps.slice(0, 1) });
    await migrate(database, schema, { part: 'other', up: [() => 'SELECT 1'] });
    await migrate(database, schema, { part: 'x', up: steps });
    await server.sql(`SELECT x, y FROM ${schema}.a`);
    await assert.rejects(migrate(database, schema, { part: 'x', up: steps.slice(0, 1) }), {
      kind: 'unsupported',
      code: 'postgres.newer',
    });
  });

  it('are made in a database of UTF-8 only', async (t) => {
    await server.sql(`CREATE DATABASE latin ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0`, 'postgres');
    const database = await server.database({ address: server.address('latin') });
    t.after(() => database.close());
    await assert.rejects(migrate(database, 's', { part: 'x', up: steps }), { code: 'postgres.not_utf8' });
  });

  it('that a step fails to make are left as they were', async (t) => {
    const database = await server.database();
    t.after(() => database.close());
    const schema = server.freshName();
    const up = [...steps, () => 'SELECT nonsense'];
    await assert.rejects(migrate(database, schema, { part: 'x', up }), { code: 'postgres.failed' });
    assert.deepEqual(await server.sql(`SELECT FROM pg_namespace WHERE nspname = '${schema}'`), []);
  });
});
