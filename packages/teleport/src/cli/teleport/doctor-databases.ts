// The databases of `teleport doctor`: does each answer, which version is it, and is it set so that what it
// acknowledged stays?
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Config } from '../../config/config.ts';
import { parsePostgresUri, showPostgresAddress } from '../../config/postgres-uri.ts';
import { Database } from '../../postgres/database.ts';

export interface DatabaseCondition {
  readonly use: 'store' | 'events' | 'store, events';
  /** Without the password. */
  readonly place: string;
  readonly found: string;
  readonly ok: boolean;
  readonly fix?: string;
}

interface Facts {
  readonly version: string;
  readonly number: number;
  readonly encrypted: boolean;
  readonly standby: boolean;
  readonly fsync: string;
  readonly now: Date;
  readonly bytes: string;
}

const oldestVersion = 130_000;
/** Expiry and the days of the log go by the database's clock. */
const clockSlackMs = 5_000;

export async function databaseConditions({ auth, storage }: Config): Promise<DatabaseCondition[]> {
  if (!auth.enabled) return [];
  const store = storage.type === 'postgresql' ? storage.connString : undefined;
  const uris = storage.auditEventsUris.filter((uri) => uri.startsWith('postgres'));
  const isDefault = storage.auditEventsUris.length === 0;
  const asked: [uri: string, use: DatabaseCondition['use']][] = uris
    .filter((uri) => uri !== store)
    .map((uri) => [uri, 'events']);
  if (store !== undefined)
    asked.unshift([store, isDefault || uris.includes(store) ? 'store, events' : 'store']);
  return Promise.all(asked.map(([uri, use]) => examine(uri, use)));
}

async function examine(uri: string, use: DatabaseCondition['use']): Promise<DatabaseCondition> {
  const parsed = parsePostgresUri(uri);
  if (!parsed.ok)
    throw new AppError('bad_input', 'store.bad_conn_string', `${use}: the URI ${parsed.problem}.`);
  const place = showPostgresAddress(parsed.address);
  const about = { use, place };
  const limits = { connectMs: 5_000, operationMs: 0, statementMs: 5_000 };
  const database = await Database.open({
    address: parsed.address,
    applicationName: 'sallyport doctor',
    limits,
  });
  try {
    const begun = performance.now();
    await database.run('doctor', { text: 'SELECT 1' });
    const connectMs = performance.now() - begun;
    const [facts] = await database.run<Facts>('doctor', { text: question });
    if (facts === undefined) throw new Error('a row was asked for');
    return { ...about, ...verdict(facts, connectMs) };
  } catch (thrown) {
    const { message, hint } = AppError.from(thrown);
    return {
      ...about,
      found: message,
      ok: false,
      fix: hint ?? 'Start it, or correct the connection string.',
    };
  } finally {
    await database.close();
  }
}

const question = `SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
  current_setting('server_version_num')::int AS number,
  coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted,
  pg_is_in_recovery() AS standby, current_setting('fsync') AS fsync, clock_timestamp() AS now,
  pg_size_pretty(pg_database_size(current_database())) AS bytes`;

function verdict(facts: Facts, connectMs: number): Pick<DatabaseCondition, 'found' | 'ok' | 'fix'> {
  const { version, number, encrypted, standby, fsync, now, bytes } = facts;
  const found = `PostgreSQL ${version}, ${bytes}, ${encrypted ? 'TLS' : 'no TLS'}, connects in ${Math.round(connectMs)} ms`;
  const fail = (what: string, fix: string) => ({ found: `${found}; ${what}`, ok: false, fix });
  if (number < oldestVersion) return fail('too old', 'Upgrade it to PostgreSQL 13 or later.');
  if (standby) return fail('a standby', 'Let the connection string lead to the primary.');
  if (fsync !== 'on')
    return fail('fsync is off', 'Set fsync = on: a power cut would lose what was acknowledged, or more.');
  const apartMs = Math.abs(now.getTime() - Date.now());
  if (apartMs > clockSlackMs)
    return fail(`its clock is ${Math.round(apartMs / 1000)} s from ours`, 'Let NTP set both clocks.');
  return { found, ok: true };
}
