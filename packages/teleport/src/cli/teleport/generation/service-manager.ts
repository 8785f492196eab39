// What systemd is told (sd_notify(3)): when the daemon serves, that it reloads, and who its main process is. Node has no
// datagram sockets of unix; systemd-notify(1) is there wherever systemd is, and waits until it was heard.
import { execFile } from 'node:child_process';

/** Resolves when it was told, or cannot be: nothing here is worth failing for. */
export function tellServiceManager(fields: Readonly<Record<string, string | number>>): Promise<void> {
  if (process.env['NOTIFY_SOCKET'] === undefined) return Promise.resolve();
  const words = Object.entries(fields).map(([name, value]) => `${name}=${value}`);
  return new Promise((resolve) => {
    execFile('systemd-notify', words, { timeout: 10_000 }, () => resolve());
  });
}
