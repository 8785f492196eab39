// How tctl reaches the cluster: on the auth host through the daemon's local socket; with no daemon running, in this
// process, on the daemon's own files; anywhere else as the person of the last `tsh login`.
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import type { Transport } from '@sallyport/contracts/api/client.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { formatAddress } from '../../config/address.ts';
import type { Config } from '../../config/config.ts';
import { loadConfigFile } from '../../config/load-config.ts';
import { socketTransport } from '../../membership/transport.ts';
import { authSocketPath } from '../auth-socket.ts';
import { productVersion } from '../version.ts';

export interface WayToAuth {
  readonly transport: Transport;
  /** To be sent with every call. */
  readonly headers: Readonly<Record<string, string>>;
  /** On the auth host: its configuration. */
  readonly config: Config | undefined;
  /** How other hosts reach the cluster from here: the auth service itself, or the proxy of the log-in. */
  readonly upstream: { readonly kind: 'auth' | 'proxy'; readonly address: string };
}

/** Connects, does the work, and lets go whatever happened. */
export async function withWayToAuth<T>(
  configPath: string | undefined,
  work: (way: WayToAuth) => Promise<T>,
): Promise<T> {
  const { config } = await loadConfigFile(configPath);
  const onAuthHost = config.auth.enabled && (configPath !== undefined || hasCluster(config));
  if (!onAuthHost) return withProfile(configPath, config, work);
  const local = { config, upstream: { kind: 'auth', address: authAddress(config) } } as const;
  const socket = authSocketPath(config.dataDir);
  if (!(await answers(socket)))
    return offline(config, (transport) => work({ ...local, transport, headers: {} }));
  const transport = socketTransport(socket);
  const headers = { ...versionHeader(), 'x-sallyport-operator': operator() };
  try {
    return await work({ ...local, transport, headers });
  } finally {
    transport.close();
  }
}

/** A daemon that was killed leaves its socket behind: nobody answers, and its files are free. */
async function answers(socketPath: string): Promise<boolean> {
  if (!existsSync(socketPath)) return false;
  const socket = connect(socketPath);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

function versionHeader() {
  return { 'x-sallyport-version': productVersion() };
}

const hasCluster = ({ dataDir, storage }: Config) =>
  storage.type === 'postgresql' || existsSync(join(dataDir, 'ca'));

async function offline<T>(config: Config, work: (transport: Transport) => Promise<T>): Promise<T> {
  const { openAuditLog } = await import('../../audit/open-audit-log.ts');
  const { EventStamp } = await import('../../audit/session-emitter.ts');
  const { openHostUuid } = await import('../../ca/host-uuid.ts');
  const { openAuthCore, openAuthState } = await import('../auth-core.ts');
  const state = await openAuthState(config, false, quiet);
  const hostUuid = await openHostUuid(config.dataDir);
  // A daemon that starts meanwhile owns the log: it repairs and rotates, we only add lines.
  const opened = await openAuditLog(config, { hostUuid, secondary: true });
  try {
    const stamp = new EventStamp({ clusterName: config.auth.clusterName });
    const { log: audit, pages, positioned } = opened;
    const sharedLog = positioned !== undefined;
    const shared = { config, audit, pages, sharedLog, hostUuid, stamp };
    const core = await openAuthCore(
      { ...shared, version: productVersion(), log: quiet, secondary: true },
      state,
    );
    try {
      return await work(core.transportAs({ kind: 'admin', user: operator() }));
    } finally {
      await core.close();
    }
  } finally {
    await opened.log.close();
    await state.close();
  }
}

/** Errors reach the person as errors; there is no log to write. */
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

async function withProfile<T>(
  configPath: string | undefined,
  config: Config,
  work: (way: WayToAuth) => Promise<T>,
): Promise<T> {
  const { readProfile, requireProfile } = await import('../tsh/profile.ts');
  if (configPath !== undefined && !config.auth.enabled) {
    throw new AppError('unsupported', 'cli.not_auth_host', `The auth service is off in ${configPath}.`, {
      hint: 'Run tctl on the auth host, with -c and the configuration of the daemon there, or after `tsh login` without -c.',
    });
  }
  if ((await readProfile()) === undefined) {
    throw new AppError(
      'denied',
      'cli.no_cluster',
      'There is no cluster here, and you are not logged in to one.',
      {
        hint: 'Run tctl as root on the auth host (with -c where its configuration is not /etc/teleport.yaml), or log in with `tsh login`.',
      },
    );
  }
  const { authTransport } = await import('../tsh/auth-transport.ts');
  const profile = await requireProfile();
  const transport = await authTransport(profile);
  const upstream = { kind: 'proxy', address: profile.web_proxy_addr } as const;
  try {
    return await work({ transport, headers: versionHeader(), config: undefined, upstream });
  } finally {
    transport.close();
  }
}

function authAddress({ auth, advertiseIp }: Config): string {
  const { host, port } = auth.listenAddr;
  const any = host === '0.0.0.0' || host === '::';
  return formatAddress({ host: advertiseIp ?? (any ? hostname() : host), port });
}

/** The person behind sudo where there is one: "root" alone would blame nobody. */
function operator(): string {
  const person = process.env['SUDO_USER'] ?? userInfo().username;
  return `${person}@${hostname() || 'localhost'}`;
}
