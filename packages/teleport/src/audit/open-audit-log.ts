// The configuration's storage section → the audit log of an auth host. What a database needs is loaded only where one
// is configured.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Config } from '../config/config.ts';
import { parsePostgresUri, showPostgresAddress } from '../config/postgres-uri.ts';
import type { AuditLog, PositionedLog } from './audit-log.ts';
import { EveryLog, type LogSink, OnceLog, PositionedEveryLog } from './every-log.ts';
import { FileLog } from './file-log.ts';
import { LogLayout } from './log-layout.ts';
import type { PostgresLog, PostgresLogStats } from './postgres-log.ts';
import { type EventPages, PagedSearch } from './search-page.ts';
import { StdoutLog } from './stdout-log.ts';

export interface OpenAuditLogOptions {
  /** Uuid of this host: names its folder. */
  readonly hostUuid: string;
  /** For a process beside the daemon: it repairs nothing and drops nothing. */
  readonly secondary?: boolean;
  readonly observe?: ((operation: string, seconds: number, failed: boolean) => void) | undefined;
  readonly onDropped?: (where: string, days: readonly string[]) => void;
}

export interface OpenedAuditLog {
  readonly log: AuditLog;
  /** Of the first place of the list. */
  readonly pages: EventPages;
  /** The log, when a database keeps the positions of hosts' batches; undefined: files only. */
  readonly positioned: PositionedLog | undefined;
  /** The first one; undefined: events go into no file. */
  readonly file: FileLog | undefined;
  /** Where events go, for people. */
  readonly places: readonly string[];
  /** Why it cannot be used just now; undefined: it can. For /readyz. */
  problem(): string | undefined;
  /** Of each database, by its shown address. */
  stats(): readonly (readonly [place: string, stats: PostgresLogStats])[];
}

interface Opened {
  readonly name: string;
  readonly log: FileLog | PostgresLog | StdoutLog;
  readonly pages: EventPages;
}

const noPages: EventPages = { page: async () => ({ events: [], startKey: '' }) };

export async function openAuditLog(
  { storage, dataDir }: Pick<Config, 'storage' | 'dataDir'>,
  options: OpenAuditLogOptions,
): Promise<OpenedAuditLog> {
  const defaultDir = join(dataDir, 'log');
  // Recordings lie there, wherever the events go.
  await new LogLayout(defaultDir, options.hostUuid).makeDirs();
  const opened: Opened[] = [];
  try {
    for (const uri of urisOf(storage, defaultDir)) opened.push(await open(uri, storage, options));
    return await join_(opened);
  } catch (error) {
    await Promise.allSettled(opened.map(({ log }) => log.close()));
    throw error;
  }
}

/** As the documentation of `audit_events_uri` says. */
function urisOf(
  { type, connString, auditEventsUris }: Config['storage'],
  defaultDir: string,
): readonly string[] {
  if (auditEventsUris.length > 0) return auditEventsUris;
  return [type === 'postgresql' && connString !== undefined ? connString : `file://${encodeURI(defaultDir)}`];
}

async function open(
  uri: string,
  { retentionPeriodMs }: Config['storage'],
  { hostUuid, secondary, observe, onDropped }: OpenAuditLogOptions,
): Promise<Opened> {
  if (uri === 'stdout://') return { name: uri, log: new StdoutLog(), pages: noPages };
  if (uri.startsWith('file:')) {
    const logDir = fileURLToPath(uri);
    const log = await FileLog.open({
      logDir,
      hostId: hostUuid,
      ...(secondary === undefined ? {} : { secondary }),
      ...(retentionPeriodMs === undefined ? {} : { retentionMs: retentionPeriodMs }),
    });
    return { name: logDir, log, pages: new PagedSearch(logDir, hostUuid) };
  }
  const parsed = parsePostgresUri(uri);
  // The configuration was checked when it was read.
  if (!parsed.ok)
    throw new AppError('bad_input', 'audit.bad_uri', `storage.audit_events_uri ${parsed.problem}.`);
  const name = showPostgresAddress(parsed.address);
  const { PostgresLog } = await import('./postgres-log.ts');
  const log = await PostgresLog.open(parsed.address, {
    observe,
    retentionMs: retentionPeriodMs,
    onDropped: (days) => onDropped?.(name, days),
  });
  return { name, log, pages: log.pages };
}

async function join_(opened: readonly Opened[]): Promise<OpenedAuditLog> {
  const [first] = opened;
  if (first === undefined) throw new Error('there is always one');
  const databases = opened.flatMap(({ name, log }) => ('problem' in log ? { name, log } : []));
  const file = opened.map(({ log }) => log).find((log) => log instanceof FileLog);
  const [positioned] = databases;
  const joined = {
    pages: first.pages,
    file,
    places: opened.map(({ name }) => name),
    problem: () => databases.map(({ log }) => log.problem).find((problem) => problem !== undefined),
    stats: () => databases.map(({ name, log }) => [name, log.stats] as const),
  };
  if (opened.length === 1) return { ...joined, log: first.log, positioned: positioned?.log };
  const others: LogSink[] = databases.slice(1);
  for (const { name, log } of opened)
    if (!('problem' in log)) others.push({ name, log: await OnceLog.of(log) });
  const sinks = { others, searched: first.log };
  if (positioned === undefined) return { ...joined, log: new EveryLog({ ...sinks, positioned }), positioned };
  const log = new PositionedEveryLog({ ...sinks, positioned });
  return { ...joined, log, positioned: log };
}
