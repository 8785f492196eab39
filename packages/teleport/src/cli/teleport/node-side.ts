// The SSH service of this process: recorder, old sessions, log-ins, and its place among the cluster's nodes. Each
// step needs the one before it; nobody can log in before the last.
import { join } from 'node:path';
import type { ClusterSettingsDocument, NodeDocument } from '@sallyport/contracts/api/resources.ts';
import type { EventDraft } from '@sallyport/contracts/events/event.ts';
import { launcherBinary } from '@sallyport/kernel/binaries.ts';
import { pinProgram } from '@sallyport/kernel/pinned-program.ts';
import { staticHostUsers } from '../../auth/static-host-user.ts';
import { formatAddress } from '../../config/address.ts';
import type { Config } from '../../config/config.ts';
import { parseDuration } from '../../config/duration.ts';
import { RelayJudge } from '../../membership/relay-line.ts';
import type { TunnelPool } from '../../membership/tunnel-pool.ts';
import { DynamicLabels } from '../../ssh/dynamic-labels.ts';
import type { NodePolicy } from '../../ssh/grant.ts';
import { hostManners } from '../../ssh/host-manners.ts';
import { HostUsers } from '../../ssh/host-users/host-users.ts';
import type { KernelSide } from '../../ssh/kernel-watch.ts';
import { launch } from '../../ssh/launch.ts';
import { type Recovery, recoverSessions } from '../../ssh/recovery.ts';
import { type NodeFacts, serverBlock } from '../../ssh/session-facts.ts';
import { createSessionHost, type SessionHost, type SessionHostOptions } from '../../ssh/session-host.ts';
import { readBootId, readJournals } from '../../ssh/session-journal.ts';
import type { SessionRegistry } from '../../ssh/session-registry.ts';
import { defaultHoldMs } from '../../ssh/sharing/sharing.ts';
import { type SshNode, startSshNode } from '../../ssh/ssh-server.ts';
import { Admission } from './admission.ts';
import type { ClusterSide } from './cluster-side.ts';
import type { Diagnostics } from './diagnostics.ts';
import type { Generations } from './generation/generations.ts';
import { openNextDoor } from './generation/next-door.ts';
import type { Sockets } from './generation/sockets.ts';
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
  readonly sockets: Sockets;
  readonly generations: Generations;
  /** No other daemon of this host lives. */
  readonly alone: boolean;
}

export interface NodeSide {
  readonly ssh: SshNode;
  readonly recorderPid: number | undefined;
  readonly recovered: Promise<void>;
  /** Takes over the sessions of daemons of this host that died meanwhile. */
  recoverDead(): Promise<void>;
  /** Another daemon of this host is the node from now on; sessions that live stay. */
  retire(): Promise<void>;
  /** Leaves the cluster's list and its tunnels; sessions are the caller's to end before. */
  close(): Promise<void>;
}

type ClusterSettings = ClusterSettingsDocument['spec'];

/** From the start to the cluster's roles and locks, ms. */
const firstWatchMs = 5_000;
/** From the first dialling to a tunnel, ms; a proxy that is away must not hold up a reload for long. */
const firstTunnelMs = 10_000;

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
    const hostUsers = openHostUsers(options, (draft) => void host.emitLate(cluster.stamp, draft));
    closers.push(() => hostUsers.close());
    const hostOptions = {
      get node() {
        return nodeFacts(options);
      },
      clusterName: cluster.clusterName,
      audit: metrics.timed(cluster.audit),
      logDir: join(config.dataDir, 'log'),
      spoolDir: join(config.dataDir, 'spool'),
      bootId: await readBootId(),
      launcher: pinProgram(launcherBinary),
      manners: hostManners({
        pam: config.ssh.pam.enabled ? config.ssh.pam : undefined,
        userEnvironment: config.ssh.permitUserEnvironment,
        hostUsers: config.ssh.createHostUsers ? hostUsers : undefined,
        log,
      }),
      kernel: enhanced ? kernel : undefined,
      unrecorded: unrecordedPlace(config, cluster.member.hostUuid),
      launch,
      generation: options.generations.id,
      log,
    };
    const host = createSessionHost(hostOptions);
    closers.push(() => host.close());
    const recovery = await recoverDead(options, hostOptions, host, kernel);
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
    const nextDoor = await openNextDoor({ ...options, dataDir: config.dataDir });
    closers.push(() => nextDoor.close());
    const ssh = await startSshNode({
      ...(tunnelled(options) ? {} : { listen: config.ssh.listenAddr, bind: options.sockets.bind('ssh') }),
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
      neighbours: nextDoor.neighbours,
    });
    closers.push(registry.onOver(() => void hostUsers.tidy()));
    if (config.ssh.createHostUsers) closers.push(keepStaticUsers(options, hostUsers));
    void hostUsers.tidy();
    closers.push(known.onChange(() => ssh.policyChanged()));
    metrics.ssh(ssh, registry);
    closers.push(member.onChange(() => ssh.setHostKeys(member.hostKeys)));
    closers.push(endLocked(ssh, admission, known));
    const place = enterCluster(options, ssh);
    closers.push(() => place.close());
    const reports = cluster.membership.sessionReports(() => registry.reports());
    closers.push(registry.onChange((sid) => reports.changed(sid)));
    // Whoever is reached through tunnels only is there once one stands: the daemon before us still has its own.
    if (!options.alone) await place.reachable();
    return {
      ssh,
      get recorderPid() {
        return enhanced ? kernel.link.recorder?.hello.pid : undefined;
      },
      recovered: recovery.done,
      recoverDead: async () =>
        void (await recoverDead({ ...options, alone: false }, hostOptions, host, kernel)),
      retire: async () => {
        ssh.stopListening();
        await place.retire();
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What the cluster wants on hosts of our labels, now and whenever either changes. */
function keepStaticUsers(options: NodeSideOptions, hostUsers: HostUsers): () => void {
  const { cluster: known } = options.cluster.membership;
  const { measured, log } = options;
  let applied = '';
  const look = () => {
    if (!known.synced) return; // a list that was not heard yet is not an empty one
    const node = { labels: labelsOf(options), unknownLabels: measured?.now.unknown };
    const { wanted, ambiguous } = staticHostUsers(known.staticHostUsers, node);
    const now = JSON.stringify([wanted, ambiguous]);
    if (now === applied) return;
    applied = now;
    if (ambiguous.length > 0)
      log.warn(
        { names: ambiguous.join(' ') },
        'static host users with several matchers for this host are left out',
      );
    void hostUsers.applyStatic(wanted);
  };
  look();
  const stops = [known.onChange(look), measured?.onChange(look)];
  return () => {
    for (const stop of stops) stop?.();
  };
}

/** Beside those of the agent that records: its root_path need not be claimed for that. */
function unrecordedPlace({ ssh: { enhancedRecording } }: Config, hostUuid: string) {
  const { cgroupPath, rootPath } = enhancedRecording;
  return { cgroupPath, rootPath: join(rootPath, `unrecorded-${hostUuid}`) };
}

/** They go when no session of this host's daemons needs them: with the session's journal. */
function openHostUsers(options: NodeSideOptions, emit: (draft: EventDraft) => void): HostUsers {
  const { config, cluster, registry, log } = options;
  return new HostUsers({
    dataDir: config.dataDir,
    hostUuid: cluster.member.hostUuid,
    inUse: async () => {
      const { journals } = await readJournals(join(config.dataDir, 'spool'));
      return new Set([...journals.map(({ facts }) => facts), ...registry.list()].map(({ login }) => login));
    },
    audit: (draft) => emit({ ...draft, ...serverBlock(nodeFacts(options)) }),
    log,
  });
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

/** Where a node is found. */
interface Place {
  /** Resolves when it can be reached, or after a while. */
  reachable(): Promise<void>;
  retire(): Promise<void>;
  close(): Promise<void>;
}

/** Heartbeats; and tunnels, where this node is reached through proxies. */
function enterCluster(options: NodeSideOptions, ssh: SshNode): Place {
  const { config, cluster } = options;
  const { membership } = cluster;
  const heartbeat = membership.heartbeat(() => nodeDocument(options, ssh));
  options.measured?.onChange(() => heartbeat.beat());
  if (!tunnelled(options)) {
    return {
      reachable: async () => {},
      retire: () => heartbeat.close(),
      close: () => heartbeat.close(),
    };
  }
  const tunnels = membership.tunnels(config.upstream.addresses, (stream, remote) =>
    ssh.handle(stream, { remote }),
  );
  tunnels.onChange(() => heartbeat.beat());
  return {
    reachable: () => connected(tunnels),
    async retire() {
      tunnels.retire();
      await heartbeat.close();
    },
    async close() {
      await Promise.all([heartbeat.close(), tunnels.close()]);
    },
  };
}

function connected(tunnels: TunnelPool): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = () => tunnels.connected.length > 0 && resolve();
  const stop = tunnels.onChange(look);
  const timer = setTimeout(resolve, firstTunnelMs);
  look();
  return promise.finally(() => {
    clearTimeout(timer);
    stop();
  });
}

/**
 * Sessions of daemons of this host that are dead: at start, and when one beside us dies. What is still to be told of
 * them goes into the log they had.
 */
async function recoverDead(
  { cluster, registry, generations, alone, log }: NodeSideOptions,
  hostOptions: SessionHostOptions,
  own: SessionHost,
  kernel: KernelSide,
): Promise<Recovery> {
  const { isLiving } = generations;
  const done: Promise<void>[] = [];
  for (const box of await cluster.adoptLogs()) {
    const host = createSessionHost({ ...hostOptions, audit: box.audit });
    const ofBox = {
      isLiving: (generation: string | undefined) => generation !== box.generation,
      alone: false,
    };
    const recovery = await recoverSessions(host, kernel, registry, ofBox);
    done.push(recovery.done.then(() => box.release()));
    tellRecovered(recovery, log);
  }
  const recovery = await recoverSessions(own, kernel, registry, { isLiving, alone });
  tellRecovered(recovery, log);
  return { ...recovery, done: Promise.all([...done, recovery.done]).then(() => {}) };
}

function tellRecovered({ sessions, lingering }: Recovery, log: NodeSideOptions['log']): void {
  if (sessions > 0) log.info({ sessions, lingering }, 'interrupted sessions were taken over');
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
