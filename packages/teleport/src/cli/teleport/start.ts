// `teleport start` as a process: signals, pid file, exit. What runs is service.ts.
//
// SIGTERM, SIGINT: stop in order (see service.ts), also when they come during the start, which is let finish
// first. A second one: at once. SIGHUP: reload.ts; it never ends anybody's session.
import { rm, writeFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { outliveReader } from '../output.ts';
import { productVersion } from '../version.ts';
import { reload } from './reload.ts';
import { type RunningTeleport, startTeleport } from './service.ts';
import { openServiceLog } from './service-log.ts';
import type { StartOptions } from './start-options.ts';

/** Resolves when the service has stopped. Rejects when it cannot start. */
export async function runStart(options: StartOptions): Promise<void> {
  const { config, warnings, configPath } = options;
  outliveReader();
  const log = openServiceLog(config.log);
  const version = productVersion();
  log.info({ version, pid: process.pid, node: process.version, config: configPath }, 'teleport starts');
  for (const warning of warnings) log.warn({ key: warning.key, line: warning.line }, warning.message);
  const { pidFile } = config;
  const stop = stopSignal(log);
  // Before anything is opened: the default of each of these signals is to die on the spot.
  const onHangUp = reloads(options, log);
  const service = await startTeleport(config, {
    version,
    log,
    onReady: async () => {
      if (pidFile !== undefined) await writeFile(pidFile, `${process.pid}\n`, { mode: 0o644 });
    },
  });
  onHangUp(service);
  const signal = await stop;
  log.info({ signal }, 'teleport stops');
  await stopUnlessAgain(service, signal);
  if (pidFile !== undefined) await rm(pidFile, { force: true });
  log.info({}, 'teleport has stopped');
}

/** A reload asked for during the start happens after it; more than one at a time are one. */
function reloads({ config, reload: load }: StartOptions, log: Logger): (service: RunningTeleport) => void {
  const started = Promise.withResolvers<RunningTeleport>();
  let reloading = false;
  process.on('SIGHUP', async () => {
    if (reloading) return;
    reloading = true;
    const { renewCertificates } = await started.promise;
    await reload({ running: config, load, log, renewCertificates });
    reloading = false;
  });
  return started.resolve;
}

function stopSignal(log: Logger): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.once(name, () => {
        log.debug({ signal: name }, 'asked to stop');
        resolve(name);
      });
    }
  });
}

/** Whoever sends a second signal does not want to wait: recovery does the rest at the next start. */
async function stopUnlessAgain(service: RunningTeleport, signal: string): Promise<void> {
  const again = new Promise<void>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve());
  });
  await Promise.race([service.stop(`it received ${signal}`), again]);
}
