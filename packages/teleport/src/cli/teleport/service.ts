// The service: the rooms joined into a running service. Config → data directory → CA → audit log → recorder
// → old sessions → SSH. Each step needs the one before it; nobody can log in before the last.
import { createHash } from 'node:crypto';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@sallyport/contracts/errors.ts';
import { launcherBinary, recorderBinary } from '@sallyport/kernel/binaries.ts';
import { preflight, probeHost } from '@sallyport/kernel/host-probe.ts';
import { evaluateHost, type HostCondition } from '@sallyport/kernel/host-support.ts';
import { NoKernel } from '@sallyport/kernel/no-kernel.ts';
import { startRecorder } from '@sallyport/kernel/start-recorder.ts';
import { FileLog } from '../../audit/file-log.ts';
import { EventStamp } from '../../audit/session-emitter.ts';
import { Auth } from '../../auth/auth.ts';
import { FileStore } from '../../auth/file-store.ts';
import { openCaStore } from '../../ca/ca-store.ts';
import { HostIdentity } from '../../ca/host-identity.ts';
import type { Config } from '../../config/config.ts';
import { ensureCgroupMount } from '../../ssh/cgroup.ts';
import { Gate } from '../../ssh/enhanced/gate.ts';
import { RecorderLink } from '../../ssh/enhanced/recorder-link.ts';
import type { KernelSide } from '../../ssh/kernel-watch.ts';
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

export interface ServiceOptions {
  readonly version: string;
  readonly log: NodeLog;
  /** Tests put a recorder of their own in. */
  readonly recorder?: string;
  /** How long a recorder that died may take to come back before its sessions count as unwatched, ms. */
  readonly recorderReturnMs?: number;
}

export interface RunningTeleport {
  readonly hostUuid: string;
  /** undefined: the ssh service is off. */
  readonly ssh: SshNode | undefined;
  readonly registry: SessionRegistry;
  readonly audit: FileLog;
  /** undefined: enhanced recording is off, or the recorder is being brought back. */
  readonly recorderPid: number | undefined;
  /** Resolves when the sessions of a daemon before us have their session.end. */
  readonly recovered: Promise<void>;
  /** Nobody new, the living are told and hang up, what outlives that is left to the recorder and the next start. */
  stop(reason: string): Promise<void>;
}

/** Sessions at once when connection_limits does not say less: each costs processes and files. */
const maxSessions = 4_096;
const recorderReturnMs = 10_000;
/** Spools read at once over all sessions. */
const spoolReaders = 4;
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
  const base = { hostUuid: identity.hostUuid, registry, audit };
  if (!config.ssh.enabled) {
    log.info({}, 'the ssh service is off');
    return {
      ...base,
      ssh: undefined,
      recorderPid: undefined,
      recovered: Promise.resolve(),
      stop: () => closeAll(opened),
    };
  }
  const kernel = await openKernelSide(config, options);
  opened.push(() => kernel.link.close());
  const host = createSessionHost({
    node: nodeFacts(config, identity.hostUuid, options.version),
    clusterName,
    audit,
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
    hostKeys: [{ privateKey: identity.privateKey, certificate: identity.certificate }],
    limits: { maxConnections: config.connectionLimits.maxConnections },
    host,
    registry,
    stamp,
    recordingMode: config.auth.sessionRecording,
    admit: (attempt) => admit({ trustedCas: [ca.user.publicKey], auth, labels: config.ssh.labels }, attempt),
  });
  const enhanced = config.ssh.enhancedRecording.enabled;
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
    stop: (reason) => stopNode({ ssh, registry, opened, log, reason }),
  };
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
  await closeAll(opened);
}

async function closeAll(opened: (() => Promise<void> | void)[]): Promise<void> {
  for (const close of [...opened].reverse()) await close();
}

async function openKernelSide(config: Config, options: ServiceOptions): Promise<KernelSide> {
  const { enhancedRecording } = config.ssh;
  const spoolDir = join(config.dataDir, 'spool');
  const { cgroupPath, rootPath } = enhancedRecording;
  const returnDeadlineMs = options.recorderReturnMs ?? recorderReturnMs;
  if (enhancedRecording.enabled) await ensureCgroupMount(cgroupPath);
  const start = enhancedRecording.enabled
    ? () =>
        startRecorder({
          binary: options.recorder ?? recorderBinary,
          socketPath: join(config.dataDir, 'recorder.sock'),
          spoolDir,
          ringBytes: enhancedRecording.ringBytes,
          log: join(config.dataDir, 'recorder.log'),
          args: ['--cgroup-root', cgroupPath, '--pin-dir', pinDir(config.dataDir)],
        })
    : async () => new NoKernel();
  const link = await RecorderLink.open({ start, returnDeadlineMs, log: options.log }).catch((thrown) =>
    explainRecorder(options, thrown),
  );
  const { pid, features, ringSize, resumedSessions } = link.recorder?.hello ?? {};
  if (enhancedRecording.enabled)
    options.log.info(
      { pid, ring_bytes: ringSize, hooks: [...(features ?? [])].join(','), resumed: resumedSessions },
      'the kernel recorder runs',
    );
  return { link, spoolDir, cgroupPath, rootPath, gate: new Gate(spoolReaders) };
}

/** Two daemons on a host (two data directories) have two recorders: neither may take the other's maps over. */
function pinDir(dataDir: string): string {
  return `/sys/fs/bpf/sallyport-${createHash('sha256').update(dataDir).digest('hex').slice(0, 12)}`;
}

/**
 * Refuses with every missing condition and its fix. Whether the programs load is not tried here: the recorder's
 * own start is the trial, and a recorder that lives already has passed it.
 */
async function requireHostSupport(): Promise<void> {
  const facts = await probeHost(noTrial);
  refuseMissing(evaluateHost({ ...facts, bpfSyscall: 'allowed', features: undefined }));
}

/** A program that does not exist: probeHost tries nothing then. */
const noTrial = '/nonexistent';

/** The recorder did not start: if the host is why, that is what the operator is told. */
async function explainRecorder(options: ServiceOptions, thrown: unknown): Promise<never> {
  refuseMissing(await preflight(options.recorder ?? recorderBinary));
  throw thrown;
}

function refuseMissing(conditions: readonly HostCondition[]): void {
  const missing = conditions.filter((condition) => !condition.ok);
  if (missing.length === 0) return;
  throw new AppError(
    'unsupported',
    'start.host_unsupported',
    `Enhanced session recording is enabled and this host cannot do it:\n${missing.map(conditionLine).join('\n')}`,
    {
      hint: 'Fix the host, or set ssh_service.enhanced_recording.enabled to false. `teleport doctor` shows more.',
    },
  );
}

function conditionLine({ name, found, needed, fix }: HostCondition): string {
  return `  ${name}: found ${found}, needed ${needed}. Fix: ${fix}.`;
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
