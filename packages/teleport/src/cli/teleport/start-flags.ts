// `teleport start`: file and flags become one configuration; start.ts runs it.
import { AppError } from '@sallyport/contracts/errors.ts';
import { parseAddress } from '../../config/address.ts';
import type { Address, LoadedConfig } from '../../config/config.ts';
import { parseDuration } from '../../config/duration.ts';
import { loadConfigFile } from '../../config/load-config.ts';
import { overrideConfig, serviceRoles } from '../../config/override.ts';

export interface StartFlags {
  readonly config?: string;
  readonly roles?: string[];
  readonly nodename?: string;
  readonly token?: string;
  readonly authServer?: string;
  readonly caPin?: string[];
  readonly pidFile?: string;
  readonly diagAddr?: string;
  readonly drainTimeout?: string;
  readonly readyTimeout?: string;
  readonly insecure: boolean;
}

export async function startAction(flags: StartFlags): Promise<void> {
  const { config, warnings } = await load(flags);
  const { runStart } = await import('./start.ts');
  // Waiting for a signal keeps no event loop alive: a daemon that listens nowhere (auth alone) would just end.
  const alive = setInterval(() => {}, 2 ** 30);
  try {
    await runStart({
      config,
      warnings,
      reload: async () => (await load(flags)).config,
      configPath: flags.config,
      drainMs: durationOf('--drain-timeout', flags.drainTimeout ?? '30h'),
      // A host under load, with many old sessions to take over.
      readyMs: durationOf('--ready-timeout', flags.readyTimeout ?? '1m'),
      insecure: flags.insecure,
    });
  } finally {
    clearInterval(alive);
    // The launcher of a session that outlives us is a child we would wait for. Our end is what it waits for.
    setTimeout(() => process.exit(), lastWordsMs).unref();
  }
}

/** For what is still on its way to a log. */
const lastWordsMs = 500;

/** The file, and what the flags change in it. */
async function load(flags: StartFlags): Promise<LoadedConfig> {
  const { config, warnings } = await loadConfigFile(flags.config);
  const overridden = overrideConfig(config, {
    roles: knownRoles(flags.roles),
    nodename: flags.nodename,
    pidFile: flags.pidFile,
    token: flags.token,
    authServer: addressOf('--auth-server', flags.authServer, authPort),
    caPins: flags.caPin,
  });
  const diagAddr = addressOf('--diag-addr', flags.diagAddr, diagPort) ?? overridden.diagAddr;
  return { config: Object.freeze({ ...overridden, diagAddr }), warnings };
}

function durationOf(flag: string, text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  throw new AppError('bad_input', 'cli.bad_duration', `${flag}: "${text}" is not a time.`, {
    hint: 'Write it as 30h, 90m or 45s.',
  });
}

const authPort = 3025;
const diagPort = 3000;

function addressOf(flag: string, text: string | undefined, port: number): Address | undefined {
  if (text === undefined) return undefined;
  const address = parseAddress(text, port);
  if (address !== undefined) return address;
  throw new AppError('bad_input', 'cli.bad_address', `${flag}: "${text}" is not an address.`, {
    hint: `Write it as host:port, for example 127.0.0.1:${port}.`,
  });
}

function knownRoles(roles: readonly string[] | undefined) {
  return roles?.map((role) => {
    const known = serviceRoles.find((each) => each === role);
    if (known !== undefined) return known;
    throw new AppError('bad_input', 'cli.unknown_role', `--roles: "${role}" is not a service.`, {
      hint: `The services are ${serviceRoles.join(', ')}.`,
    });
  });
}
