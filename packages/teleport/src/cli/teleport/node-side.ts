// The SSH service of this process: recorder, old sessions, log-ins, and its place among the cluster's nodes. Each
// step needs the one before it; nobody can log in before the last.
import { join } from 'node:path';
import type { ClusterSettingsDocument, NodeDocument } from '@sallyport/contracts/api/resources.ts';
import { launcherBinary } from '@sallyport/kernel/binaries.ts';
import { formatAddress } from '../../config/address.ts';
import type { Config } from '../../config/config.ts';
import { parseDuration } from '../../config/duration.ts';
import { RelayJudge } from '../../membership/relay-line.ts';
import { DynamicLabels } from '../../ssh/dynamic-labels.ts';
import type { NodePolicy } from '../../ssh/grant.ts';
import { hostManners } from '../../ssh/host-manners.ts';
import { launch } from '../../ssh/launch.ts';
import { recoverSessions } from '../../ssh/recovery.ts';
import type { NodeFacts } from '../../ssh/session-facts.ts';
import { createSessionHost } from '../../ssh/session-host.ts';
import { readBootId } from '../../ssh/session-journal.ts';
import type { SessionRegistry } from '../../ssh/session-registry.ts';
import { defaultHoldMs } from '../../ssh/sharing/sharing.ts';
import { type SshNode, startSshNode } from '../../ssh/ssh-server.ts';
import { Admission } from './admission.ts';
import type { ClusterSide } from './cluster-side.ts';
import type { Diagnostics } from './diagnostics.ts';
import { type KernelOptions, openKernel } from './kernel-side.ts';
import type { ServiceMetrics } from './metrics.ts';

export interface NodeSideOptions extends KernelOptions {
  readonly config: Config;
  readonly cluster: ClusterSide;
  readonly registry: SessionRegistry;
  /** Made by `openNodeSide`. */
  readonly measured?: DynamicLabels;
  readonly version: string;
  readonly metrics: ServiceMetrics;
  readonly diagnostics: Diagnostics | undefined;
}

export interface NodeSide {
  readonly ssh: SshNode;
  readonly recorderPid: number | undefined;
  readonly recovered: Promise<void>;
  /** Leaves the cluster's list and its tunnels; sessions are the caller's to end before. */
  close(): Promise<void>;
}

type ClusterSettings = ClusterSettingsDocument['spec'];

/** From the start to the cluster's roles and locks, ms. */
const firstWatchMs = 5_000;

export async function openNodeSide(given: NodeSideOptions): Promise<NodeSide> {
  const measured = new DynamicLabels(given.config.ssh.commands, { log: given.log });
  const options = { ...given, measured };
  const { config, cluster, registry, metrics, diagnostics, log } = options;
  const closers: (() => unknown)[] = [() => measured.close()];
  const close = async () => {
    for (const each of closers.splice(0).reverse()) await each();
  };
  try {
    const enhanced = config.ssh.enhancedRecording.enabled;
    const { side: kernel, close: closeKernel } = await openKernel(config, options);
    closers.push(closeKernel);
    metrics.kernel(kernel, enhanced);
    diagnostics?.check('recorder', () => (kernel.link.recorder ? undefined : 'the kernel recorder is away'));
    const host = createSessionHost({
      get node() {
        return nodeFacts(options);
      },
      clusterName: cluster.clusterName,
      audit: metrics.timed(cluster.audit),
      logDir: join(config.dataDir, 'log'),
      spoolDir: join(config.dataDir, 'spool'),
      bootId: await readBootId(),
      launcher: launcherBinary,
      manners: hostManners({
        pam: config.ssh.pam.enabled ? config.ssh.pam : undefined,
        userEnvironment: config.ssh.permitUserEnvironment,
        log,
      }),
      kernel: enhanced ? kernel : undefined,
      launch,
      log,
    });
    closers.push(() => host.close());
    const recovery = await recoverSessions(host, kernel, registry);
    if (recovery.sessions > 0)
      log.info(
        { sessions: recovery.sessions, lingering: recovery.lingering },
        'interrupted sessions were taken over',
      );
    const { member } = cluster;
    const { cluster: known } = cluster.membership;
    const admission = new Admission({
      cluster: known,
      node: () => ({
        ...{ labels: labelsOf(options), unknownLabels: measured.now.unknown },
        ...{ hostUuid: member.hostUuid, hostname: config.nodename },
      }),
      now: () => new Date(),
    });
    const relays = new RelayJudge({ cluster: known, hostUuid: member.hostUuid, now: () => new Date() });
    await Promise.all([hearOfCluster(options), measured.first()]);
    const ssh = await startSshNode({
      ...(tunnelled(options) ? {} : { listen: config.ssh.listenAddr }),
      hostKeys: member.hostKeys,
      limits: { maxConnections: config.connectionLimits.maxConnections },
      host,
      registry,
      stamp: cluster.stamp,
      recordingMode: () => known.settings?.session_recording ?? config.auth.sessionRecording,
      admit: (attempt) => admission.admit(attempt),
      relayed: async (line) => relays.judge(line),
      policy: () => nodePolicy(config, known.settings),
      sharing: { refusesJoin: admission.refusesJoin, holdMs: defaultHoldMs },
    });
    closers.push(known.onChange(() => ssh.policyChanged()));
    metrics.ssh(ssh, registry);
    closers.push(member.onChange(() => ssh.setHostKeys(member.hostKeys)));
    closers.push(endLocked(ssh, admission, known));
    closers.push(...enterCluster(options, ssh));
    const reports = cluster.membership.sessionReports(() => registry.reports());
    closers.push(registry.onChange((sid) => reports.changed(sid)));
    return {
      ssh,
      get recorderPid() {
        return enhanced ? kernel.link.recorder?.hello.pid : undefined;
      },
      recovered: recovery.done,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The cluster's word where it was heard; this host's own file until then. */
function nodePolicy({ ssh, auth }: Config, settings: ClusterSettings | undefined): NodePolicy {
  const { portForwarding, x11, sshFileCopy: fileCopy } = ssh;
  if (settings === undefined) {
    const { clientIdleTimeoutMs, disconnectExpiredCert } = auth;
    return { portForwarding, x11, fileCopy, clientIdleTimeoutMs, disconnectExpiredCert };
  }
  return {
    portForwarding,
    x11,
    fileCopy,
    clientIdleTimeoutMs: parseDuration(settings.client_idle_timeout ?? ''),
    disconnectExpiredCert: settings.disconnect_expired_cert,
  };
}

/** A new lock ends the connections of whoever it is on, at once. */
function endLocked(
  ssh: SshNode,
  admission: Admission,
  cluster: ClusterSide['membership']['cluster'],
): () => void {
  const look = () => ssh.endLocked((user) => admission.lockedOut(user));
  look();
  return cluster.onChange(look);
}

/** A start that waits for what the watch says first: otherwise who comes at once would be refused. */
async function hearOfCluster({ cluster, log }: NodeSideOptions): Promise<void> {
  try {
    await cluster.membership.cluster.whenSynced(AbortSignal.timeout(firstWatchMs));
  } catch {
    log.warn({}, 'nothing was heard of the cluster yet: nobody is let in until it is');
  }
}

/** Heartbeats; and tunnels, where this node is reached through proxies. */
function enterCluster(options: NodeSideOptions, ssh: SshNode): (() => Promise<void>)[] {
  const { config, cluster } = options;
  const { membership } = cluster;
  const heartbeat = membership.heartbeat(() => nodeDocument(options, ssh));
  options.measured?.onChange(() => heartbeat.beat());
  const closers = [() => heartbeat.close()];
  if (tunnelled(options)) {
    const tunnels = membership.tunnels(config.upstream.addresses, (stream, remote) =>
      ssh.handle(stream, { remote }),
    );
    tunnels.onChange(() => heartbeat.beat());
    closers.push(() => tunnels.close());
  }
  return closers;
}

function tunnelled({ config, cluster }: NodeSideOptions): boolean {
  return cluster.auth === undefined && config.upstream.kind === 'proxy';
}

function nodeDocument(options: NodeSideOptions, ssh: SshNode): NodeDocument {
  const { config, cluster, version } = options;
  const tunnel = tunnelled(options);
  return {
    kind: 'node',
    version: 'v2',
    metadata: { name: cluster.member.hostUuid },
    spec: {
      hostname: config.nodename,
      ...(tunnel ? {} : { addr: dialled(config, ssh.address.port) }),
      tunnel,
      labels: labelsOf(options),
      version,
      enhanced_recording: config.ssh.enhancedRecording.enabled,
      takes_relay_line: true,
    },
  };
}

/** Those of the token it joined with, its own, what its commands say; later ones win. */
function labelsOf({ config, cluster, measured }: NodeSideOptions): Readonly<Record<string, string>> {
  return { ...cluster.member.labels, ...config.ssh.labels, ...measured?.now.values };
}

function nodeFacts(options: NodeSideOptions): NodeFacts {
  const { config, cluster, version } = options;
  return {
    serverId: cluster.member.hostUuid,
    hostname: config.nodename,
    address: dialled(config, config.ssh.listenAddr.port),
    labels: labelsOf(options),
    version,
  };
}

function dialled({ ssh, advertiseIp, nodename }: Config, port: number): string {
  const { host } = ssh.listenAddr;
  const any = host === '0.0.0.0' || host === '::';
  return formatAddress({ host: advertiseIp ?? (any ? nodename : host), port });
}
