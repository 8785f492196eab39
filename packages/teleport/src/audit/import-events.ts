// Day files → a database: the history of a cluster that moves there. May be done again, or go on after it was
// interrupted: an event that is there is left out. They arrive on the day of the move, from which their retention
// counts, too.
import { readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type AuditEvent, parseEvent } from '@sallyport/contracts/events/event.ts';
import { linesForward } from './line-reader.ts';
import { LogLayout } from './log-layout.ts';
import type { PostgresLog } from './postgres-log.ts';

export interface ImportResult {
  readonly files: number;
  /** Found in the database after they were put there. */
  readonly events: number;
  /** Lines that are no event this version knows. They stay in their files. */
  readonly unreadable: number;
}

const batchEvents = 2_000;

/** `logDir`: with a folder a host, as FileLog makes it. */
export async function importEvents(
  logDir: string,
  to: PostgresLog,
  onFile?: (name: string, events: number) => void,
): Promise<ImportResult> {
  let [files, events, unreadable] = [0, 0, 0];
  for (const path of await dayFilesBelow(logDir)) {
    files++;
    for await (const lines of linesForward(path)) {
      const parsed = lines.filter((line) => line !== '').map(parseEvent);
      const good = parsed.flatMap((one) => (one.ok ? one.event : []));
      unreadable += parsed.length - good.length;
      for (let at = 0; at < good.length; at += batchEvents) await move(good.slice(at, at + batchEvents), to);
      events += good.length;
    }
    onFile?.(basename(path), events);
  }
  return { files, events, unreadable };
}

async function move(events: readonly AuditEvent[], to: PostgresLog): Promise<void> {
  await to.append(events);
  const uids = new Set(events.map(({ uid }) => uid));
  const there = await to.count([...uids]);
  if (there !== uids.size)
    throw new AppError('internal', 'audit.import_lost', `${uids.size - there} events did not arrive.`);
}

/** Oldest first, whichever host's. */
async function dayFilesBelow(logDir: string): Promise<string[]> {
  const entries = await readdir(logDir, { withFileTypes: true }).catch((cause: unknown) => {
    throw new AppError('not_found', 'audit.no_folder', `${logDir} cannot be read.`, { cause });
  });
  const hosts = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const files = await Promise.all(hosts.map((host) => new LogLayout(logDir, host).dayFiles()));
  return files.flat().sort((a, b) => (basename(a) < basename(b) ? -1 : 1));
}
