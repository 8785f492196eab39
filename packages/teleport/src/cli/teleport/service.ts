// The service: the rooms joined into a running service. Config → data directory → CA → audit log → recorder
// → old sessions → SSH. Each step needs the one before it; nobody can log in before the last.
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { launcherBinary } from '@sallyport/kernel/binaries.ts';
import { FileLog } from '../../audit/file-log.ts';
import { EventStamp } from '../../audit/session-emitter.ts';
import { Auth } from '../../auth/auth.ts';
import { FileStore } from '../../auth/file-store.ts';
import { openCaStore } from '../../ca/ca-store.ts';
import { HostIdentity } from '../../ca/host-identity.ts';
import type { Address, Config } from '../../config/config.ts';
import { launch } from '../../ssh/launch.ts';
import type { NodeLog } from '../../ssh/node-log.ts';
import { recoverSessions } from '../../ssh/recovery.ts';
import type { NodeFacts } from '../../ssh/session-facts.ts';
import { createSessionHost } from '../../ssh/session-host.ts';
import { readBootId } from '../../ssh/session-journal.ts';
import { SessionRegistry } from '../../ssh/session-registry.ts';
import { type SshNode, startSshNode } from '../../ssh/ssh-server.ts';
import { admit } from './admission.ts';
import { lockDataDir } from './data-dir-lock.ts';
import { Diagnostics } from './diagnostics.ts';
import { hostKeysOf, keepHostKeys } from './host-key-renewal.ts';
import { type KernelOptions, openKernel, requireHostSupport } from './kernel-side.ts';
import { ServiceMetrics } from './metrics.ts';

export interface ServiceOptions extends KernelOptions {
  readonly version: string;
  /** Just before the service says that it listens: whoever waits for that line finds everything in place. */
  readonly onReady?: () => Promise<void>;
}

export interface RunningTeleport {
  readonly hostUuid: string;
  /** undefined: the ssh service is off. */
  readonly ssh: SshNode | undefined;
  readonly registry: SessionRegistry;
  readonly audit: FileLog;
  /** undefined: enhanced recording is off, or the recorder is being brought back. */
  readonly recorderPid: number | undefined;
  /** undefined: no diag_addr. */
  readonly diagAddress: Address | undefined;
  /** Issues the host certificate anew where it is due, and shows it to whoever connects from now on. */
  renewHostKeys(): Promise<boolean>;
  /** Resolves when the sessions of a daemon before us have their session.end. */
  readonly recovered: Promise<void>;
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
  const unlock = await lockDataDir(config.dataDir);
  const opened: (() => Promise<void> | void)[] = [unlock];
  try {
    return await compose(config, options, opened);
  } catch (thrown) {
    for (const close of opened.reverse()) await close();
    throw thrown;
  }
}

async function compose(
  config: Config,
  options: ServiceOptions,
  opened: (() => Promise<void> | void)[],
): Promise<RunningTeleport> {
  const { log } = options;
  const { dataDir } = config;
  const metrics = new ServiceMetrics(options.version);
  const diagnostics = await openDiagnostics(config, metrics, opened);
  const clusterName = config.auth.clusterName;
  const ca = await openCaStore(dataDir, { create: config.auth.enabled });
  const identity = await HostIdentity.open({
    dataDir,
    ca: ca.host,
    clusterName,
    nodename: config.nodename,
    names: hostNames(config),
    now: () => new Date(),
  });
  const logDir = join(dataDir, 'log');
  const audit = await FileLog.open({ logDir, hostId: identity.hostUuid });
  opened.push(() => audit.close());
  metrics.audit(audit);
  diagnostics?.check('audit log', () => metrics.auditFailure);
  for (const torn of audit.torn) log.warn({ ...torn }, 'a torn end of the audit log was moved aside');
  log.info({ cluster: clusterName, host: identity.hostUuid, log: logDir }, 'the audit log is open');
  const stamp = new EventStamp({ clusterName });
  const auth = config.auth.enabled
    ? new Auth({
        store: await FileStore.open(dataDir),
        ca: ca.user,
        audit: { append: (events) => audit.append(events), stamp: (draft) => stamp.stamp(draft) },
        actor: { user: 'system', kind: 3 },
      })
    : undefined;
  const registry = new SessionRegistry({
    maxSessions: Math.min(maxSessions, config.connectionLimits.maxConnections),
    maxUsers: config.connectionLimits.maxUsers,
  });
  const base = {
    hostUuid: identity.hostUuid,
    registry,
    audit,
    get diagAddress() {
      return diagnostics?.address;
    },
  };
  if (!config.ssh.enabled) {
    await options.onReady?.();
    log.info({}, 'the ssh service is off');
    diagnostics?.check('start', () => undefined);
    return {
      ...base,
      ssh: undefined,
      recorderPid: undefined,
      recovered: Promise.resolve(),
      renewHostKeys: () => identity.renew(),
      stop: () => closeAll(opened),
    };
  }
  const { side: kernel, close: closeKernel } = await openKernel(config, options);
  opened.push(closeKernel);
  metrics.kernel(kernel, config.ssh.enhancedRecording.enabled);
  diagnostics?.check('recorder', () => (kernel.link.recorder ? undefined : 'the kernel recorder is away'));
  const host = createSessionHost({
    node: nodeFacts(config, identity.hostUuid, options.version),
    clusterName,
    audit: metrics.timed(audit),
    logDir,
    spoolDir: join(dataDir, 'spool'),
    bootId: await readBootId(),
    launcher: launcherBinary,
    pamService: config.ssh.pam.enabled ? config.ssh.pam.serviceName : undefined,
    kernel: config.ssh.enhancedRecording.enabled ? kernel : undefined,
    launch,
    log,
  });
  opened.push(() => host.close());
  const recovery = await recoverSessions(host, kernel, registry);
  if (recovery.sessions > 0)
    log.info(
      { sessions: recovery.sessions, lingering: recovery.lingering },
      'interrupted sessions were taken over',
    );
  const ssh = await startSshNode({
    listen: config.ssh.listenAddr,
    hostKeys: hostKeysOf(identity),
    limits: { maxConnections: config.connectionLimits.maxConnections },
    host,
    registry,
    stamp,
    recordingMode: config.auth.sessionRecording,
    policy: {
      portForwarding: config.ssh.portForwarding,
      clientIdleTimeoutMs: config.auth.clientIdleTimeoutMs,
      disconnectExpiredCert: config.auth.disconnectExpiredCert,
    },
    admit: (attempt) => admit({ trustedCas: [ca.user.publicKey], auth, labels: config.ssh.labels }, attempt),
  });
  metrics.ssh(ssh, registry);
  const renewal = keepHostKeys({ identity, ssh, log });
  opened.push(renewal.stop);
  const enhanced = config.ssh.enhancedRecording.enabled;
  diagnostics?.check('start', () => undefined);
  await options.onReady?.();
  log.info(
    { address: `${ssh.address.host}:${ssh.address.port}`, enhanced_recording: enhanced },
    'the ssh service listens',
  );
  return {
    ...base,
    ssh,
    get recorderPid() {
      return enhanced ? kernel.link.recorder?.hello.pid : undefined;
    },
    recovered: recovery.done,
    renewHostKeys: renewal.renew,
    stop: (reason) => stopNode({ ssh, registry, opened, log, reason }),
  };
}

/** Not ready until the start says so; whoever waits for readiness can ask from the beginning. */
async function openDiagnostics(
  config: Config,
  metrics: ServiceMetrics,
  opened: (() => Promise<void> | void)[],
): Promise<Diagnostics | undefined> {
  if (config.diagAddr === undefined) return undefined;
  const diagnostics = await Diagnostics.listen(config.diagAddr, metrics.registry);
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

function nodeFacts(config: Config, serverId: string, version: string): NodeFacts {
  const { host, port } = config.ssh.listenAddr;
  const shown = config.advertiseIp ?? host;
  return {
    serverId,
    hostname: config.nodename,
    address: shown.includes(':') ? `[${shown}]:${port}` : `${shown}:${port}`,
    labels: config.ssh.labels,
    version,
  };
}

/** What clients may dial besides the node's own names. */
function hostNames(config: Config): string[] {
  const names = [...config.ssh.publicAddrs.map((address) => address.replace(/:\d+$/, ''))];
  if (config.advertiseIp !== undefined) names.push(config.advertiseIp);
  const { host } = config.ssh.listenAddr;
  if (host !== '0.0.0.0' && host !== '::') names.push(host);
  return names;
}
