// `teleport start` as a process: signals, pid file, exit. What runs is service.ts.
//
// SIGTERM, SIGINT: stop in order (see service.ts). A second one: at once. SIGHUP is reserved for a restart that
// keeps live sessions; until then it is noted and ignored, so that a reload never ends anybody's session.
import { rm, writeFile } from 'node:fs/promises';
import { productVersion } from '../version.ts';
import { type RunningTeleport, startTeleport } from './service.ts';
import { openServiceLog } from './service-log.ts';
import type { StartOptions } from './start-options.ts';

/** Resolves when the service has stopped. Rejects when it cannot start. */
export async function runStart({ config, warnings, configPath }: StartOptions): Promise<void> {
  const log = openServiceLog(config.log);
  const version = productVersion();
  log.info({ version, pid: process.pid, node: process.version, config: configPath }, 'teleport starts');
  for (const warning of warnings) log.warn({ key: warning.key, line: warning.line }, warning.message);
  // Before anything is opened: a signal during the start lets it finish, and then stops in order.
  const signalled = stopSignal(() => log.info({}, 'SIGHUP is ignored'));
  const { pidFile } = config;
  const service = await startTeleport(config, {
    version,
    log,
    onReady: async () => {
      if (pidFile !== undefined) await writeFile(pidFile, `${process.pid}\n`, { mode: 0o644 });
    },
  });
  const signal = await signalled;
  log.info({ signal }, 'teleport stops');
  await stopUnlessAgain(service, signal);
  if (pidFile !== undefined) await rm(pidFile, { force: true });
  log.info({}, 'teleport has stopped');
}

function stopSignal(onHangUp: () => void): Promise<NodeJS.Signals> {
  process.on('SIGHUP', onHangUp);
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
}

/** Whoever sends a second signal does not want to wait: recovery does the rest at the next start. */
async function stopUnlessAgain(service: RunningTeleport, signal: string): Promise<void> {
  const again = new Promise<void>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve());
  });
  await Promise.race([service.stop(`it received ${signal}`), again]);
}
