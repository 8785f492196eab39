// Files that must be ours alone: keys and the user store. Created and replaced in one atomic, durable step.
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, link, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';

const groupAndOthers = 0o077;

/** Makes the directory (0700) with its parents. */
export async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/**
 * The file's text; `undefined` when there is none. Rejects (`denied`, `ca.file_too_open`) when anybody but its
 * owner may read or write it: such a key must be thought of as known to others.
 */
export async function readPrivateFile(path: string): Promise<string | undefined> {
  let file: FileHandle;
  try {
    // O_NOFOLLOW, and checks on the open descriptor: nobody can swap the file between the check and the read.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw unreadable(path, error);
  }
  try {
    await refuseIfOpen(path, file);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

async function refuseIfOpen(path: string, file: FileHandle): Promise<void> {
  const { mode, uid } = await file.stat();
  const open = mode & groupAndOthers;
  const me = process.geteuid?.() ?? uid;
  if (open === 0 && (uid === me || uid === 0)) return;
  const problem =
    open === 0 ? `it belongs to uid ${uid}, not to ${me}` : `its mode is ${octal(mode)}, wider than 0600`;
  throw new AppError('denied', 'ca.file_too_open', `Refusing to use ${path}: ${problem}.`, {
    hint: `If nobody else can have read it: chown ${me} ${path} && chmod 600 ${path}. If somebody may have, replace it.`,
  });
}

/** Creates the file unless it is there. Resolves to false when somebody else was first; theirs is left alone. */
export async function createPrivateFile(path: string, text: string): Promise<boolean> {
  const temporary = await writeTemporary(path, text);
  try {
    // link(2) fails with EEXIST: with two daemons starting at once exactly one key wins, and never half of one.
    await link(temporary, path);
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  await syncDirectory(dirname(path));
  return true;
}

/** Replaces (or creates) the file: readers see the old text or the new, also after a power cut. */
export async function replacePrivateFile(path: string, text: string): Promise<void> {
  const temporary = await writeTemporary(path, text);
  try {
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes a creation, a rename or a removal in this directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function writeTemporary(path: string, text: string): Promise<string> {
  // In the same directory, or rename(2) and link(2) could cross file systems.
  const temporary = join(dirname(path), `.tmp-${randomBytes(8).toString('hex')}`);
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  return temporary;
}

function unreadable(path: string, error: unknown): AppError {
  if (isErrno(error, 'EACCES')) {
    return new AppError('denied', 'ca.file_unreadable', `${path} may not be read by this user.`, {
      cause: error,
      hint: 'Run the command as root on the auth host.',
    });
  }
  const reason = isErrno(error, 'ELOOP') ? 'it is a symbolic link' : 'it cannot be opened';
  return new AppError('unavailable', 'ca.file_unreadable', `${path} cannot be used: ${reason}.`, {
    cause: error,
  });
}

export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}
