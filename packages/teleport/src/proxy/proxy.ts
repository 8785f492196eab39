// The proxy's interface; start-proxy.ts starts one. Types only.
//
// A proxy holds no state of the cluster: everything it knows comes from the identity, the view and the API handed in
// here, and any number of proxies stand side by side. Its own `proxy` resource is written by whoever composes it.
import type { Duplex } from 'node:stream';
import type { AuthRoutes, Trust } from '@sallyport/contracts/api/auth-routes.ts';
import type { Client } from '@sallyport/contracts/api/client.ts';
import type { LockDocument, NodeDocument, ProxyDocument } from '@sallyport/contracts/api/resources.ts';
import type { Registry } from 'prom-client';
import type { AuditLog } from '../audit/audit-log.ts';
import type { Address, Config } from '../config/config.ts';
import type { Bind, HostKey } from '../ssh-transport/ssh-server.ts';

/** PEM, as node:tls takes it. */
export interface TlsKeyPair {
  readonly key: string | Buffer;
  /** The leaf first, then what leads to its CA. */
  readonly cert: string | Buffer;
}

/** Who this proxy is. The properties are read again after each `onChange`: a renewed or rotated identity needs no restart. */
export interface ProxyIdentity {
  readonly hostUuid: string;
  /** Host key with its host certificate, whose principals hold every name and address clients dial this proxy by. */
  readonly hostKeys: readonly HostKey[];
  /** Leaf under the host CA; its DNS and IP SANs are the same names, for browsers and curl. */
  readonly tls: TlsKeyPair;
  onChange(listener: () => void): () => void;
}

/** What the proxy must know of the cluster at any moment, auth reachable or not. A cache that watches implements it. */
export interface ClusterView {
  readonly trust: Trust;
  readonly nodes: readonly NodeDocument[];
  readonly proxies: readonly ProxyDocument[];
  readonly locks: readonly LockDocument[];
  /** False until the first full state was read (from auth, or from what an earlier run kept). */
  readonly synced: boolean;
  /** Something of the above is different now. */
  onChange(listener: () => void): () => void;
}

/** pino fits. */
export interface ProxyLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface ProxyLimits {
  /** TCP connections of the web port in all. Default 10,000, or the configuration's max_connections. */
  readonly maxConnections: number;
  /** Connections of one address whose ClientHello is still awaited. Default 64. */
  readonly maxPendingPerAddress: number;
  /** From accept to a complete ClientHello. Default 10 s. */
  readonly helloTimeoutMs: number;
  /** Connections through the gateway of one user. Default the configuration's max_users, 250. */
  readonly maxConnectionsPerUser: number;
  /** Forwarded streams in one gateway connection. Default 64. */
  readonly maxStreamsPerConnection: number;
  /** Agents connected at once. Default 5,000. */
  readonly maxAgents: number;
  /** From asking for a node to a byte stream. Default 10 s. */
  readonly dialTimeoutMs: number;
  /** A spliced stream that moves nothing in either direction for so long is ended. Default 0: never (SSH has keepalives). */
  readonly spliceIdleMs: number;
  /** Requests of one address in a minute: to any endpoint, and to those that check secrets. Defaults 600 and 30. */
  readonly requestsPerMinute: number;
  readonly attemptsPerMinute: number;
}

export interface ProxyOptions {
  readonly config: Config;
  readonly identity: ProxyIdentity;
  /** To auth, as a host of role proxy. */
  readonly api: Client<AuthRoutes>;
  readonly cluster: ClusterView;
  /** Usually an outbox. Refused log-ins go there; the service log gets everything else. */
  readonly audit: Pick<AuditLog, 'append'>;
  readonly log: ProxyLog;
  /** Of this program, `1.2.3`. */
  readonly version: string;
  readonly now: () => Date;
  /** A new raw TCP connection to some auth server, for streams that are TLS between their ends. */
  dialAuth(): Promise<Duplex>;
  /** Whoever answers there believes a signed line about whose connection it is. Default: no. */
  readonly authTakesRelayLine?: () => boolean;
  readonly limits?: Partial<ProxyLimits>;
  /** How each port comes to listen; default: its address is bound. */
  readonly bind?: (port: 'proxy-web' | 'proxy-ssh' | 'proxy-tunnel') => Bind;
  /** Metrics are registered here; default a registry of its own. */
  readonly registry?: Registry;
}

export interface ConnectedAgent {
  readonly hostUuid: string;
  readonly remote: Address;
  readonly since: Date;
  /** Streams open through it. */
  readonly streams: number;
}

export interface Readiness {
  readonly ready: boolean;
  /** One sentence for each reason not to be. */
  readonly problems: readonly string[];
}

export interface RunningProxy {
  /** As bound (port 0 in the configuration takes any). */
  readonly addresses: { readonly web: Address; readonly ssh: Address; readonly tunnel: Address };
  readonly agents: readonly ConnectedAgent[];
  readonly registry: Registry;
  readiness(): Readiness;
  /** Accepts nobody any more; the living stay. */
  stopListening(): void;
  /**
   * Another process serves these ports from now on: accepts nobody, tells agents to dial anew, lets go of connections
   * that lose nothing by it. What people do through this one stays, as long as `streams` counts it.
   */
  retire(): void;
  /** People's connections through the gateway, and streams to nodes. */
  readonly streams: number;
  /** Ends every connection. */
  close(reason: string): Promise<void>;
}
