// The SSH server's interface; server.ts starts one. Types only, so that rooms above can name what they are handed
// without importing how it is made.
import type { Server } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Address, EventualChannelAnswer, PeerConnection, PeerHandler } from './connection.ts';
import type { SessionChannel, SessionHandler } from './session-channel.ts';

export interface HostKey {
  /** PKCS#8 PEM or OpenSSH private key text, not encrypted. ed25519, ecdsa nistp256/384, rsa (>= 2048 bits). */
  readonly privateKey: string | Buffer;
  /** SSH wire blob of a host certificate for this key; the plain key is offered as well. */
  readonly certificate?: Buffer;
}

/** sshd's `start:rate:full`: from `start` unauthenticated connections on, refuse `rate` percent, all from `full`. */
export interface MaxStartups {
  readonly start: number;
  readonly ratePercent: number;
  readonly full: number;
}

/** sshd's PerSourceMaxStartups and PerSourceNetBlockSize. */
export interface PerSourceStartups {
  /** Unauthenticated connections of one source. */
  readonly max: number;
  /** Leading bits of an address that make a source. Default 32 of IPv4, 64 of IPv6 (what one customer is given). */
  readonly ipv4Bits?: number;
  readonly ipv6Bits?: number;
}

export interface SshLimits {
  /** From accept to authenticated. Default 60 s. */
  readonly loginGraceTimeMs: number;
  /** Failed log-in attempts in a connection (the initial `none` is free). Default 6. */
  readonly maxAuthTries: number;
  /** Default 100:30:1000. */
  readonly maxStartups: MaxStartups;
  /** Beside maxStartups, and asked first: who is refused here takes nobody else's place. Default 64. */
  readonly perSourceStartups: PerSourceStartups;
  /** Open session channels in a connection. Default 10. */
  readonly maxSessions: number;
  /** Channels of any kind in a connection, sessions and those not yet answered included. Default 256. */
  readonly maxChannels: number;
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
  | 'per-source-startups'
  | 'max-connections'
  | 'login-grace-time'
  | 'max-auth-tries'
  | 'bad-signature' // somebody showed a key or certificate whose private key they could not use
  | 'denied' // `authenticate` said no
  | 'no-credentials' // left without ever offering a key
  | 'relay' // a relay's word for whose connection it is, that does not hold
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

/** Whose connection it is; or why the relay is not believed (for logs and audit). */
export type RelayVerdict = { readonly remote: Address } | { readonly refuse: string };

export interface TransportLog {
  debug(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
}

export interface SessionOpening {
  readonly channel: SessionChannel;
}

/** "Connect me to": `ssh -L`, `ssh -W`, `ssh -J` (RFC 4254 section 7.2). */
export interface DirectTcpip {
  readonly destination: Address;
  /** Where the client says the connection came from; a claim. */
  readonly originator: Address;
}

/** `ssh -L port:/path` (OpenSSH PROTOCOL section 2.4). */
export interface DirectStreamlocal {
  readonly path: string;
}

/** "Listen for me": `ssh -R` (RFC 4254 section 7.1). */
export interface RemoteForward {
  /** As asked: the host may be empty (all addresses), `localhost` or `*`, the port 0 (any). */
  readonly bind: Address;
  /** Hands a connection that came in to the client. Rejects as `PeerConnection.openChannel` does. */
  open(originator: Address): Promise<Duplex>;
}

/** `ssh -R /path:...` (OpenSSH PROTOCOL section 2.4). */
export interface RemoteStreamlocalForward {
  readonly path: string;
  open(): Promise<Duplex>;
}

/** What a client may ask of a connection. A missing method refuses. */
export interface ConnectionHandler extends PeerHandler {
  /** Called for each session channel, before any of its requests. Return the object that answers them. */
  session?(opening: SessionOpening): SessionHandler;
  directTcpip?(request: DirectTcpip): EventualChannelAnswer;
  directStreamlocal?(request: DirectStreamlocal): EventualChannelAnswer;
  /** The port that listens now, or `false`. Whoever listens stops at `cancel…` and when the connection closes. */
  remoteForward?(request: RemoteForward): number | false | Promise<number | false>;
  /** With the bind address of the request and the port it was answered with. */
  cancelRemoteForward?(bind: Address): boolean | Promise<boolean>;
  remoteStreamlocalForward?(request: RemoteStreamlocalForward): boolean | Promise<boolean>;
  cancelRemoteStreamlocalForward?(path: string): boolean | Promise<boolean>;
}

export interface SshConnection<Identity> extends PeerConnection {
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
  /** Open channels of any kind. */
  readonly channels: number;
  /** Sends DISCONNECT (by application) with this text and closes; all channels close. */
  close(reason: string): void;
}

/** Resolves when the server listens; rejects as listening does. */
export type Bind = (server: Server, at: Address) => Promise<void>;

export interface SshServerOptions<Identity> {
  /** Absent: nothing listens, every connection comes through `handle`. */
  readonly listen?: Address;
  /** Makes the server listen there: on a socket handed down by another process, say. Default: binds the address. */
  readonly bind?: Bind | undefined;
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
  /**
   * Judges the line by which a relay says whose connection it hands over (relay-line.ts): from then on that is its
   * `remote`, and its source for the limits. Asked of connections accepted here, not of those that come by `handle`
   * with a source of their own. Absent: such a line breaks the protocol. A rejection refuses.
   */
  relayed?(line: string): Promise<RelayVerdict>;
  onRefused?(refusal: Refusal): void;
  readonly log?: TransportLog;
}

/** Whom a connection that we did not accept ourselves is from. */
export interface ConnectionSource {
  /** Of the user's machine, where a relay knows it: limits count by it, certificates are checked against it. */
  readonly remote: Address;
  readonly local?: Address;
}

export interface SshServerStats {
  readonly connections: number;
  readonly unauthenticated: number;
  /** Since start; also those that came through `handle`. */
  readonly accepted: number;
  readonly refusedByStartups: number;
  readonly refusedBySource: number;
  readonly refusedByConnections: number;
}

export interface SshServer {
  /** Port 0 when nothing listens. */
  readonly address: Address;
  readonly stats: SshServerStats;
  readonly listener: Server;
  /**
   * Serves an already open stream (a tunnel's channel, a TLS connection, an accepted socket) as if it had been accepted
   * here, limits included. The stream is the server's from here on, and closed in any case. The first byte must not
   * have been consumed (`unshift` what was peeked at).
   */
  handle(stream: Duplex, source: ConnectionSource): void;
  /**
   * A renewed key or certificate: shown to whoever connects from now on. Living connections keep what they were shown
   * (a client checks in each key exchange that it is the same). Throws as the start does, and then changes nothing.
   */
  setHostKeys(hostKeys: readonly HostKey[]): void;
  /** Stops listening; with a reason, also disconnects everybody. Resolves when all connections are gone. */
  close(reason?: string): Promise<void>;
}
