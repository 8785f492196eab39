// The SSH client: certificate or plain key log-in, host certificate check, sessions. For tsh, the proxy's web
// terminal and reverse tunnels; tests use it against sshd.
import type { Duplex, Readable } from 'node:stream';
import { AppError } from '@sallyport/contracts/errors.ts';
import { SIGNATURE_ALGORITHMS } from './algorithms.ts';
import { ChannelTable } from './channel-table.ts';
import { ClientChannelSession } from './client-session.ts';
import { DisconnectReason, Message, OpenFailure } from './message.ts';
import { type LinkHandler, PacketLink } from './packet-link.ts';
import { plainKey } from './public-key.ts';
import type { ChannelWriter, PtyRequest, WindowSize } from './session-channel.ts';
import { ready } from './ssh2-protocol.ts';
import { type Credential, credentialsOf, logInRequest, signatureAlgorithms } from './user-auth-client.ts';
import { encode } from './wire.ts';

export interface ClientKey {
  /** PKCS#8 PEM or OpenSSH private key text, not encrypted. */
  readonly privateKey: string | Buffer;
  /** SSH wire blob of the user certificate; without it the plain key is tried. */
  readonly certificate?: Buffer;
}

export interface HostKeyOffer {
  /** Negotiated host key algorithm, e.g. `ssh-ed25519-cert-v01@openssh.com`. */
  readonly algorithm: string;
  /** Certificate or plain key as the server sent it. */
  readonly blob: Buffer;
  /** The plain key inside. */
  readonly publicKey: Buffer;
}

export interface SshClientOptions {
  /** A connected stream (a socket, or a channel of another connection). */
  readonly stream: Duplex;
  readonly login: string;
  /** Tried in order. */
  readonly keys: readonly ClientKey[];
  /**
   * Is this the host we meant? Runs before anything secret is sent; `false` or a throw ends the connection.
   * The transport verifies afterwards that the server holds the private key.
   */
  verifyHost(offer: HostKeyOffer): boolean | Promise<boolean>;
  /** Only these host key algorithms, in this order. Default: certificates, then plain keys. */
  readonly hostKeyAlgorithms?: readonly string[];
  /** From start to authenticated. Default 20 s. */
  readonly timeoutMs?: number;
  readonly version?: string;
  readonly rekeyBytes?: number;
  readonly rekeyIntervalMs?: number;
  /** Fewer than we know (algorithms.ts). */
  readonly algorithms?: {
    readonly kex?: readonly string[];
    readonly cipher?: readonly string[];
    readonly mac?: readonly string[];
  };
}

export type ExitStatus =
  | { readonly code: number }
  | { readonly signal: string; readonly coreDumped: boolean; readonly message: string };

export interface ClientSession {
  readonly stdin: ChannelWriter;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Undefined when the server closed the channel without saying. */
  readonly exited: Promise<ExitStatus | undefined>;
  pty(request: PtyRequest): Promise<boolean>;
  env(name: string, value: string): Promise<boolean>;
  shell(): Promise<boolean>;
  exec(command: string): Promise<boolean>;
  subsystem(name: string): Promise<boolean>;
  windowChange(size: WindowSize): void;
  signal(name: string): void;
  /** End of our input. */
  eof(): void;
  close(): Promise<void>;
}

export interface SshClient {
  readonly serverVersion: string;
  /** Names of what was negotiated first, e.g. for `-v`. */
  readonly kex: string;
  readonly hostKey: HostKeyOffer;
  openSession(): Promise<ClientSession>;
  rekey(): Promise<void>;
  close(): void;
  /** Resolves with why it ended. Never rejects. */
  readonly closed: Promise<string>;
}

const DEFAULT_TIMEOUT_MS = 20_000;
const HOST_KEY_ALGORITHMS = SIGNATURE_ALGORITHMS.map(({ name }) => name);

class Client implements SshClient, LinkHandler {
  readonly closed: Promise<string>;
  readonly loggedIn: Promise<void>;
  readonly #options: SshClientOptions;
  readonly #link: PacketLink;
  readonly #resolveClosed: (reason: string) => void;
  readonly #resolveLoggedIn: () => void;
  readonly #rejectLoggedIn: (error: AppError) => void;
  readonly #credentials: Credential[];
  readonly #timer: NodeJS.Timeout;
  #hostKey: HostKeyOffer | undefined;
  #hostRefused = false;
  #serverAlgorithms: readonly string[] | undefined;
  #table: ChannelTable | undefined;
  #rekeyed: (() => void)[] = [];

  constructor(options: SshClientOptions) {
    this.#options = options;
    this.#credentials = options.keys.flatMap(credentialsOf);
    const closed = Promise.withResolvers<string>();
    this.closed = closed.promise;
    this.#resolveClosed = closed.resolve;
    const loggedIn = Promise.withResolvers<void>();
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

  get serverVersion(): string {
    return this.#link.peerVersion;
  }

  get kex(): string {
    return this.#link.negotiated?.kex ?? '';
  }

  get hostKey(): HostKeyOffer {
    if (!this.#hostKey) throw new AppError('internal', 'ssh.no_host_key', 'There is no host key yet.');
    return this.#hostKey;
  }

  async openSession(): Promise<ClientSession> {
    const channel = await this.#table?.open('session');
    if (!channel) throw new AppError('unavailable', 'ssh.no_session', 'The server opens no session.');
    return new ClientChannelSession(channel);
  }

  rekey(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#rekeyed.push(resolve);
    this.#link.rekey();
    return promise;
  }

  close(): void {
    this.#link.disconnect(DisconnectReason.byApplication, 'done');
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
        .catch(() => false)
        .then((ok) => {
          if (this.#link.alive) decide(this.#hostVerdict(ok === true));
        });
      return undefined;
    } catch {
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
        clearTimeout(this.#timer);
        this.#table = new ChannelTable(this.#link, {
          wantsExtended: true,
          open: () => ({ refuse: OpenFailure.administrativelyProhibited, text: 'not asked for' }),
        });
        this.#resolveLoggedIn();
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
    this.#rejectLoggedIn(
      this.#hostRefused
        ? new AppError('denied', 'ssh.host_refused', 'The host key is not the one we trust.')
        : new AppError('unavailable', 'ssh.connection_lost', `The connection ended: ${reason}.`),
    );
    this.#table?.lost();
    for (const resolve of this.#rekeyed.splice(0)) resolve();
    this.#resolveClosed(reason);
  }
}

/**
 * Resolves when logged in; rejects with an AppError: `ssh.host_refused`, `ssh.login_refused`, `ssh.timeout`,
 * `ssh.connection_lost`. The stream is ours from here on, and closed in any case.
 */
export async function connectSsh(options: SshClientOptions): Promise<SshClient> {
  await ready;
  try {
    const client = new Client(options);
    await client.loggedIn;
    return client;
  } catch (error) {
    // Before log-in nobody else holds the stream; the link gives its goodbye a moment.
    if (!options.stream.writableEnded) options.stream.destroy();
    throw error;
  }
}
