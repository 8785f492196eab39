// `teleport start` as a process: signals, pid file, exit. What runs is service.ts; how one daemon takes over from
// another, generation/ and docs/decisions/0019.
//
// SIGTERM, SIGINT: stop in order (see service.ts), also when they come during the start, which is let finish first. A
//   second one: at once. Daemons that still drain are told, too.
// SIGQUIT: stop when the last session has ended; accept nobody from now on.
// SIGHUP: a new daemon, of the program and the configuration on disk, takes over. What lives here goes on until it ends.
import { outliveReader } from '../output.ts';
import { productVersion } from '../version.ts';
import { fixProgram } from './generation/heir.ts';
import { Predecessor } from './generation/predecessor.ts';
import { tellServiceManager } from './generation/service-manager.ts';
import { Succession } from './generation/succession.ts';
import { PidFile } from './pid-file.ts';
import { type RunningTeleport, startTeleport } from './service.ts';
import { openServiceLog } from './service-log.ts';
import { Signals } from './signals.ts';
import type { StartOptions } from './start-options.ts';

/** Resolves when the service has stopped. Rejects when it cannot start. */
export async function runStart(options: StartOptions): Promise<void> {
  const { config, warnings, configPath } = options;
  outliveReader();
  fixProgram();
  const log = openServiceLog(config.log);
  // Before the first word, after which somebody may send one: the default of each signal is to die on the spot.
  const signals = new Signals(log);
  const version = productVersion();
  const predecessor = Predecessor.find();
  const takes_over = predecessor === undefined ? undefined : process.ppid;
  log.info(
    { version, pid: process.pid, node: process.version, config: configPath, takes_over },
    'teleport starts',
  );
  for (const warning of warnings) log.warn({ key: warning.key, line: warning.line }, warning.message);
  const pidFile = new PidFile(config.pidFile);
  const service = await startTeleport(config, {
    version,
    log,
    predecessor,
    onReady: async () => {
      await pidFile.write();
      await tellServiceManager({ MAINPID: process.pid, READY: 1, STATUS: `version ${version} serves` });
      predecessor?.ready();
    },
  }).catch((thrown: unknown) => {
    predecessor?.failed(thrown instanceof Error ? thrown.message : String(thrown));
    throw thrown;
  });
  const succession = new Succession({ ...options, service, log, pidFile });
  signals.onHangUp(() => void succession.reload());
  for (const told of [signals.quit, signals.stop]) void told.then(() => succession.leaveUnguarded());
  const why = await Promise.race([signals.stop, signals.quit, succession.retired]);
  if (why !== 'SIGTERM' && why !== 'SIGINT') await succession.drain(why, signals.stop);
  const signal = await Promise.race([signals.stop, Promise.resolve('the end of its last session')]);
  log.info({ signal }, 'teleport stops');
  await tellServiceManager(succession.isRetired ? {} : { STOPPING: 1 });
  await succession.endAll(signal);
  await stopUnlessAgain(service, signals, signal);
  await pidFile.remove();
  log.info({}, 'teleport has stopped');
}

/** Whoever sends a second signal does not want to wait: recovery does the rest at the next start. */
async function stopUnlessAgain(service: RunningTeleport, signals: Signals, signal: string): Promise<void> {
  await Promise.race([service.stop(`it received ${signal}`), signals.again()]);
}
