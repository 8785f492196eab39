// The database file: private, in WAL mode, with our tables in it.
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { AppError } from '@sallyport/contracts/errors.ts';

const groupAndOthers = 0o077;
const schemaVersion = 1;

// `changes` is what watches read. AUTOINCREMENT: a number that was given out never comes back, also when its row is
// gone, so it serves as revision.
const schema = `
  CREATE TABLE IF NOT EXISTS changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS items (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    revision INTEGER NOT NULL,
    -- Unix milliseconds; NULL: never.
    expires INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS items_expires ON items (expires) WHERE expires IS NOT NULL;
  PRAGMA user_version = ${schemaVersion};
`;

export async function openDatabase(path: string): Promise<DatabaseSync> {
  await makePrivate(path);
  try {
    // While opening, waiting for another process (it makes the tables, or recovers the WAL) may block this one.
    const database = new DatabaseSync(path, { timeout: 5000 });
    // FULL: what a caller was told is on the disk survives a power cut, at one fdatasync a transaction.
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
    const version = Number(database.prepare('PRAGMA user_version').get()?.['user_version']);
    if (version > schemaVersion) throw newer(path);
    if (version < schemaVersion) database.exec(`BEGIN IMMEDIATE; ${schema} COMMIT;`);
    // From here on nothing blocks the process for long: writers queue outside (see SqliteStore).
    database.exec('PRAGMA busy_timeout = 20;');
    return database;
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('unavailable', 'store.cannot_open', `The database ${path} cannot be opened.`, {
      cause,
      hint: 'If the file is damaged, restore it from a backup.',
    });
  }
}

/** Password hashes and join tokens are in it. SQLite gives -wal and -shm the mode of the database. */
async function makePrivate(path: string): Promise<void> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600).catch(
    (cause: unknown) => {
      throw new AppError('unavailable', 'store.cannot_open', `${path} cannot be opened.`, { cause });
    },
  );
  try {
    const { mode } = await file.stat();
    if ((mode & groupAndOthers) === 0) return;
    throw new AppError(
      'denied',
      'store.too_open',
      `Refusing to use ${path}: others than its owner may reach it.`,
      {
        hint: `If nobody else can have read it: chmod 600 ${path}.`,
      },
    );
  } finally {
    await file.close();
  }
}

function newer(path: string): AppError {
  return new AppError('unsupported', 'store.newer', `${path} was written by a newer version.`, {
    hint: 'Run the version that wrote it, or a later one.',
  });
}
