// The SSH client: certificate or plain key log-in, host certificate check, sessions. For tsh, the proxy's web
// terminal and reverse tunnels; tests use it against sshd.
import { AppError } from '@sallyport/contracts/errors.ts';
import { SIGNATURE_ALGORITHMS } from './algorithms.ts';
import type { Channel } from './channel.ts';
import { ChannelTable } from './channel-table.ts';
import { ClientRequests } from './client-requests.ts';
import { ClientChannelSession } from './client-session.ts';
import type { Address } from './connection.ts';
import { Keepalive } from './keepalive.ts';
import { DisconnectReason, Message } from './message.ts';
import { type LinkHandler, PacketLink } from './packet-link.ts';
import { openStream, peerConnection } from './peer-connection.ts';
import { plainKey } from './public-key.ts';
import type { ClientSession, HostKeyOffer, SshClient, SshClientOptions } from './ssh-client.ts';
import { ready } from './ssh2-protocol.ts';
import { type Credential, credentialsOf, logInRequest, signatureAlgorithms } from './user-auth-client.ts';
import { encode } from './wire.ts';

export type * from './connection.ts';
export type * from './session-channel.ts';
export type * from './ssh-client.ts';

const DEFAULT_TIMEOUT_MS = 20_000;
const DEFAULT_MAX_CHANNELS = 1024;
const TICK_MS = 1_000;
const UNKNOWN: Address = { host: '', port: 0 };
const HOST_KEY_ALGORITHMS = SIGNATURE_ALGORITHMS.map(({ name }) => name);

class Client implements LinkHandler {
  readonly closed: Promise<string>;
  readonly loggedIn: Promise<SshClient>;
  readonly #options: SshClientOptions;
  readonly #link: PacketLink;
  readonly #resolveClosed: (reason: string) => void;
  readonly #resolveLoggedIn: (client: SshClient) => void;
  readonly #rejectLoggedIn: (error: AppError) => void;
  readonly #credentials: Credential[];
  readonly #timer: NodeJS.Timeout;
  #hostKey: HostKeyOffer | undefined;
  #hostRefused = false;
  #hostRefusal: unknown;
  #serverAlgorithms: readonly string[] | undefined;
  #table: ChannelTable | undefined;
  #ticker: NodeJS.Timeout | undefined;
  #rekeyed: (() => void)[] = [];

  constructor(options: SshClientOptions) {
    this.#options = options;
    this.#credentials = options.keys.flatMap(credentialsOf);
    const closed = Promise.withResolvers<string>();
    this.closed = closed.promise;
    this.#resolveClosed = closed.resolve;
    const loggedIn = Promise.withResolvers<SshClient>();
    this.loggedIn = loggedIn.promise;
    this.#resolveLoggedIn = loggedIn.resolve;
    this.#rejectLoggedIn = loggedIn.reject;
    this.#link = new PacketLink(
      {
        stream: options.stream,
        server: false,
        hostKeyAlgorithms: options.hostKeyAlgorithms ?? HOST_KEY_ALGORITHMS,
        hostVerifier: (blob, decide) => this.#verifyHost(blob, decide),
        version: options.version ?? 'Sallyport',
        rekeyBytes: options.rekeyBytes ?? 2 ** 30,
        rekeyIntervalMs: options.rekeyIntervalMs ?? 3_600_000,
        ...(options.algorithms && { offer: options.algorithms }),
      },
      this,
    );
    this.#link.trusted = true; // the limit on early key exchanges protects servers
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#timer = setTimeout(() => {
      this.#fail('ssh.timeout', `The server did not let us in within ${timeoutMs} ms.`);
    }, timeoutMs);
  }

  #fail(code: string, message: string): void {
    this.#rejectLoggedIn(new AppError('unavailable', code, message));
    this.#link.disconnect(DisconnectReason.byApplication, 'giving up');
  }

  // ── host ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Runs in every key exchange; only the first asks, later ones must show the same key. */
  #verifyHost(blob: Buffer, decide: (permitted: boolean) => void): boolean | undefined {
    if (this.#hostKey) return this.#hostKey.blob.equals(blob);
    const publicKey = plainKey(blob);
    if (!publicKey) return this.#hostVerdict(false);
    // Copied: the blob is a view into the packet.
    this.#hostKey = { algorithm: this.#link.hostKeyAlgorithm, blob: Buffer.from(blob), publicKey };
    try {
      const verdict = this.#options.verifyHost(this.#hostKey);
      if (typeof verdict === 'boolean') return this.#hostVerdict(verdict);
      verdict
        .catch((error: unknown) => {
          this.#hostRefusal = error;
          return false;
        })
        .then((ok) => {
          if (this.#link.alive) decide(this.#hostVerdict(ok === true));
        });
      return undefined;
    } catch (error) {
      this.#hostRefusal = error;
      return this.#hostVerdict(false);
    }
  }

  #hostVerdict(ok: boolean): boolean {
    this.#hostRefused = !ok;
    return ok;
  }

  // ── log-in ──────────────────────────────────────────────────────────────────────────────────────────────────

  secured(): void {
    this.#link.send(encode({ byte: Message.serviceRequest }, 'ssh-userauth'));
  }

  #logInMessage(type: number, payload: Buffer): void {
    switch (type) {
      case Message.extInfo:
        this.#serverAlgorithms = signatureAlgorithms(payload);
        return;
      case Message.serviceAccept:
      case Message.userauthFailure:
        this.#tryNext();
        return;
      case Message.userauthSuccess:
        this.#letIn();
        return;
      case Message.userauthBanner:
        return;
      default:
        this.#link.unimplemented();
    }
  }

  #tryNext(): void {
    for (let credential = this.#credentials.shift(); credential; credential = this.#credentials.shift()) {
      const request = logInRequest(
        credential,
        this.#options.login,
        this.#link.sessionId,
        this.#serverAlgorithms,
      );
      if (!request) continue;
      this.#link.send(request);
      return;
    }
    this.#rejectLoggedIn(
      new AppError('denied', 'ssh.login_refused', 'The server refused every key we have.'),
    );
    this.#link.disconnect(DisconnectReason.noMoreAuthMethods, 'no more keys');
  }

  // ── logged in ───────────────────────────────────────────────────────────────────────────────────────────────

  #letIn(): void {
    clearTimeout(this.#timer);
    const { handler, agent, keepaliveMs = 0, keepaliveTries = 3, maxChannels } = this.#options;
    const requests = new ClientRequests(handler, agent && (() => agent()));
    const table = new ChannelTable(this.#link, {
      maxChannels: maxChannels ?? DEFAULT_MAX_CHANNELS,
      open: (type, fields) => requests.channel(type, fields),
      globalRequest: (request) => requests.globalRequest(request),
    });
    this.#table = table;
    if (keepaliveMs > 0) {
      const keepalive = new Keepalive({ keepaliveMs, keepaliveTries });
      this.#ticker = setInterval(() => this.#tick(keepalive, table), Math.min(TICK_MS, keepaliveMs)).unref();
    }
    this.#resolveLoggedIn(this.#surface(table, requests));
  }

  #tick(keepalive: Keepalive, table: ChannelTable): void {
    const due = keepalive.check(performance.now(), this.#link.lastReceivedMs);
    if (due === 'ask') table.requests.ping();
    else if (due === 'give-up')
      this.#link.disconnect(DisconnectReason.connectionLost, 'the server gives no answer');
  }

  /** What the caller sees: no way into the protocol. */
  #surface(table: ChannelTable, requests: ClientRequests): SshClient {
    const hostKey = this.#hostKey;
    if (!hostKey) throw new AppError('internal', 'ssh.no_host_key', 'There is no host key yet.');
    return {
      serverVersion: this.#link.peerVersion,
      kex: this.#link.negotiated?.kex ?? '',
      hostKey,
      closed: this.closed,
      ...peerConnection(table),
      openSession: () => openSession(table, requests),
      directTcpip: (to, from = UNKNOWN) =>
        openStream(
          table,
          'direct-tcpip',
          encode(to.host, { uint32: to.port }, from.host, { uint32: from.port }),
        ),
      // A path, and two fields kept for later (OpenSSH PROTOCOL section 2.4).
      directStreamlocal: (path) =>
        openStream(table, 'direct-streamlocal@openssh.com', encode(path, '', { uint32: 0 })),
      remoteForward: (bind, connected) => requests.listenTcp(table, bind, connected),
      remoteStreamlocalForward: (path, connected) => requests.listenPath(table, path, connected),
      rekey: () => this.#rekey(),
      close: () => this.#link.disconnect(DisconnectReason.byApplication, 'done'),
    };
  }

  #rekey(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (!this.#link.alive) return Promise.resolve();
    this.#rekeyed.push(resolve);
    this.#link.rekey();
    return promise;
  }

  // ── the link ────────────────────────────────────────────────────────────────────────────────────────────────

  message(type: number, payload: Buffer): void {
    if (!this.#table) this.#logInMessage(type, payload);
    else if (type >= Message.globalRequest) this.#table.message(type, payload);
    else if (type !== Message.userauthBanner && type !== Message.extInfo) this.#link.unimplemented();
  }

  drained(): void {
    if (!this.#link.rekeying) for (const resolve of this.#rekeyed.splice(0)) resolve();
    this.#table?.pump();
  }

  ended(reason: string): void {
    clearTimeout(this.#timer);
    clearInterval(this.#ticker);
    this.#rejectLoggedIn(
      this.#hostRefused
        ? new AppError('denied', 'ssh.host_refused', 'The host key is not the one we trust.', {
            cause: this.#hostRefusal,
          })
        : new AppError('unavailable', 'ssh.connection_lost', `The connection ended: ${reason}.`),
    );
    this.#table?.lost();
    for (const resolve of this.#rekeyed.splice(0)) resolve();
    this.#resolveClosed(reason);
  }
}

async function openSession(table: ChannelTable, requests: ClientRequests): Promise<ClientSession> {
  const wrap = (channel: Channel) => new ClientChannelSession(channel, (ask) => requests.offerAgent(ask));
  try {
    return await table.open('session', Buffer.alloc(0), wrap, true);
  } catch (cause) {
    if (!(cause instanceof AppError) || cause.code !== 'ssh.channel_refused') throw cause;
    throw new AppError(cause.kind, 'ssh.no_session', cause.message, { cause });
  }
}

/**
 * Resolves when logged in; rejects with an AppError: `ssh.host_refused`, `ssh.login_refused`, `ssh.timeout`,
 * `ssh.connection_lost`. The stream is ours from here on, and closed in any case.
 */
export async function connectSsh(options: SshClientOptions): Promise<SshClient> {
  await ready;
  try {
    return await new Client(options).loggedIn;
  } catch (error) {
    // Before log-in nobody else holds the stream; the link gives its goodbye a moment.
    if (!options.stream.writableEnded) options.stream.destroy();
    throw error;
  }
}
