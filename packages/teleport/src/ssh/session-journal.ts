// The promise on disk that a session exists: `<data_dir>/spool/<sid>.json`, written and synced before the session
// can do anything, deleted after its session.end is durable. What recovery knows of a session comes from here.
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { SessionFacts } from './session-facts.ts';

const formatVersion = 1;
const suffix = '.json';

export interface Journal {
  readonly version: typeof formatVersion;
  readonly facts: SessionFacts;
  /** /proc/sys/kernel/random/boot_id: a session of another boot has no processes left. */
  readonly bootId: string;
  /** The daemon that has the session; undefined: one that could not live beside another. */
  readonly generation?: string | undefined;
}

/** Who writes journals. */
export type JournalAuthor = Pick<Journal, 'bootId' | 'generation'>;

export function journalPath(spoolDir: string, sid: string): string {
  return join(spoolDir, `${sid}${suffix}`);
}

export function spoolPath(spoolDir: string, sid: string): string {
  return join(spoolDir, `${sid}.spool`);
}

export function checkpointPath(spoolDir: string, sid: string): string {
  return join(spoolDir, `${sid}.checkpoint`);
}

/** Resolves when the journal would survive a power loss. Replaces the one of a daemon before. */
export async function writeJournal(
  spoolDir: string,
  facts: SessionFacts,
  { bootId, generation }: JournalAuthor,
): Promise<void> {
  const journal: Journal = { version: formatVersion, facts, bootId, generation };
  const path = journalPath(spoolDir, facts.sid);
  try {
    const file = await open(`${path}.new`, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify(journal));
      await file.sync();
    } finally {
      await file.close();
    }
    // A reader sees the whole journal or none.
    await rename(`${path}.new`, path);
    await syncDirectory(spoolDir);
  } catch (cause) {
    throw new AppError('unavailable', 'session.journal', 'The session cannot be noted on this node’s disk.', {
      cause,
      hint: `Look at the free space and the rights of ${spoolDir}.`,
    });
  }
}

export interface FoundJournals {
  readonly journals: readonly Journal[];
  /** Files that are no journal of this version: left in place, for a person to look at. */
  readonly unreadable: readonly string[];
}

export async function readJournals(spoolDir: string): Promise<FoundJournals> {
  const journals: Journal[] = [];
  const unreadable: string[] = [];
  for (const name of (await readdir(spoolDir)).sort()) {
    if (!name.endsWith(suffix)) continue;
    const path = join(spoolDir, name);
    const text = await readFile(path, 'utf8').catch(absent);
    if (text === undefined) continue; // a daemon beside us has finished the session meanwhile
    const journal = parseJournal(text);
    if (journal !== undefined && journal.facts.sid === name.slice(0, -suffix.length)) journals.push(journal);
    else unreadable.push(path);
  }
  return { journals, unreadable };
}

/** What a crash left half written. Only while no other daemon writes journals here. */
export async function removeHalfJournals(spoolDir: string): Promise<void> {
  for (const name of await readdir(spoolDir))
    if (name.endsWith(`${suffix}.new`)) await rm(join(spoolDir, name), { force: true });
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

function parseJournal(text: string): Journal | undefined {
  try {
    const value = JSON.parse(text) as Partial<Journal> | null;
    // Ours, in a folder only root can write: the version says enough about its shape.
    return value?.version === formatVersion && value.facts?.sid !== undefined
      ? (value as Journal)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Only after session.end is durable. The spool goes first: a journal without one is finished again, harmlessly. */
export async function forgetSession(spoolDir: string, sid: string): Promise<void> {
  await rm(spoolPath(spoolDir, sid), { force: true });
  await rm(checkpointPath(spoolDir, sid), { force: true });
  await rm(journalPath(spoolDir, sid), { force: true });
}

export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
