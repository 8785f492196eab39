// The SSH client's interface; client.ts connects one. Types only.
import type { Duplex, Readable } from 'node:stream';
import type { Address, PeerConnection, PeerHandler } from './connection.ts';
import type { ChannelWriter, PtyRequest, WindowSize } from './session-channel.ts';

export interface ClientKey {
  /** PKCS#8 PEM or OpenSSH private key text, not encrypted. */
  readonly privateKey: string | Buffer;
  /** SSH wire blob of a certificate for it (a user's, or a host's that dials a proxy); without it the plain key is tried. */
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
  /** A connected stream: a socket, or a channel of another connection. */
  readonly stream: Duplex;
  readonly login: string;
  /** Tried in order. */
  readonly keys: readonly ClientKey[];
  /**
   * Is this the host we meant? Runs before anything secret is sent; `false` or a throw ends the connection with
   * `ssh.host_refused` (a thrown AppError becomes its cause). For certificates: `ca/verify.ts`, verifyHostCertificate
   * with `blob`, the trusted authorities and the name that was meant (a principal). The transport verifies afterwards
   * that the server holds the private key.
   */
  verifyHost(offer: HostKeyOffer): boolean | Promise<boolean>;
  /** Only these host key algorithms, in this order. Default: certificates, then plain keys. */
  readonly hostKeyAlgorithms?: readonly string[];
  /** Channels and requests that come from the server. A missing method refuses. */
  readonly handler?: PeerHandler;
  /**
   * A new connection to the user's agent. Asked only once a session asked for agent forwarding and the server agreed.
   */
  agent?(): Duplex | Promise<Duplex>;
  /** From start to authenticated. Default 20 s. */
  readonly timeoutMs?: number;
  /** Nothing received for so long: the server is asked for a sign of life... Default 0 = never. */
  readonly keepaliveMs?: number;
  /** ...and given up when this many questions stay unanswered. Default 3. */
  readonly keepaliveTries?: number;
  /** Channels of any kind. Default 1024. */
  readonly maxChannels?: number;
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

/** Answers are the server's: `false` also when the channel is gone. */
export interface ClientSession {
  readonly stdin: ChannelWriter;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Undefined when the server closed the channel without saying. */
  readonly exited: Promise<ExitStatus | undefined>;
  pty(request: PtyRequest): Promise<boolean>;
  env(name: string, value: string): Promise<boolean>;
  /** Offers `SshClientOptions.agent` to the session's programs. */
  forwardAgent(): Promise<boolean>;
  shell(): Promise<boolean>;
  exec(command: string): Promise<boolean>;
  subsystem(name: string): Promise<boolean>;
  windowChange(size: WindowSize): void;
  /** Without SIG. */
  signal(name: string): void;
  /** End of our input. */
  eof(): void;
  close(): Promise<void>;
}

/** A port or path on the server's side that hands its connections to us. */
export interface ForwardedListener {
  /** The port that listens there; 0 for a path. */
  readonly port: number;
  /** `false`: the server does not know it (any more). No connection is handed over afterwards. */
  cancel(): Promise<boolean>;
}

export interface SshClient extends PeerConnection {
  readonly serverVersion: string;
  /** Names of what was negotiated first, e.g. for `-v`. */
  readonly kex: string;
  readonly hostKey: HostKeyOffer;
  /** Rejects with `ssh.no_session` (the message holds the server's reason) or as `openChannel` does. */
  openSession(): Promise<ClientSession>;
  /** `ssh -L`, `-W`, `-J`, `-D`. The originator is what the server logs; default unknown. */
  directTcpip(destination: Address, originator?: Address): Promise<Duplex>;
  directStreamlocal(path: string): Promise<Duplex>;
  /**
   * `ssh -R`: port 0 lets the server choose. `connected` is called for each connection; it owns the stream. Rejects
   * with `ssh.forward_refused`.
   */
  remoteForward(
    bind: Address,
    connected: (channel: Duplex, originator: Address) => void,
  ): Promise<ForwardedListener>;
  remoteStreamlocalForward(path: string, connected: (channel: Duplex) => void): Promise<ForwardedListener>;
  rekey(): Promise<void>;
  close(): void;
}
