// The SSH server: listens, proves who holds which private key, hands over connections and their session channels.
// It decides nothing about identities: `authenticate` does, with a key whose possession has been proven.
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Address } from './connection.ts';
import { hostKeySigners } from './host-keys.ts';
import { REFUSED_AT_START, ServerConnection, type ServerContext } from './server-connection.ts';
import type {
  ConnectionSource,
  HostKey,
  Refusal,
  SshLimits,
  SshServer,
  SshServerOptions,
  SshServerStats,
} from './ssh-server.ts';
import { ready } from './ssh2-protocol.ts';
import { type StartupPlace, Startups } from './startups.ts';

export type * from './connection.ts';
export type * from './session-channel.ts';
export type * from './ssh-server.ts';

export const DEFAULT_LIMITS: SshLimits = {
  loginGraceTimeMs: 60_000,
  maxAuthTries: 6,
  maxStartups: { start: 100, ratePercent: 30, full: 1000 },
  perSourceStartups: { max: 64, ipv4Bits: 32, ipv6Bits: 64 },
  maxSessions: 10,
  maxChannels: 256,
  maxConnections: 10_000,
  rekeyBytes: 2 ** 30,
  rekeyIntervalMs: 3_600_000,
  keepaliveMs: 300_000,
  keepaliveTries: 3,
  idleMs: 0,
};

const TICK_MS = 1_000;
const NOWHERE: Address = { host: '', port: 0 };

function sourceOf(socket: Socket): ConnectionSource {
  return {
    remote: { host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 },
    local: { host: socket.localAddress ?? '', port: socket.localPort ?? 0 },
  };
}

const isCounted = (kind: string): kind is keyof typeof REFUSED_AT_START => kind in REFUSED_AT_START;

class RunningServer<Identity> implements SshServer {
  readonly listener: Server;
  readonly #context: ServerContext<Identity>;
  readonly #startups: Startups;
  readonly #connections = new Set<ServerConnection<Identity>>();
  readonly #ticker: NodeJS.Timeout;
  #accepted = 0;
  readonly #relays: boolean;
  readonly #refusals = { 'max-connections': 0, 'max-startups': 0, 'per-source-startups': 0 };
  #emptied: (() => void) | undefined;

  constructor(options: SshServerOptions<Identity>) {
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#relays = options.relayed !== undefined;
    this.#startups = new Startups(limits.maxStartups, limits.perSourceStartups);
    this.#context = {
      options,
      limits,
      signers: hostKeySigners(options.hostKeys),
      refused: (refusal) => this.#tell(refusal),
      gone: (connection) => this.#gone(connection),
    };
    this.listener = createServer((socket) => this.#take(socket, sourceOf(socket), this.#relays));
    this.#ticker = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  get address(): Address {
    const address = this.listener.address();
    if (address === null || typeof address === 'string') return { host: '', port: 0 };
    return { host: address.address, port: address.port };
  }

  get stats(): SshServerStats {
    return {
      connections: this.#connections.size,
      unauthenticated: this.#startups.count,
      accepted: this.#accepted,
      refusedBySource: this.#refusals['per-source-startups'],
      refusedByStartups: this.#refusals['max-startups'],
      refusedByConnections: this.#refusals['max-connections'],
    };
  }

  async listen(): Promise<void> {
    const { listen, bind = bindAddress } = this.#context.options;
    if (!listen) return;
    await bind(this.listener, listen);
    // Accepting can fail later too (out of file descriptors): not a reason to fall over.
    this.listener.on('error', (error) => this.#warn(error, 'listener error'));
  }

  setHostKeys(hostKeys: readonly HostKey[]): void {
    this.#context.signers = hostKeySigners(hostKeys);
  }

  async close(reason?: string): Promise<void> {
    if (this.listener.listening) this.listener.close();
    if (reason !== undefined) for (const connection of [...this.#connections]) connection.close(reason);
    if (this.#connections.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#emptied = resolve;
      await promise;
    }
    clearInterval(this.#ticker);
  }

  #warn(error: unknown, message: string): void {
    this.#context.options.log?.warn({ error: String(error) }, message);
  }

  #tell(refusal: Refusal): void {
    if (isCounted(refusal.kind)) this.#refusals[refusal.kind]++;
    try {
      this.#context.options.onRefused?.(refusal);
    } catch (error) {
      this.#warn(error, 'onRefused failed');
    }
  }

  handle(stream: Duplex, source: ConnectionSource): void {
    this.#take(stream, source, false);
  }

  #take(stream: Duplex, source: ConnectionSource, relays: boolean): void {
    this.#accepted++;
    const place = this.#admit(source, relays);
    if (typeof place !== 'string') {
      this.#connections.add(new ServerConnection(stream, source, this.#context, { place, relays }));
      return;
    }
    const { remote, local = NOWHERE } = source;
    this.#tell({ kind: place, reason: REFUSED_AT_START[place], remote, local });
    stream.on('error', () => {});
    stream.destroy();
  }

  /** Why not; or the place it has until it has logged in or left. */
  #admit(source: ConnectionSource, relays: boolean): keyof typeof REFUSED_AT_START | StartupPlace {
    if (this.#connections.size >= this.#context.limits.maxConnections) return 'max-connections';
    return this.#startups.enter(source.remote.host, { relays });
  }

  #gone(connection: ServerConnection<Identity>): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#emptied?.();
  }

  #tick(): void {
    const now = performance.now();
    for (const connection of this.#connections) connection.tick(now);
  }
}

function bindAddress(server: Server, { host, port }: Address): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ host, port, backlog: 1024 }, () => {
    server.removeListener('error', reject);
    resolve();
  });
  return promise;
}

/** Resolves when listening; rejects when a host key is unfit or the address is taken. */
export async function startSshServer<Identity>(options: SshServerOptions<Identity>): Promise<SshServer> {
  await ready;
  const server = new RunningServer(options);
  await server.listen();
  return server;
}
