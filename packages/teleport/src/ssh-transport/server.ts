// The SSH server: listens, proves who holds which private key, hands over connections and their session channels.
// It decides nothing about identities: `authenticate` does, with a key whose possession has been proven.
import { createServer, type Server, type Socket } from 'node:net';
import { hostKeySigners } from './host-keys.ts';
import { ServerConnection, type ServerContext } from './server-connection.ts';
import type { SessionChannel, SessionHandler } from './session-channel.ts';
import { ready } from './ssh2-protocol.ts';
import { Startups } from './startups.ts';

export interface HostKey {
  /** PKCS#8 PEM or OpenSSH private key text, not encrypted. ed25519, ecdsa nistp256/384, rsa (>= 2048 bits). */
  readonly privateKey: string | Buffer;
  /** SSH wire blob of a host certificate for this key; the plain key is offered as well. */
  readonly certificate?: Buffer;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** sshd's `start:rate:full`: from `start` unauthenticated connections on, refuse `rate` percent, all from `full`. */
export interface MaxStartups {
  readonly start: number;
  readonly ratePercent: number;
  readonly full: number;
}

export interface SshLimits {
  /** From accept to authenticated. Default 60 s. */
  readonly loginGraceTimeMs: number;
  /** Failed log-in attempts in a connection (the initial `none` is free). Default 6. */
  readonly maxAuthTries: number;
  /** Default 100:30:1000. */
  readonly maxStartups: MaxStartups;
  /** Open session channels in a connection. Default 10. */
  readonly maxSessions: number;
  /** Connections of this server in all, authenticated or not. Default 10,000. */
  readonly maxConnections: number;
  /** New keys after so many bytes in either direction. Default 1 GiB (RFC 4253 section 9). */
  readonly rekeyBytes: number;
  /** New keys after this time. Default 1 h. */
  readonly rekeyIntervalMs: number;
  /** A connection with nothing received for so long is asked for a sign of life... Default 5 min; 0 = never. */
  readonly keepaliveMs: number;
  /** ...and closed when this many questions stay unanswered. Default 3. */
  readonly keepaliveTries: number;
  /** No channel open for so long: closed. Default 0 = never. */
  readonly idleMs: number;
}

/** What a client claims before it has proven anything (a query without signature, RFC 4252 section 7). */
export interface KeyQuery {
  readonly login: string;
  /** Signature algorithm name, e.g. `ssh-ed25519-cert-v01@openssh.com`, `rsa-sha2-512`. */
  readonly algorithm: string;
  /** The public key or certificate, SSH wire format, as sent. */
  readonly blob: Buffer;
  readonly remote: Address;
  readonly local: Address;
}

/** The same, after the transport verified the client's signature over this session with the key in `blob`. */
export interface AuthAttempt extends KeyQuery {
  /** The plain public key blob inside the certificate, or `blob` itself. */
  readonly publicKey: Buffer;
  readonly clientVersion: string;
}

export type AuthDecision<Identity> =
  | { readonly ok: true; readonly identity: Identity }
  /** The reason goes to `onRefused`, never to the client. */
  | { readonly ok: false; readonly reason: string };

export type RefusalKind =
  | 'max-startups' // closed before the version exchange
  | 'max-connections'
  | 'login-grace-time'
  | 'max-auth-tries'
  | 'bad-signature' // somebody showed a key or certificate whose private key they could not use
  | 'denied' // `authenticate` said no
  | 'no-credentials' // left without ever offering a key
  | 'protocol'; // broke the protocol before being authenticated

export interface Refusal {
  readonly kind: RefusalKind;
  /** For logs and audit; safe to show to operators. */
  readonly reason: string;
  readonly remote: Address;
  readonly local: Address;
  /** Present when the client had named a login. As sent: untrusted text of at most 256 bytes. */
  readonly login?: string;
  readonly algorithm?: string;
  readonly blob?: Buffer;
}

export interface TransportLog {
  debug(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
}

export interface SessionOpening {
  readonly channel: SessionChannel;
}

/** Channels and requests other than sessions. A missing method refuses with "administratively prohibited". */
export interface ConnectionHandler {
  /** Called for each session channel, before any of its requests. Return the object that answers them. */
  session(opening: SessionOpening): SessionHandler;
}

export interface SshConnection<Identity> {
  /** Unique in this process. */
  readonly id: number;
  readonly identity: Identity;
  readonly login: string;
  readonly remote: Address;
  readonly local: Address;
  /** The client's identification string, e.g. `SSH-2.0-OpenSSH_9.2p1 Debian-2`. A claim, but printable. */
  readonly clientVersion: string;
  /** Open session channels. */
  readonly sessions: number;
  /** Sends DISCONNECT (by application) with this text and closes; all channels close. */
  close(reason: string): void;
  /** Resolves with why it ended, once every channel's `closed()` has been called. Never rejects. */
  readonly closed: Promise<string>;
}

export interface SshServerOptions<Identity> {
  readonly listen: Address;
  readonly hostKeys: readonly HostKey[];
  readonly limits?: Partial<SshLimits>;
  /** What follows `SSH-2.0-`. Default `Sallyport`. */
  readonly version?: string;
  /** A cheap look at a query: `false` saves the client the signature. Default: every algorithm we can verify. */
  accepts?(query: KeyQuery): boolean;
  /** Runs after the signature was verified. A rejection counts as `{ ok: false }`. */
  authenticate(attempt: AuthAttempt): Promise<AuthDecision<Identity>>;
  /** Runs once a client is authenticated. A throw closes that connection. */
  onConnection(connection: SshConnection<Identity>): ConnectionHandler;
  onRefused?(refusal: Refusal): void;
  readonly log?: TransportLog;
}

export interface SshServerStats {
  readonly connections: number;
  readonly unauthenticated: number;
  /** Since start. */
  readonly accepted: number;
  readonly refusedByStartups: number;
  readonly refusedByConnections: number;
}

export interface SshServer {
  readonly address: Address;
  readonly stats: SshServerStats;
  readonly listener: Server;
  /**
   * A renewed key or certificate: shown to whoever connects from now on. Living connections keep what they were shown
   * (a client checks in each key exchange that it is the same). Throws as the start does, and then changes nothing.
   */
  setHostKeys(hostKeys: readonly HostKey[]): void;
  /** Stops listening; with a reason, also disconnects everybody. Resolves when all connections are gone. */
  close(reason?: string): Promise<void>;
}

export const DEFAULT_LIMITS: SshLimits = {
  loginGraceTimeMs: 60_000,
  maxAuthTries: 6,
  maxStartups: { start: 100, ratePercent: 30, full: 1000 },
  maxSessions: 10,
  maxConnections: 10_000,
  rekeyBytes: 2 ** 30,
  rekeyIntervalMs: 3_600_000,
  keepaliveMs: 300_000,
  keepaliveTries: 3,
  idleMs: 0,
};

const TICK_MS = 1_000;

class RunningServer<Identity> implements SshServer {
  readonly listener: Server;
  readonly #context: ServerContext<Identity>;
  readonly #startups: Startups;
  readonly #connections = new Set<ServerConnection<Identity>>();
  readonly #ticker: NodeJS.Timeout;
  #accepted = 0;
  #refusedByStartups = 0;
  #refusedByConnections = 0;
  #emptied: (() => void) | undefined;

  constructor(options: SshServerOptions<Identity>) {
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#startups = new Startups(limits.maxStartups);
    this.#context = {
      options,
      limits,
      signers: hostKeySigners(options.hostKeys),
      refused: (refusal) => this.#tell(refusal),
      settled: () => this.#startups.left(),
      gone: (connection) => this.#gone(connection),
    };
    // Nagle's algorithm would hold back every answer of a keystroke's size for an acknowledgement.
    this.listener = createServer({ noDelay: true }, (socket) => this.#incoming(socket));
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
      refusedByStartups: this.#refusedByStartups,
      refusedByConnections: this.#refusedByConnections,
    };
  }

  listen(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const { host, port } = this.#context.options.listen;
    this.listener.once('error', reject);
    this.listener.listen({ host, port, backlog: 1024 }, () => {
      this.listener.removeListener('error', reject);
      // Accepting can fail later too (out of file descriptors): not a reason to fall over.
      this.listener.on('error', (error) => this.#warn(error, 'listener error'));
      resolve();
    });
    return promise;
  }

  setHostKeys(hostKeys: readonly HostKey[]): void {
    this.#context.signers = hostKeySigners(hostKeys);
  }

  async close(reason?: string): Promise<void> {
    this.listener.close();
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
    try {
      this.#context.options.onRefused?.(refusal);
    } catch (error) {
      this.#warn(error, 'onRefused failed');
    }
  }

  #incoming(socket: Socket): void {
    this.#accepted++;
    const full = this.#connections.size >= this.#context.limits.maxConnections;
    if (!full && this.#startups.enter()) {
      this.#connections.add(new ServerConnection(socket, this.#context));
      return;
    }
    if (full) this.#refusedByConnections++;
    else this.#refusedByStartups++;
    this.#tell({
      kind: full ? 'max-connections' : 'max-startups',
      reason: full ? 'too many connections' : 'too many connections that have not logged in',
      remote: { host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 },
      local: { host: socket.localAddress ?? '', port: socket.localPort ?? 0 },
    });
    socket.on('error', () => {});
    socket.destroy();
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

/** Resolves when listening; rejects when a host key is unfit or the address is taken. */
export async function startSshServer<Identity>(options: SshServerOptions<Identity>): Promise<SshServer> {
  await ready;
  const server = new RunningServer(options);
  await server.listen();
  return server;
}
