// This host's place in its cluster, whatever it runs: the audit log its events go to, who it is, how it calls auth
// and what it knows of the others. With auth in this process the log is the cluster's own; elsewhere it is an outbox.
import { readFile } from 'node:fs/promises';
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import type { ResourceDocumentKind } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { AuditLog } from '../../audit/audit-log.ts';
import { openAuditLog } from '../../audit/open-audit-log.ts';
import { Outbox } from '../../audit/outbox.ts';
import { OutboxBoxes } from '../../audit/outbox-boxes.ts';
import { drainOutbox } from '../../audit/outbox-drain.ts';
import { EventStamp } from '../../audit/session-emitter.ts';
import { type HostKeys, openHostKeys } from '../../ca/host-keys.ts';
import type { Config } from '../../config/config.ts';
import type { HostMember } from '../../membership/host-member.ts';
import { becomeMember } from '../../membership/join-cluster.ts';
import { type Membership, startMembership } from '../../membership/membership.ts';
import type { NodeLog } from '../../ssh/node-log.ts';
import { authServerDocument, warnOfLogsApart, warnOfOtherSettings } from './auth-presence.ts';
import { type AuthSide, openAuthSide, rolesOf } from './auth-side.ts';
import { AdoptedBox, type AdoptedLog } from './generation/adopted-box.ts';
import type { Generations } from './generation/generations.ts';
import type { Predecessor } from './generation/predecessor.ts';
import type { Sockets } from './generation/sockets.ts';
import { hostNames } from './host-names.ts';
import type { ServiceMetrics } from './metrics.ts';

export interface ClusterSideOptions {
  readonly config: Config;
  readonly hostUuid: string;
  readonly version: string;
  readonly log: NodeLog;
  readonly metrics: ServiceMetrics;
  readonly sockets: Sockets;
  readonly predecessor: Predecessor | undefined;
  readonly generations: Generations;
  /** No other daemon of this host lives. */
  readonly alone: boolean;
  /** Ends the waiting for a cluster that cannot be joined yet. */
  readonly signal: AbortSignal;
}

export interface ClusterSide {
  readonly clusterName: string;
  readonly audit: AuditLog;
  /** Logs of daemons that died and could not send all of theirs: what is still to be told of their sessions goes there. */
  adoptLogs(): Promise<readonly AdoptedLog[]>;
  readonly stamp: EventStamp;
  readonly membership: Membership;
  readonly member: HostMember;
  readonly client: Client<AuthRoutes>;
  /** undefined: auth is elsewhere. */
  readonly auth: AuthSide | undefined;
  /** Why the databases of the auth service cannot be used just now; undefined: they can, or auth is elsewhere. */
  problem(): string | undefined;
  close(): Promise<void>;
}

type Closers = (() => unknown)[];

/** A node decides by roles and locks; a proxy finds nodes, too. */
const watchedKinds: Readonly<Record<'node' | 'proxy', readonly ResourceDocumentKind[]>> = {
  node: ['role', 'lock', 'proxy', 'auth_server', 'cert_authority', 'cluster_settings', 'static_host_user'],
  proxy: ['role', 'lock', 'node', 'proxy', 'auth_server', 'cert_authority', 'cluster_settings'],
};

export async function openCluster(options: ClusterSideOptions): Promise<ClusterSide> {
  const closers: Closers = [];
  const close = async () => {
    for (const each of closers.splice(0).reverse()) await each();
  };
  try {
    const keys = await openHostKeys(options.config.dataDir);
    const side = options.config.auth.enabled
      ? await ofAuthHost(options, keys, closers)
      : await ofMember(options, keys, closers);
    return { ...side, member: side.membership.member, client: side.membership.client, close };
  } catch (error) {
    await close();
    throw error;
  }
}

type Side = Pick<
  ClusterSide,
  'clusterName' | 'audit' | 'adoptLogs' | 'stamp' | 'membership' | 'auth' | 'problem'
>;

async function ofAuthHost(options: ClusterSideOptions, keys: HostKeys, closers: Closers): Promise<Side> {
  const { config, hostUuid, log, metrics } = options;
  const { clusterName } = config.auth;
  // While another daemon of this host writes to it, what looks torn may be that one's write on its way.
  const secondary = !options.alone;
  const opened = await openAuditLog(config, {
    hostUuid,
    secondary,
    observe: metrics.databases.observer('audit'),
    onDropped: (where, days) => log.info({ where, days }, 'days of the audit log are past retention_period'),
  });
  metrics.databases.audit(opened);
  const { log: audit, file, pages, positioned } = opened;
  closers.push(() => audit.close());
  if (file !== undefined) metrics.audit(file);
  for (const torn of file?.torn ?? []) log.warn({ ...torn }, 'a torn end of the audit log was moved aside');
  log.info({ cluster: clusterName, host: hostUuid, log: opened.places.join(', ') }, 'the audit log is open');
  const stamp = new EventStamp({ clusterName });
  const principals = hostNames(config);
  const auth = await openAuthSide({ ...options, keys, principals, audit, pages, positioned, stamp });
  closers.push(() => auth.close());
  const caller = { kind: 'host', hostUuid, roles: rolesOf(config) } as const;
  const upstream = { transport: auth.core.transportAs(caller) };
  const membership = await enter(options, auth.member, upstream, closers);
  const facts = { ...options, address: auth.address, settingsDigest: auth.core.service.settingsDigest };
  const beats = membership.heartbeat(() => authServerDocument(facts));
  closers.push(() => beats.close());
  closers.push(warnOfOtherSettings(membership.cluster, facts, log));
  if (positioned === undefined) closers.push(warnOfLogsApart(membership.cluster, facts, log));
  const problem = () => auth.problem() ?? opened.problem();
  // One log for all daemons of this host: nothing to adopt.
  return { clusterName, audit, adoptLogs: async () => [], stamp, membership, auth, problem };
}

async function ofMember(options: ClusterSideOptions, keys: HostKeys, closers: Closers): Promise<Side> {
  const { config, log } = options;
  // Before anything is heard of the cluster: what a daemon before us left to be sent is safe there.
  const { generations } = options;
  const boxes = await OutboxBoxes.open({
    dataDir: config.dataDir,
    generation: generations.id,
    isLiving: generations.isLiving,
  });
  const outbox = await Outbox.open({ dir: boxes.own });
  closers.push(() => outbox.close());
  const member = await join_(options, keys);
  const clusterName = member.trust.cluster_name;
  const membership = await enter(options, member, config.upstream, closers);
  closers.push(sendEvents(outbox, membership.client, log));
  options.metrics.outbox(outbox);
  log.info({ cluster: clusterName, host: options.hostUuid }, 'member of the cluster');
  const adopted = new Set<AdoptedBox>();
  closers.push(async () => await Promise.all([...adopted].map((box) => box.close())));
  const adoptLogs = () =>
    boxes.adopt(async (left) => {
      const box = await AdoptedBox.open(left, (each) => sendEvents(each, membership.client, log));
      adopted.add(box);
      void box.gone.then(() => adopted.delete(box));
      log.info(
        { events: box.audit.stats.heldEvents },
        'the events that a daemon before this one left are sent',
      );
      return box;
    });
  return {
    clusterName,
    audit: outbox,
    adoptLogs,
    stamp: new EventStamp({ clusterName }),
    membership,
    auth: undefined,
    problem: () => undefined,
  };
}

/** Until it is told to stop; what is not sent by then is sent by the next daemon. */
function sendEvents(outbox: Outbox, client: Client<AuthRoutes>, log: NodeLog): () => Promise<void> {
  const ending = new AbortController();
  const draining = drainOutbox(
    outbox,
    (batch, signal) => client.emitEvents({ body: { ...batch } }, { signal }),
    {
      signal: ending.signal,
      onRetry: ({ message }, held) =>
        log.warn({ problem: message, held }, 'events wait for the auth service'),
      onRenewed: (reason) => log.warn({ reason }, 'the stream of events was begun anew'),
    },
  );
  return async () => {
    ending.abort();
    await draining;
  };
}

async function enter(
  options: ClusterSideOptions,
  member: HostMember,
  upstream: Parameters<typeof startMembership>[0]['upstream'],
  closers: Closers,
): Promise<Membership> {
  const { config, version, log } = options;
  const membership = await startMembership({
    dataDir: config.dataDir,
    member,
    upstream,
    kinds: watchedKinds[config.proxy.enabled ? 'proxy' : 'node'],
    principals: () => hostNames(config),
    version,
    now: () => new Date(),
    log,
  });
  closers.push(() => membership.close());
  return membership;
}

async function join_({ config, hostUuid, version, log, signal }: ClusterSideOptions, keys: HostKeys) {
  const { addresses } = config.upstream;
  if (addresses.length === 0) {
    throw new AppError(
      'bad_input',
      'start.no_upstream',
      'The auth service is off here, and no other is named.',
      {
        hint: 'Set teleport.auth_server or teleport.proxy_server (--auth-server), or auth_service.enabled: true.',
      },
    );
  }
  return becomeMember({
    dataDir: config.dataDir,
    keys,
    hostUuid,
    nodename: config.nodename,
    roles: rolesOf(config),
    principals: hostNames(config),
    addresses,
    token: await tokenOf(config),
    pins: config.caPins,
    version,
    now: () => new Date(),
    log,
    signal,
  });
}

/** As documented: the token itself, or the path of a file that holds it. */
async function tokenOf({ join: joining }: Config): Promise<string | undefined> {
  const token = joining?.token;
  if (token?.startsWith('/') !== true) return token;
  try {
    return (await readFile(token, 'utf8')).trim();
  } catch (cause) {
    throw new AppError('not_found', 'start.token_file', `The join token cannot be read from ${token}.`, {
      cause,
    });
  }
}
