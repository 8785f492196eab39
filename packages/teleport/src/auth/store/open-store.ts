// The configuration's storage section → the store. What a database needs is loaded only where one is configured.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Config } from '../../config/config.ts';
import { parsePostgresUri } from '../../config/postgres-uri.ts';
import type { PostgresStoreOptions, PostgresStoreStats } from './postgres-store.ts';
import { SqliteStore } from './sqlite-store.ts';
import type { Store } from './store.ts';

export interface OpenedStore {
  readonly store: Store;
  /** Why it cannot be used just now; undefined: it can. For /readyz. */
  problem(): string | undefined;
  /** undefined: it is a file, there is nothing to tell. */
  stats(): PostgresStoreStats | undefined;
}

export type OpenStoreOptions = Pick<PostgresStoreOptions, 'observe'>;

export async function openStore(
  { storage, dataDir }: Pick<Config, 'storage' | 'dataDir'>,
  options: OpenStoreOptions = {},
): Promise<OpenedStore> {
  if (storage.type !== 'postgresql')
    return { store: await SqliteStore.open(dataDir), problem: () => undefined, stats: () => undefined };
  const parsed = parsePostgresUri(storage.connString ?? '');
  // The configuration was checked when it was read.
  if (!parsed.ok)
    throw new AppError('bad_input', 'store.bad_conn_string', `storage.conn_string ${parsed.problem}.`);
  const { PostgresStore } = await import('./postgres-store.ts');
  const store = await PostgresStore.open(parsed.address, options);
  return { store, problem: () => store.problem, stats: () => store.stats };
}
