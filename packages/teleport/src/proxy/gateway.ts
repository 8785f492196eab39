// The SSH gateway: users come in with their certificate and are given a byte stream to a node's SSH port, nothing else.
// What flows there is SSH again, encrypted between the user and the node; the gateway cannot read it. Whether the user
// may log in on the node is the node's decision.
import type { Duplex } from 'node:stream';
import { lockedOut } from '@sallyport/contracts/api/lock.ts';
import type { NodeDocument } from '@sallyport/contracts/api/resources.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { formatAddress } from '../config/address.ts';
import type { ChannelRefusal, EventualChannelAnswer } from '../ssh-transport/connection.ts';
import { startSshServer } from '../ssh-transport/server.ts';
import type { ConnectionHandler, Refusal, SshConnection, SshServer } from '../ssh-transport/ssh-server.ts';
import type { ClusterTrust } from './cluster-trust.ts';
import { GatewaySession } from './gateway-session.ts';
import { type GatewayUser, judgeUser } from './gateway-user.ts';
import type { NodeDialer } from './node-dialer.ts';
import { resolveNode, type Target } from './node-directory.ts';
import type { ProxyLimits, ProxyOptions } from './proxy.ts';
import { Quota } from './quota.ts';
import { connectionBlock, type ProxyEvent, serverBlock } from './refused-log-in.ts';
import { splice } from './splice.ts';

export interface GatewayMeter {
  /** How a request for a node ended. */
  dialled(outcome: 'ok' | 'refused' | 'failed', seconds: number): void;
  streams(change: 1 | -1): void;
  moved(bytes: number): void;
}

export interface GatewayOptions {
  readonly proxy: ProxyOptions;
  readonly trust: ClusterTrust;
  readonly dialer: NodeDialer;
  readonly limits: ProxyLimits;
  readonly event: ProxyEvent;
  readonly refused: (refusal: Refusal) => void;
  readonly meter: GatewayMeter;
}

type Connection = SshConnection<GatewayUser>;

/** A connection without any stream is of no use to anybody. */
const idleMs = 10 * 60_000;
const keepaliveMs = 60_000;

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #perUser: Quota;
  readonly #connections = new Set<Connection>();
  #server: SshServer | undefined;

  private constructor(options: GatewayOptions) {
    this.#options = options;
    this.#perUser = new Quota(options.limits.maxConnectionsPerUser);
  }

  static async start(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options);
    gateway.#server = await gateway.#listen();
    return gateway;
  }

  get server(): SshServer {
    if (this.#server === undefined) throw new AppError('internal', 'proxy.not_started', 'Not started.');
    return this.#server;
  }

  /** Ends the connections of users that were locked meanwhile. */
  sweep(): void {
    const { cluster, now } = this.#options.proxy;
    for (const connection of [...this.#connections]) {
      const locked = lockedOut(connection.identity, cluster.locks, now());
      if (locked !== undefined) this.#disconnect(connection, locked);
    }
  }

  #listen(): Promise<SshServer> {
    const { proxy, limits, refused, trust } = this.#options;
    return startSshServer<GatewayUser>({
      listen: proxy.config.proxy.listenAddr,
      bind: proxy.bind?.('proxy-ssh'),
      hostKeys: proxy.identity.hostKeys,
      version: `Sallyport-${proxy.version}`,
      limits: {
        maxConnections: limits.maxConnections,
        maxSessions: limits.maxStreamsPerConnection,
        maxChannels: limits.maxStreamsPerConnection,
        keepaliveMs,
        idleMs,
      },
      accepts: (query) => query.algorithm.endsWith('-cert-v01@openssh.com'),
      authenticate: async (attempt) => judgeUser(proxy, trust, attempt),
      onConnection: (connection) => this.#connected(connection),
      onRefused: refused,
      log: proxy.log,
    });
  }

  #connected(connection: Connection): ConnectionHandler {
    const { user } = connection.identity;
    const place = this.#perUser.take(user);
    if (place === undefined) {
      this.#disconnect(connection, `user ${user} has too many connections to this proxy`);
      return {};
    }
    this.#connections.add(connection);
    void connection.closed.then(() => {
      place();
      this.#connections.delete(connection);
    });
    const { log } = this.#options.proxy;
    log.debug({ user, remote: formatAddress(connection.remote) }, 'a user connected to the gateway');
    return {
      directTcpip: ({ destination }) => this.#forward(connection, destination),
      session: ({ channel }) =>
        new GatewaySession(channel, {
          clusterName: this.#options.proxy.cluster.trust.cluster_name,
          dial: (target) => this.#dial(connection, target),
          join: (near, far, node) => void this.#join(connection, near, far, node),
        }),
    };
  }

  #forward(connection: Connection, target: Target): EventualChannelAnswer {
    return this.#dial(connection, target).then(
      ({ stream, node }) => ({
        accept: (channel: Duplex) => void this.#join(connection, channel, stream, node),
      }),
      (error: unknown): ChannelRefusal => {
        const { kind, message } = AppError.from(error);
        return { refuse: kind === 'unavailable' ? 'connect-failed' : 'prohibited', text: message };
      },
    );
  }

  /** Rejects with an AppError whose message may be shown to the user. */
  async #dial(connection: Connection, target: Target): Promise<{ stream: Duplex; node: NodeDocument }> {
    const { proxy, dialer, meter } = this.#options;
    const { user } = connection.identity;
    const started = performance.now();
    let outcome: 'ok' | 'refused' | 'failed' = 'refused';
    try {
      const node = this.#permitted(connection, target);
      outcome = 'failed';
      const stream = await dialer.dial(node, connection.remote);
      outcome = 'ok';
      return { stream, node };
    } catch (error) {
      const { message } = AppError.from(error);
      proxy.log.info(
        { user, target: `${target.host}:${target.port}`, reason: message },
        'no stream to a node',
      );
      throw error;
    } finally {
      meter.dialled(outcome, (performance.now() - started) / 1_000);
    }
  }

  /** Everything may have changed since the log-in: a connection lives for days. */
  #permitted({ identity }: Connection, target: Target): NodeDocument {
    const { cluster, now } = this.#options.proxy;
    const locked = lockedOut(identity, cluster.locks, now());
    if (locked !== undefined) throw new AppError('denied', 'proxy.locked', `${locked}.`);
    if (identity.validBefore !== undefined && identity.validBefore <= now()) {
      throw new AppError('denied', 'proxy.certificate_expired', 'Your certificate has expired.', {
        hint: 'Log in again with `tsh login`.',
      });
    }
    const resolution = resolveNode(target, cluster.nodes, cluster.trust.cluster_name);
    if (!resolution.ok) throw new AppError('not_found', 'proxy.no_node', `${resolution.text}.`);
    const { metadata, spec } = resolution.node;
    const lockedNode = lockedOut({ hostUuid: metadata.name, hostname: spec.hostname }, cluster.locks, now());
    if (lockedNode !== undefined) throw new AppError('denied', 'proxy.locked', `${lockedNode}.`);
    return resolution.node;
  }

  async #join(connection: Connection, near: Duplex, far: Duplex, node: NodeDocument): Promise<void> {
    const { proxy, meter, limits } = this.#options;
    meter.streams(1);
    const { bytesAToB, bytesBToA, reason } = await splice(near, far, {
      idleMs: limits.spliceIdleMs,
      moved: (bytes) => meter.moved(bytes),
    });
    meter.streams(-1);
    const { user } = connection.identity;
    proxy.log.debug(
      { user, node: node.metadata.name, sent: bytesAToB, received: bytesBToA, reason },
      'a stream ended',
    );
  }

  #disconnect(connection: Connection, reason: string): void {
    const { proxy, event } = this.#options;
    const { user, roles } = connection.identity;
    event({
      event: 'client.disconnect',
      code: 'T3006I',
      user,
      user_roles: [...roles],
      ...connectionBlock(connection),
      ...serverBlock(proxy),
      reason,
    });
    connection.close(reason);
  }
}
