// `teleport start`: file and flags become one configuration; start.ts runs it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { formatAddress, parseAddress } from '../../config/address.ts';
import type { Address, Config, ConfigWarning, LoadedConfig } from '../../config/config.ts';
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
  readonly insecure: boolean;
}

export async function startAction(flags: StartFlags): Promise<void> {
  const { config, warnings } = await load(flags);
  await refuseToJoin(config);
  const { runStart } = await import('./start.ts');
  // Waiting for a signal keeps no event loop alive: a daemon that listens nowhere (auth alone) would just end.
  const alive = setInterval(() => {}, 2 ** 30);
  try {
    await runStart({
      config,
      warnings: [...warnings, ...flagWarnings(flags)],
      reload: async () => (await load(flags)).config,
      configPath: flags.config,
      insecure: flags.insecure,
    });
  } finally {
    clearInterval(alive);
  }
}

/** The file, and what the flags change in it. */
async function load(flags: StartFlags): Promise<LoadedConfig> {
  const { config, warnings } = await loadConfigFile(flags.config);
  const overridden = overrideConfig(config, {
    roles: knownRoles(flags.roles),
    nodename: flags.nodename,
    pidFile: flags.pidFile,
  });
  const diagAddr = diagAddress(flags.diagAddr) ?? overridden.diagAddr;
  return { config: Object.freeze({ ...overridden, diagAddr }), warnings };
}

const diagPort = 3000;

function diagAddress(text: string | undefined): Address | undefined {
  if (text === undefined) return undefined;
  const address = parseAddress(text, diagPort);
  if (address !== undefined) return address;
  throw new AppError('bad_input', 'cli.diag_addr', `--diag-addr: "${text}" is not an address.`, {
    hint: 'Write it as host:port, for example 127.0.0.1:3000.',
  });
}

/** A host without an auth service needs another's; joining one is not part of this version. */
async function refuseToJoin(config: Config): Promise<void> {
  if (config.auth.enabled) return;
  // Whoever brings the CA files along by hand can run a node alone; certificates then speak for themselves.
  if (existsSync(join(config.dataDir, 'ca', 'user_ca'))) return;
  const [upstream] = config.upstream.addresses;
  const where = upstream === undefined ? '' : ` (${formatAddress(upstream)})`;
  throw new AppError(
    'unsupported',
    'cli.cannot_join',
    `The auth service is off here, and joining that of another host${where} is not part of this version.`,
    { hint: 'Set auth_service.enabled: true to make this host a cluster of its own.' },
  );
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

/** Flags that are read and lead to nothing yet are said so, like keys of the file. */
function flagWarnings(flags: StartFlags): ConfigWarning[] {
  const given = {
    '--token': flags.token,
    '--auth-server': flags.authServer,
    '--ca-pin': flags.caPin,
  };
  return Object.entries(given)
    .filter(([, value]) => value !== undefined)
    .map(([key]) => ({
      code: 'not_in_effect',
      key,
      message: `${key} is accepted, but not yet in effect in this version`,
    }));
}
