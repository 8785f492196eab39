// `teleport reload`: SIGHUP to the daemon, and its outcome: another process has the pid file; or the same one wrote it
// anew, and its log says why.
import { readFile, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '@sallyport/contracts/errors.ts';
import { print } from '../output.ts';

export interface ReloadFlags {
  readonly pidFile: string;
  readonly timeout: string;
}

const lookMs = 100;

export async function reloadAction({ pidFile, timeout }: ReloadFlags): Promise<void> {
  const seconds = Number(timeout);
  if (!(seconds > 0)) {
    throw new AppError('bad_input', 'cli.bad_number', `--timeout: "${timeout}" is not a number of seconds.`);
  }
  const before = await daemonOf(pidFile);
  const written = await stampOf(pidFile);
  const began = performance.now();
  hangUp(before);
  while (performance.now() - began < seconds * 1_000) {
    await delay(lookMs);
    // First the stamp: what is read after it is no older.
    const stamp = await stampOf(pidFile);
    const now = await daemonOf(pidFile).catch(() => before);
    if (now === before && stamp === written) continue;
    if (now === before) throw notTakenOver(before, 'the reload failed');
    print(
      `A new daemon serves: process ${now}. The one before, ${before}, stays until its sessions have ended.`,
    );
    return;
  }
  throw notTakenOver(before, `no other does after ${seconds} s`);
}

function notTakenOver(pid: number, why: string): AppError {
  return new AppError('unavailable', 'reload.not_taken_over', `Process ${pid} still serves: ${why}.`, {
    hint: 'Its log says more: the configuration may be wrong, or the new daemon does not start.',
  });
}

/** Tells one writing of the file from another; '' while there is none. */
async function stampOf(path: string): Promise<string> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found === undefined ? '' : `${found.ino} ${found.mtimeNs}`;
}

async function daemonOf(pidFile: string): Promise<number> {
  const text = await readFile(pidFile, 'utf8').catch((cause: unknown) => {
    throw new AppError('not_found', 'reload.no_pid_file', `${pidFile} cannot be read.`, {
      cause,
      hint: 'Name the file that the daemon was started with: --pid-file, or teleport.pid_file of its configuration.',
    });
  });
  const pid = Number(text);
  if (Number.isSafeInteger(pid) && pid > 1) return pid;
  throw new AppError('bad_input', 'reload.bad_pid_file', `${pidFile} holds no process id.`);
}

function hangUp(pid: number): void {
  try {
    process.kill(pid, 'SIGHUP');
  } catch (cause) {
    throw new AppError(
      'unavailable',
      'reload.no_daemon',
      `There is no daemon of process id ${pid} to reload.`,
      {
        cause,
        hint: 'Start it; and run this command as root.',
      },
    );
  }
}
