// Our tables in a database: made at the first start, brought forward by later versions, never back. Several servers
// may start at once: an advisory lock lets one of them work, the others find it done.
import { AppError } from '@sallyport/contracts/errors.ts';
import type pg from 'pg';
import type { Database } from './database.ts';
import { failureOf } from './postgres-error.ts';

/** `up[n]` leads from version n to n + 1; `schema` is quoted already. */
export interface Migrations {
  /** What it is of: several may share a database. */
  readonly part: string;
  readonly up: readonly ((schema: string) => string)[];
}

/** Any number that nobody else in the database uses: "sallyport" on a telephone. */
const lockId = 725_597_678;
/** Oldest server version we know the functions to be there for. */
const minServerVersion = 130_000;

export async function migrate(database: Database, schemaName: string, migrations: Migrations): Promise<void> {
  const client = await database.connectPatiently();
  try {
    await checkServer(client, database.place);
    const schema = pgName(schemaName);
    if ((await versionOf(client, schemaName, schema, migrations.part)) === migrations.up.length) return;
    // Not inside the transaction: it would go on believing that what was not there before is not there.
    await client.query('SELECT pg_advisory_lock($1)', [lockId]);
    await client.query('BEGIN');
    const version = (await versionOf(client, schemaName, schema, migrations.part)) ?? 0;
    if (version > migrations.up.length) throw newer(database.place);
    await makeVersions(client, schemaName, schema);
    for (const step of migrations.up.slice(version)) await client.query(step(schema));
    await client.query(
      `INSERT INTO ${schema}.versions (part, version) VALUES ($1, $2)
       ON CONFLICT (part) DO UPDATE SET version = excluded.version`,
      [migrations.part, migrations.up.length],
    );
    await client.query('COMMIT');
  } catch (thrown) {
    throw failureOf(thrown, database.place).error;
  } finally {
    // The lock, and a transaction that is still open, end with the connection.
    database.leave(client);
  }
}

/** As an identifier in SQL. */
export function pgName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

async function checkServer(client: pg.Client, place: string): Promise<void> {
  const { rows } = await client.query(
    `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS shown,
       current_setting('server_encoding') AS encoding`,
  );
  const { version, shown, encoding } = rows[0] as { version: number; shown: string; encoding: string };
  if (version < minServerVersion) {
    throw new AppError(
      'unsupported',
      'postgres.too_old',
      `${place} is PostgreSQL ${shown}; 13 or later is needed.`,
    );
  }
  if (encoding === 'UTF8') return;
  throw new AppError(
    'unsupported',
    'postgres.not_utf8',
    `${place} has the encoding ${encoding}; UTF8 is needed.`,
    {
      hint: "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
    },
  );
}

async function versionOf(
  client: pg.Client,
  schemaName: string,
  schema: string,
  part: string,
): Promise<number | undefined> {
  const { rows } = await client.query('SELECT to_regclass($1) IS NOT NULL AS there', [`${schema}.versions`]);
  if (rows[0]?.['there'] !== true) return undefined;
  const found = await client.query(`SELECT version FROM ${pgName(schemaName)}.versions WHERE part = $1`, [
    part,
  ]);
  return (found.rows[0] as { version: number } | undefined)?.version;
}

/** CREATE SCHEMA IF NOT EXISTS wants the right to create one even where an administrator made it for us. */
async function makeVersions(client: pg.Client, schemaName: string, schema: string): Promise<void> {
  const { rowCount } = await client.query('SELECT 1 FROM pg_namespace WHERE nspname = $1', [schemaName]);
  if (rowCount === 0) await client.query(`CREATE SCHEMA ${schema}`);
  await client.query(
    `CREATE TABLE IF NOT EXISTS ${schema}.versions (part text PRIMARY KEY, version int NOT NULL)`,
  );
}

function newer(place: string): AppError {
  return new AppError('unsupported', 'postgres.newer', `${place} was written by a newer version.`, {
    hint: 'Run that version, or a later one, on every auth server.',
  });
}
