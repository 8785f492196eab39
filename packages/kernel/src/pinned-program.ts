// A program as it was when the daemon started. An upgrade replaces or removes the file under a daemon that goes on for
// hours: what it starts then must still be of its own version. An open descriptor keeps the file alive; the child
// resolves the path after the fork and before close-on-exec, so that it needs no copy, nor a folder that may execute.
import { openSync } from 'node:fs';

const pinned = new Map<string, string>();

/** A path to start the program by, good for as long as this process lives; the path itself where there is no file yet. */
export function pinProgram(path: string): string {
  const known = pinned.get(path);
  if (known !== undefined) return known;
  try {
    const descriptor = openSync(path, 'r'); // O_CLOEXEC: what is started does not inherit it
    const own = `/proc/self/fd/${descriptor}`;
    pinned.set(path, own);
    return own;
  } catch {
    return path;
  }
}
