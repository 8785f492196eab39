// The SSH client: certificate or plain key log-in, host certificate check, sessions. For tsh, the proxy's web
// terminal and reverse tunnels; tests use it against sshd.
import type { Duplex, Readable } from 'node:stream';
import type { ChannelWriter, PtyRequest, WindowSize } from './session-channel.ts';

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
  readonly hostKey: HostKeyOffer;
  openSession(): Promise<ClientSession>;
  rekey(): Promise<void>;
  close(): void;
  /** Resolves with why it ended. Never rejects. */
  readonly closed: Promise<string>;
}

/** Resolves when logged in; rejects with an AppError (`host-key-refused`, `login-refused`, `handshake-failed`...). */
export async function connectSsh(_options: SshClientOptions): Promise<SshClient> {
  throw new Error('not yet');
}
