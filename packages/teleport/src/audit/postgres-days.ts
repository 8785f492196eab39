// The partitions of the audit log: made some days ahead, so that midnight needs nobody, and dropped when all of their
// events are older than the retention. Any auth server may do it; they do not disturb each other.
import type pg from 'pg';
import type { Database } from '../postgres/database.ts';
import { pgName } from '../postgres/migrate.ts';
import { failureOf } from '../postgres/postgres-error.ts';

const dayMs = 24 * 3600 * 1000;
const daysAhead = 7;
/** Of our advisory locks; the number itself means nothing. */
const lockId = 725_597_679;
/** Dropping waits for searches that run; what arrives meanwhile waits behind it, so not for long, ms. */
const dropWaitMs = 500;

export interface DayOptions {
  /** Quoted. */
  readonly schema: string;
  /** Absent: the database's clock decides. */
  readonly nowMs: number | undefined;
  readonly retentionMs: number | undefined;
}

/** Resolves to the days that were dropped. */
export async function keepDays(database: Database, options: DayOptions): Promise<string[]> {
  const client = await database.connect();
  try {
    await client.query('SELECT pg_advisory_lock($1)', [lockId]);
    const today = await todayOf(client, options);
    const there = await partitions(client, options.schema);
    const needed = Array.from({ length: daysAhead + 1 }, (_, n) => shift(today, n));
    await make(
      client,
      options.schema,
      needed.filter((day) => !there.includes(day)),
    );
    if (options.retentionMs === undefined) return [];
    // A day goes when its last moment is older than the retention.
    const oldest = shift(today, -Math.ceil(options.retentionMs / dayMs));
    const dropped: string[] = [];
    for (const day of there) if (day < oldest && (await drop(client, options.schema, day))) dropped.push(day);
    return dropped;
  } catch (thrown) {
    throw failureOf(thrown, database.place).error;
  } finally {
    // The lock ends with the connection.
    database.leave(client);
  }
}

/** `2026-03-01` → the day n days on. */
function shift(day: string, days: number): string {
  return new Date(Date.parse(day) + days * dayMs).toISOString().slice(0, 10);
}

/** Never before the log's own newest day: it does not go back, whatever the clock does. */
async function todayOf(client: pg.Client, { schema, nowMs }: DayOptions): Promise<string> {
  const given = nowMs === undefined ? null : new Date(nowMs).toISOString().slice(0, 10);
  const { rows } = await client.query(
    `SELECT greatest(coalesce($1::date, (now() AT TIME ZONE 'UTC')::date), day)::text AS today FROM ${schema}.log_head`,
    [given],
  );
  return (rows[0] as { today: string }).today;
}

/** By their names: we made them. */
async function partitions(client: pg.Client, schema: string): Promise<string[]> {
  const { rows } = await client.query(
    `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = $1::regclass ORDER BY c.relname`,
    [`${schema}.events`],
  );
  return (rows as { name: string }[]).flatMap(({ name }) => {
    const [, year, month, day] = /^events_(\d{4})(\d\d)(\d\d)$/.exec(name) ?? [];
    return year === undefined ? [] : [`${year}-${month}-${day}`];
  });
}

/** Made apart and attached: creating them in place would lock out whoever reads or writes the log. */
async function make(client: pg.Client, schema: string, days: readonly string[]): Promise<void> {
  if (days.length === 0) return;
  const made = days.map((day) => {
    const name = partitionOf(schema, day);
    return `CREATE TABLE ${name} (LIKE ${schema}.events INCLUDING DEFAULTS);
      ALTER TABLE ${schema}.events ATTACH PARTITION ${name} FOR VALUES FROM ('${day}') TO ('${shift(day, 1)}');`;
  });
  await client.query(`BEGIN; ${made.join('')} COMMIT`);
}

/** False: somebody reads it; the next round will do. */
async function drop(client: pg.Client, schema: string, day: string): Promise<boolean> {
  try {
    await client.query(`
      BEGIN;
      SET LOCAL lock_timeout = ${dropWaitMs};
      DROP TABLE ${partitionOf(schema, day)};
      DELETE FROM ${schema}.log_days WHERE day = '${day}';
      DELETE FROM ${schema}.text_blocks WHERE day = '${day}';
      COMMIT`);
    return true;
  } catch {
    await client.query('ROLLBACK');
    return false;
  }
}

function partitionOf(schema: string, day: string): string {
  return `${schema}.${pgName(`events_${day.replaceAll('-', '')}`)}`;
}
