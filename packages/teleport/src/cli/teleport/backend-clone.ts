// `teleport backend clone`: the state of a cluster from one store into another, the way from SQLite to PostgreSQL.
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError } from '@sallyport/contracts/errors.ts';
import { importEvents } from '../../audit/import-events.ts';
import { PostgresLog } from '../../audit/postgres-log.ts';
import { cloneStore } from '../../auth/store/clone-store.ts';
import { PostgresStore } from '../../auth/store/postgres-store.ts';
import { SqliteStore } from '../../auth/store/sqlite-store.ts';
import type { Store } from '../../auth/store/store.ts';
import { type ClonedBackend, loadCloneFile } from '../../config/clone-yaml.ts';
import { type PostgresAddress, parsePostgresUri, showPostgresAddress } from '../../config/postgres-uri.ts';
import { notice, print } from '../output.ts';
import { lockDataDir } from './data-dir-lock.ts';
import { Sockets } from './generation/sockets.ts';

export async function cloneAction({ config: file }: { config: string }): Promise<void> {
  const clone = await loadCloneFile(file);
  const closers: (() => unknown)[] = [];
  try {
    const from = await open(clone.src, true, closers);
    if (clone.dst.type === 'sqlite') await refuseWithAuthorities(from.store);
    const to = await open(clone.dst, false, closers);
    const { items, verified, expired, others } = await cloneStore(from.store, to.store, clone);
    print(`${shown(items)} cloned from ${from.place} to ${to.place}.`);
    print(`${shown(verified)} compared: the same in both.`);
    if (expired > 0) print(`${shown(expired)} expired meanwhile.`);
    if (others > 0) print(`${shown(others)} of the target are of its own, and were left.`);
    if (clone.auditEvents !== undefined) await moveEvents(clone.auditEvents, closers);
  } finally {
    for (const close of closers.reverse()) await close();
  }
  if (clone.src.type === 'sqlite' && clone.dst.type === 'postgresql') {
    notice(
      'Set storage.type and storage.conn_string in teleport.yaml, and start the auth service: it brings the authorities',
    );
    notice(`of ${join(clone.src.path, 'ca')} into the database. Recordings stay where they are.`);
  }
}

/** A service on SQLite has its authorities in files: it would make new ones, and every host would be a stranger. */
async function refuseWithAuthorities(from: Store): Promise<void> {
  const [one] = await from.range('ca/', { limit: 1 });
  if (one === undefined) return;
  throw new AppError(
    'unsupported',
    'store.clone_authorities',
    'The authorities of the cluster are in this database; a store of SQLite cannot take them.',
    { hint: 'Copy to another PostgreSQL database instead.' },
  );
}

async function moveEvents({ src, dst }: { src: string; dst: string }, closers: (() => unknown)[]) {
  const address = addressOf(dst);
  const log = await PostgresLog.open(address);
  closers.push(() => log.close());
  const folder = fileURLToPath(src);
  const { files, events, unreadable } = await importEvents(folder, log, (name, n) => notice(`${name}: ${n}`));
  print(`${events} events of ${files} day files are in ${showPostgresAddress(address)}: counted there.`);
  if (unreadable > 0)
    print(`${unreadable} lines are no events this version knows; they stay in their files.`);
}

async function open(
  backend: ClonedBackend,
  isSource: boolean,
  closers: (() => unknown)[],
): Promise<{ store: Store; place: string }> {
  if (backend.type === 'postgresql') {
    const address = addressOf(backend.connString);
    const store = await PostgresStore.open(address);
    closers.push(() => store.close());
    return { store, place: showPostgresAddress(address) };
  }
  const file = join(backend.path, 'backend.db');
  if (isSource) {
    await access(file).catch((cause: unknown) => {
      throw new AppError('not_found', 'store.no_database', `There is no ${file}.`, { cause });
    });
  }
  // A daemon that goes on writing would leave its newest changes behind.
  closers.push(await lockDataDir(backend.path, new Sockets()));
  const store = await SqliteStore.open(backend.path);
  closers.push(() => store.close());
  return { store, place: file };
}

function addressOf(uri: string): PostgresAddress {
  const parsed = parsePostgresUri(uri);
  if (parsed.ok) return parsed.address;
  throw new AppError('bad_input', 'store.bad_conn_string', `The connection string ${parsed.problem}.`);
}

function shown(items: number): string {
  return items === 1 ? '1 item' : `${items} items`;
}
