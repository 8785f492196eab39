// One writer at a time, across processes: the daemon and any number of tctl.
// Node has no flock(2). SQLite, which is part of Node, takes a real fcntl lock on its file: it is gone with the
// process that held it, so a kill -9 leaves nothing to clean up (a lock file with a pid would).
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '@sallyport/contracts/errors.ts';

const deadlineMs = 5000;
/** SQLITE_BUSY: somebody else holds the lock. */
const busy = 5;

/** Runs `work` while holding the lock file at `path`. Rejects with `unavailable` when it is not free in time. */
export async function withLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    await begin(database, path);
    return await work();
  } finally {
    // Closing rolls back and releases; nothing is ever written into the file.
    database.close();
  }
}

async function begin(database: DatabaseSync, path: string): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    try {
      database.exec('BEGIN EXCLUSIVE');
      return;
    } catch (error) {
      if (!(error instanceof Error && 'errcode' in error && error.errcode === busy)) throw error;
      if (performance.now() > deadline) {
        throw new AppError(
          'unavailable',
          'auth.locked',
          `Another process has kept ${path} locked for ${deadlineMs / 1000} s.`,
          {
            cause: error,
            hint: 'Try again; if it stays so, look for a hanging tctl.',
          },
        );
      }
    }
    // Polling: there is nothing to wait on. 5 ms is far below what a person notices, and contention is rare.
    await delay(5);
  }
}
