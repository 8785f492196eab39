// The service: the rooms joined into a running service. Config → data directory → the cluster (auth itself, or
// membership of it) → proxy → SSH. Each step needs the one before it; nobody can log in before the last.
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditLog } from '../../audit/audit-log.ts';
import type { Authorities } from '../../ca/authorities.ts';
import { openHostUuid } from '../../ca/host-uuid.ts';
import { formatAddress } from '../../config/address.ts';
import type { Address, Config } from '../../config/config.ts';
import type { RunningProxy } from '../../proxy/start-proxy.ts';
import type { NodeLog } from '../../ssh/node-log.ts';
import { SessionRegistry } from '../../ssh/session-registry.ts';
import type { SshNode } from '../../ssh/ssh-server.ts';
import { openCluster } from './cluster-side.ts';
import { lockDataDir } from './data-dir-lock.ts';
import { Diagnostics } from './diagnostics.ts';
import { watchGenerations } from './generation/generation-watch.ts';
import { type Generation, Generations } from './generation/generations.ts';
import type { Predecessor } from './generation/predecessor.ts';
import { Sockets } from './generation/sockets.ts';
import { type KernelOptions, requireHostSupport } from './kernel-side.ts';
import { ServiceMetrics } from './metrics.ts';
import { type NodeSide, openNodeSide } from './node-side.ts';
import { openProxySide } from './proxy-side.ts';

export interface ServiceOptions extends KernelOptions {
  /** The daemon we take over from; undefined: an ordinary start. */
  readonly predecessor?: Predecessor | undefined;
  readonly version: string;
  readonly log: NodeLog;
  /** Ends the waiting for a cluster that does not answer. */
  readonly signal?: AbortSignal;
  /** Just before the service says that it listens: whoever waits for that line finds everything in place. */
  readonly onReady?: () => Promise<void>;
}

export interface RunningTeleport {
  readonly hostUuid: string;
  /** undefined: the ssh service is off. */
  readonly ssh: SshNode | undefined;
  readonly registry: SessionRegistry;
  /** The cluster's log where auth runs here, else the outbox to it. */
  readonly audit: AuditLog;
  /** undefined: enhanced recording is off, or the recorder is being brought back. */
  readonly recorderPid: number | undefined;
  /** Where the API of auth listens; undefined: auth is elsewhere. */
  readonly authAddress: Address | undefined;
  /** undefined: auth is elsewhere. */
  readonly authorities: Authorities | undefined;
  /** undefined: the proxy service is off. */
  readonly proxy: RunningProxy | undefined;
  /** undefined: no diag_addr. */
  readonly diagAddress: Address | undefined;
  /** Looks now whether this host's certificates are due; new ones are shown to whoever connects from then on. */
  renewCertificates(): void;
  /** Resolves when the sessions of a daemon before us have their session.end. */
  readonly recovered: Promise<void>;
  /** For a daemon that takes over from us. */
  readonly sockets: Sockets;
  readonly generations: Generations;
  /** Lets go of what only one daemon may hold, for one that takes over and is not ready yet. */
  yieldAuth(): Promise<void>;
  /** That one did not become ready. */
  resumeAuth(): Promise<void>;
  /** Another daemon serves from now on: accepts nobody, renews nothing. What lives goes on. */
  retire(): Promise<void>;
  /** Connections and sessions that are worth waiting for. */
  readonly busy: number;
  /** Nobody new, the living are told and hang up, what outlives that is left to the recorder and the next start. */
  stop(reason: string): Promise<void>;
}

/** Sessions at once when connection_limits does not say less: each costs processes and files. */
const maxSessions = 4_096;
/** How long stop() waits for sessions to hang up, ms. */
const hangUpMs = 5_000;

export async function startTeleport(config: Config, options: ServiceOptions): Promise<RunningTeleport> {
  if (config.ssh.enabled && config.ssh.enhancedRecording.enabled) await requireHostSupport();
  await makeDataDir(config.dataDir);
  const sockets = new Sockets(options.predecessor?.socket);
  const unlock = await lockDataDir(config.dataDir, sockets);
  const opened: (() => Promise<void> | void)[] = [unlock];
  try {
    const generations = await Generations.enter(config.dataDir, options.version);
    opened.push(() => generations.leave());
    const others = await generations.others();
    return await compose(config, { ...options, sockets, generations, others, unlock }, opened);
  } catch (thrown) {
    for (const close of opened.reverse()) await close();
    throw thrown;
  }
}

interface ComposeOptions extends ServiceOptions {
  readonly sockets: Sockets;
  readonly generations: Generations;
  /** Daemons of this host that live beside us, older ones all. */
  readonly others: readonly Generation[];
  readonly unlock: () => void;
}

async function compose(
  config: Config,
  options: ComposeOptions,
  opened: (() => Promise<void> | void)[],
): Promise<RunningTeleport> {
  const { log, version, sockets, generations, predecessor } = options;
  const alone = options.others.length === 0;
  const metrics = new ServiceMetrics(version);
  const diagnostics = await openDiagnostics(config, metrics, sockets, opened);
  const hostUuid = await openHostUuid(config.dataDir);
  const shared = { config, version, log, metrics, sockets, generations, alone, predecessor };
  const cluster = await openCluster({ ...shared, hostUuid, signal: options.signal ?? never });
  opened.push(() => cluster.close());
  diagnostics?.check('audit log', () => metrics.auditFailure);
  diagnostics?.check('database', () => cluster.problem());
  const registry = new SessionRegistry({
    maxSessions: Math.min(maxSessions, config.connectionLimits.maxConnections),
    maxUsers: config.connectionLimits.maxUsers,
  });
  const proxy = config.proxy.enabled ? await openProxySide({ ...shared, cluster }) : undefined;
  if (proxy !== undefined) {
    opened.push(() => proxy.close('the proxy is going down'));
    diagnostics?.check('proxy', () => problemsOf(proxy.proxy));
  }
  const node = config.ssh.enabled
    ? await openNodeSide({ ...options, ...shared, cluster, registry, diagnostics })
    : undefined;
  if (node !== undefined) opened.push(() => node.close());
  const takeOver = async () => {
    if (node) await node.recoverDead();
    else for (const box of await cluster.adoptLogs()) box.release();
  };
  if (node === undefined) await takeOver();
  const watch = watchGenerations({ generations, known: options.others, takeOver, log });
  opened.push(() => watch.stop());
  diagnostics?.check('start', () => undefined);
  await options.onReady?.();
  sayWhatRuns(config, { auth: cluster.auth?.address, proxy: proxy?.proxy, node }, log);
  return {
    hostUuid,
    registry,
    audit: cluster.audit,
    authAddress: cluster.auth?.address,
    authorities: cluster.auth?.core.authorities,
    proxy: proxy?.proxy,
    ssh: node?.ssh,
    get diagAddress() {
      return diagnostics?.address;
    },
    get recorderPid() {
      return node?.recorderPid;
    },
    recovered: node?.recovered ?? Promise.resolve(),
    renewCertificates: () => cluster.membership.renewal.check(),
    sockets,
    generations,
    yieldAuth: async () => await cluster.auth?.yield(),
    resumeAuth: async () => await cluster.auth?.resume(),
    async retire() {
      await watch.stop();
      options.unlock();
      await Promise.all([diagnostics?.close(), proxy?.retire(), node?.retire(), cluster.membership.retire()]);
    },
    get busy() {
      return (node?.ssh.connections ?? 0) + registry.size + (proxy?.proxy.streams ?? 0);
    },
    stop: (reason) =>
      node === undefined ? closeAll(opened) : stopNode({ ssh: node.ssh, registry, opened, log, reason }),
  };
}

/** Nobody ends the waiting. */
const never = new AbortController().signal;

function problemsOf(proxy: RunningProxy): string | undefined {
  const { ready, problems } = proxy.readiness();
  return ready ? undefined : problems.join('; ');
}

interface Running {
  readonly auth: Address | undefined;
  readonly proxy: RunningProxy | undefined;
  readonly node: NodeSide | undefined;
}

/** One line a service. That of the ssh service is the last of a start. */
function sayWhatRuns(config: Config, { auth, proxy, node }: Running, log: NodeLog): void {
  if (auth !== undefined) log.info({ address: formatAddress(auth) }, 'the auth service listens');
  if (proxy !== undefined) {
    const { web, ssh, tunnel } = proxy.addresses;
    const addresses = { web: formatAddress(web), ssh: formatAddress(ssh), tunnel: formatAddress(tunnel) };
    log.info(addresses, 'the proxy service listens');
  }
  if (node === undefined) {
    log.info({}, 'the ssh service is off');
    return;
  }
  const { address } = node.ssh;
  const where = address.port === 0 ? { address: 'by reverse tunnel' } : { address: formatAddress(address) };
  log.info({ ...where, enhanced_recording: config.ssh.enhancedRecording.enabled }, 'the ssh service listens');
}

/** Not ready until the start says so; whoever waits for readiness can ask from the beginning. */
async function openDiagnostics(
  config: Config,
  metrics: ServiceMetrics,
  sockets: Sockets,
  opened: (() => Promise<void> | void)[],
): Promise<Diagnostics | undefined> {
  if (config.diagAddr === undefined) return undefined;
  const diagnostics = await Diagnostics.listen(
    config.diagAddr,
    metrics.registry,
    sockets.bind('diagnostics'),
  );
  opened.push(() => diagnostics.close());
  metrics.watchProcess();
  diagnostics.check('start', () => 'the service is starting');
  return diagnostics;
}

interface Stopping {
  readonly ssh: SshNode;
  readonly registry: SessionRegistry;
  readonly opened: (() => Promise<void> | void)[];
  readonly log: NodeLog;
  readonly reason: string;
}

/**
 * Policy: nobody new; each live session is told and its terminal hangs up. Those that end within the deadline end
 * properly. What goes on (background tasks) stays watched by the recorder, and the next start finishes it.
 */
async function stopNode({ ssh, registry, opened, log, reason }: Stopping): Promise<void> {
  ssh.stopListening();
  registry.hangUpAll(`The node is going down: ${reason}.`);
  const emptied = await registry.empty(hangUpMs);
  if (!emptied)
    log.warn({ sessions: registry.size }, 'sessions outlive the service; its next start goes on with them');
  await ssh.close(reason);
  await registry.detachAll();
  await closeAll(opened);
}

async function closeAll(opened: (() => Promise<void> | void)[]): Promise<void> {
  for (const close of [...opened].reverse()) await close();
}

async function makeDataDir(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const spool = join(dataDir, 'spool');
    await mkdir(spool, { recursive: true, mode: 0o700 });
    await chmod(spool, 0o700);
  } catch (cause) {
    throw new AppError('unavailable', 'start.data_dir', `The data directory ${dataDir} cannot be used.`, {
      hint: 'Run as root, or set teleport.data_dir to a folder this user may write.',
      cause,
    });
  }
}
