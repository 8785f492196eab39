// Connections that a proxy of the cluster hands over: it says in a signed line, before the first byte of TLS, whose they
// are (frame: ssh-transport/relay-line.ts). Without it everybody behind a proxy would be one address to every limit
// that counts by address, and to the audit log. TLS itself, and who calls, is end to end as ever.
import type { Socket } from 'node:net';
import { RelayDoor } from '../../ssh-transport/relay-door.ts';
import type { RelayVerdict } from '../../ssh-transport/ssh-server.ts';

/** Who a relay's line may be meant for, instead of the uuid of a node: any auth server of the cluster. */
export const authAudience = 'auth';

export interface RelayedConnectionsOptions {
  /** Whose connection the line says it is; or why the line is not believed. */
  readonly judge: (line: string) => Promise<RelayVerdict>;
  readonly onRefused: (reason: string, remote: string) => void;
  /** For the first bytes, ms. */
  readonly timeoutMs: number;
}

/** Both ends of what arrives at the listener; no two that live have the same. */
const nameOf = ({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>) =>
  `${remoteAddress} ${remotePort}`;

export class RelayedConnections {
  readonly #options: RelayedConnectionsOptions;
  /** By the name of the connection: TLS wraps the socket, and its own is another object. */
  readonly #remotes = new Map<string, string>();
  /** Of whom nothing is known yet. */
  readonly #pending = new Set<Socket>();

  constructor(options: RelayedConnectionsOptions) {
    this.#options = options;
  }

  /** `open` gets the connection as if nothing had been read of it. */
  accept(socket: Socket, open: (socket: Socket) => void): void {
    const name = nameOf(socket);
    this.#pending.add(socket);
    const settle = () => {
      clearTimeout(timer);
      this.#pending.delete(socket);
      socket.removeListener('data', onData);
    };
    const refuse = (reason: string) => {
      settle();
      this.#options.onRefused(reason, socket.remoteAddress ?? '');
      socket.destroy();
    };
    const timer = setTimeout(() => socket.destroy(), this.#options.timeoutMs);
    const door = new RelayDoor({
      judge: this.#options.judge,
      relayed: ({ host }) => {
        if (socket.destroyed) return false;
        this.#remotes.set(name, host);
        socket.once('close', () => this.#remotes.delete(name));
        return true;
      },
      ordinary: () => !socket.destroyed,
      refuse,
      open: (bytes) => {
        settle();
        socket.pause();
        if (bytes.length > 0) socket.unshift(bytes);
        open(socket);
      },
    });
    const onData = (piece: Buffer) => door.take(piece);
    socket.on('data', onData);
    socket.on('error', () => undefined);
    socket.once('close', settle);
  }

  /** Ends those that have not said anything yet: nobody else knows of them. */
  close(): void {
    for (const socket of this.#pending) socket.destroy();
  }

  /** Of the person's machine, where a proxy said so; else of the peer. */
  remoteOf(socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
    return this.#remotes.get(nameOf(socket)) ?? socket.remoteAddress ?? '';
  }
}
