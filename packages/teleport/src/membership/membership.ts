// A host's life as a member of its cluster, joined from its parts: who it is, the API client, what it knows, renewal.
// Heartbeats and tunnels are started by the services that need them.
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { type AuthRoutes, authRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { type Client, createClient, type Transport } from '@sallyport/contracts/api/client.ts';
import type { ResourceDocumentKind } from '@sallyport/contracts/api/resources.ts';
import { formatAddress, parseAddress } from '../config/address.ts';
import type { Address } from '../config/config.ts';
import { ClusterCache } from './cluster-cache.ts';
import { dialAny } from './dial.ts';
import { type Heartbeat, type HeartbeatOptions, startHeartbeat } from './heartbeat.ts';
import type { HostMember } from './host-member.ts';
import { versionHeader } from './join-cluster.ts';
import type { MembershipLog } from './membership-log.ts';
import { keepRenewed, type Renewal } from './renewal.ts';
import { SessionReports, type SessionReportsOptions } from './session-reports.ts';
import { SilentServers } from './silent-servers.ts';
import { type MemberTransport, tlsTransport } from './transport.ts';
import type { TakeStream } from './tunnel-agent.ts';
import { startTunnelPool, type TunnelPool } from './tunnel-pool.ts';

export interface MembershipOptions {
  readonly dataDir: string;
  readonly member: HostMember;
  /**
   * Auth servers, or the web port of proxies. Or, where auth runs in this process, its transport (asked to check the
   * caller as the wire would).
   */
  readonly upstream: AddressUpstream | { readonly transport: Transport };
  readonly kinds: readonly ResourceDocumentKind[];
  readonly principals: () => readonly string[];
  readonly version: string;
  readonly now: () => Date;
  readonly log: MembershipLog;
}

/** As configured; those the cluster tells of are tried after them. */
export interface AddressUpstream {
  readonly kind: 'auth' | 'proxy';
  readonly addresses: readonly Address[];
}

export interface Membership {
  readonly member: HostMember;
  readonly client: Client<AuthRoutes>;
  readonly cluster: ClusterCache;
  readonly renewal: Renewal;
  /** A raw TCP connection to an upstream address that answers, for a proxy to pass TLS through. */
  dialAuth(): Promise<Duplex>;
  heartbeat(document: HeartbeatOptions['document']): Heartbeat;
  sessionReports(live: SessionReportsOptions['live']): SessionReports;
  /** To the configured proxies and all that the cluster tells of. */
  tunnels(configured: readonly Address[], take: TakeStream): TunnelPool;
  /**
   * Another process of this host has its place from now on: that one renews and keeps files. What is heard of the
   * cluster is still served here.
   */
  retire(): Promise<void>;
  close(): Promise<void>;
}

/** Resolves at once, auth reachable or not; `cluster.synced` says whether anything is known yet. */
export async function startMembership(options: MembershipOptions): Promise<Membership> {
  const { member, upstream, version, now, log } = options;
  let known: ClusterCache | undefined;
  const addresses = () => ('addresses' in upstream ? upstreamAddresses(upstream, known) : []);
  const silent = new SilentServers();
  const own = 'addresses' in upstream ? memberTransport(member, addresses, silent) : undefined;
  const transport = 'transport' in upstream ? upstream.transport : own;
  if (transport === undefined) throw new Error('an upstream has addresses or a transport');
  const client = createClient(authRoutes, transport, { [versionHeader]: version });
  const cluster = await ClusterCache.start({
    client,
    kinds: options.kinds,
    path: join(options.dataDir, 'cluster-cache.json'),
    trust: member.trust,
    now,
    log,
  });
  known = cluster;
  const renewal = keepRenewed({ member, client, cluster, principals: options.principals, version, now, log });
  const stop = onNewCertificate(member, () => {
    own?.renew();
    cluster.reconnect();
  });
  const dial = dialAny(addresses, undefined, silent);
  const running = new Set<{ close(): Promise<void> }>();
  const kept = <T extends { close(): Promise<void> }>(part: T): T => {
    running.add(part);
    return part;
  };
  return {
    member,
    client,
    cluster,
    renewal,
    dialAuth: dial,
    sessionReports: (live) => kept(new SessionReports({ client, live, log })),
    heartbeat: (document) => kept(startHeartbeat({ client, document, now, log })),
    tunnels: (configured, take) => kept(startTunnelPool({ member, cluster, configured, take, now, log })),
    async retire() {
      member.stopKeeping();
      cluster.stopKeeping();
      await renewal.close();
      // What renewal did beside: whoever signs the auth servers of tomorrow is trusted here, too.
      cluster.onChange(() => void member.replaceTrust(cluster.trust));
    },
    async close() {
      stop();
      await Promise.all([...running, renewal, cluster].map((part) => part.close()));
      own?.close();
    },
  };
}

/** Configured first; then, of those the cluster knows of, the same kind: one of them may be all that is left. */
export function upstreamAddresses(
  { kind, addresses }: AddressUpstream,
  cluster: Pick<ClusterCache, 'authServers' | 'proxies'> | undefined,
): Address[] {
  const told =
    kind === 'auth'
      ? (cluster?.authServers ?? []).map(({ spec }) => parseAddress(spec.addr, authPort))
      : (cluster?.proxies ?? []).map(({ spec }) => parseAddress(spec.web_addr, webPort));
  const all = [...addresses, ...told.filter((address) => address !== undefined)];
  return [...new Map(all.map((address) => [formatAddress(address), address])).values()];
}

const authPort = 3025;
const webPort = 3080;

/** Calls as this host, with the certificate and the trust of the moment. */
export function memberTransport(
  member: HostMember,
  addresses: readonly Address[] | (() => readonly Address[]),
  silent?: SilentServers,
): MemberTransport {
  const shared = silent === undefined ? {} : { silent };
  return tlsTransport({ addresses, identity: () => member.tls, trust: () => member.trust, ...shared });
}

/** Not for trust alone: connections that stand are as good as before. */
function onNewCertificate(member: HostMember, listener: () => void): () => void {
  let { cert } = member.tls;
  return member.onChange(() => {
    const before = cert;
    cert = member.tls.cert;
    if (cert !== before) listener();
  });
}
