// What systemd is told (sd_notify(3)): when the daemon serves, that it reloads, and who its main process is. Node has no
// datagram sockets of unix; systemd-notify(1) is there wherever systemd is, and waits until it was heard.
import { execFile, execFileSync } from 'node:child_process';

type Fields = Readonly<Record<string, string | number>>;

const patienceMs = 10_000;

/** Resolves when it was told, or cannot be: nothing here is worth failing for. */
export function tellServiceManager(fields: Fields): Promise<void> {
  if (process.env['NOTIFY_SOCKET'] === undefined) return Promise.resolve();
  return new Promise((resolve) => {
    execFile('systemd-notify', wordsOf(fields), { timeout: patienceMs }, () => resolve());
  });
}

/** For a process that is on its way out. */
export function tellServiceManagerAtOnce(fields: Fields): void {
  if (process.env['NOTIFY_SOCKET'] === undefined) return;
  try {
    execFileSync('systemd-notify', wordsOf(fields), { timeout: patienceMs, stdio: 'ignore' });
  } catch {
    // It cannot be told.
  }
}

const wordsOf = (fields: Fields) => Object.entries(fields).map(([name, value]) => `${name}=${value}`);
