// The proxy service of this process, and its place among the cluster's proxies.
import type { ProxyDocument } from '@sallyport/contracts/api/resources.ts';
import { formatAddress } from '../../config/address.ts';
import type { Address, Config } from '../../config/config.ts';
import { dialTcp } from '../../membership/dial.ts';
import { type RunningProxy, startProxy } from '../../proxy/start-proxy.ts';
import type { NodeLog } from '../../ssh/node-log.ts';
import type { ClusterSide } from './cluster-side.ts';
import type { Sockets } from './generation/sockets.ts';
import type { ServiceMetrics } from './metrics.ts';

export interface ProxySideOptions {
  readonly config: Config;
  readonly cluster: ClusterSide;
  readonly version: string;
  readonly log: NodeLog;
  readonly metrics: ServiceMetrics;
  readonly sockets: Sockets;
}

export interface ProxySide {
  readonly proxy: RunningProxy;
  /** Another daemon of this host is the proxy from now on; streams that stand stay. */
  retire(): Promise<void>;
  close(reason: string): Promise<void>;
}

export async function openProxySide(options: ProxySideOptions): Promise<ProxySide> {
  const { config, cluster, version, log, metrics, sockets } = options;
  const { membership, member, client, audit, auth } = cluster;
  const proxy = await startProxy({
    config,
    identity: member,
    api: client,
    cluster: membership.cluster,
    audit,
    log,
    version,
    now: () => new Date(),
    authTakesRelayLine: () => takesRelayLine(config, cluster),
    dialAuth: auth === undefined ? () => membership.dialAuth() : () => dialTcp(loopback(auth.address)),
    registry: metrics.registry,
    bind: (port) => sockets.bind(port),
  });
  const heartbeat = membership.heartbeat(() => proxyDocument(config, member.hostUuid, version, proxy));
  return {
    proxy,
    async retire() {
      proxy.retire();
      await heartbeat.close();
    },
    async close(reason) {
      proxy.stopListening();
      await heartbeat.close();
      await proxy.close(reason);
    },
  };
}

/** All of them: which one answers is settled by dialling. Through another proxy there is none to say it to. */
function takesRelayLine({ upstream }: Config, { auth, membership }: ClusterSide): boolean {
  const { authServers } = membership.cluster;
  const direct = auth !== undefined || upstream.kind === 'auth';
  return direct && authServers.length > 0 && authServers.every(({ spec }) => spec.takes_relay_line === true);
}

/** As clients and agents reach it: the public address where there is one, else where it listens. */
function proxyDocument(
  config: Config,
  hostUuid: string,
  version: string,
  { addresses }: RunningProxy,
): ProxyDocument {
  const [publicAddr] = config.proxy.publicAddrs;
  const publicHost = publicAddr?.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  const shown = ({ host, port }: Address) => {
    const any = host === '0.0.0.0' || host === '::';
    return formatAddress({ host: publicHost ?? config.advertiseIp ?? (any ? config.nodename : host), port });
  };
  return {
    kind: 'proxy',
    version: 'v2',
    metadata: { name: hostUuid },
    spec: {
      hostname: config.nodename,
      web_addr: publicAddr !== undefined && /:\d+$/.test(publicAddr) ? publicAddr : shown(addresses.web),
      ssh_addr: shown(addresses.ssh),
      tunnel_addr: shown(addresses.tunnel),
      version,
    },
  };
}

function loopback({ host, port }: Address): Address {
  if (host === '0.0.0.0') return { host: '127.0.0.1', port };
  return host === '::' ? { host: '::1', port } : { host, port };
}
