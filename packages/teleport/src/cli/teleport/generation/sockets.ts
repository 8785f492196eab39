// The sockets this daemon listens on, by the name of what listens there. A daemon that takes over from another asks
// that one for each socket and listens on the same; what is not handed down is bound anew. Two daemons may listen on
// one socket at a time: the kernel gives each connection to either, and none is refused.
import { createServer, type Server, type Socket } from 'node:net';
import type { Address } from '../../../config/config.ts';

export type SocketName = 'lock' | 'auth' | 'proxy-web' | 'proxy-ssh' | 'proxy-tunnel' | 'ssh' | 'diagnostics';

/** A socket of the daemon before us. */
export interface Handed {
  readonly server: Server;
  /** Connections that came before there was anybody to serve them. */
  readonly early: readonly Socket[];
}

/** undefined: the daemon before us has no such socket. */
export type Inherit = (key: string) => Promise<Handed | undefined>;

export type Bind = (server: Server, at: Address) => Promise<void>;

export class Sockets {
  readonly #open = new Map<string, Server>();
  readonly #fetched = new Map<string, Handed>();
  readonly #inherit: Inherit | undefined;

  constructor(inherit?: Inherit) {
    this.#inherit = inherit;
  }

  /** For whoever starts a server. Port 0 is another one each time it is bound, and the same one when handed down. */
  bind(name: SocketName): Bind {
    return (server, at) => this.#listen(keyOf(name, at), server, () => bindAddress(server, at));
  }

  /** An abstract unix socket that nobody serves. A unix socket cannot be listened on a second time: it is kept as it is. */
  async hold(name: SocketName, path: string): Promise<Server> {
    const key = `${name} ${path.slice(1)}`;
    const handed = await this.#inherit?.(key);
    const server = handed?.server ?? createServer();
    server.on('connection', (socket) => socket.destroy());
    if (handed === undefined) await listening(server, { path });
    this.#keep(key, server);
    return server.unref();
  }

  /** Takes it over now, before there is a server for it: connections wait until one is bound. */
  async fetch(name: SocketName, at: Address): Promise<void> {
    const key = keyOf(name, at);
    const handed = await this.#inherit?.(key);
    if (handed !== undefined) this.#fetched.set(key, handed);
  }

  /** To be handed to the daemon after us. It goes on listening here, too. */
  get(key: string): Server | undefined {
    return this.#open.get(key);
  }

  async #listen(key: string, server: Server, bind: () => Promise<void>): Promise<void> {
    const handed = this.#fetched.get(key) ?? (await this.#inherit?.(key));
    this.#fetched.delete(key);
    if (handed === undefined) await bind();
    else await listenOn(server, handed);
    this.#keep(key, server);
  }

  #keep(key: string, server: Server): void {
    this.#open.set(key, server);
    server.once('close', () => this.#open.delete(key));
  }
}

const keyOf = (name: SocketName, { host, port }: Address) => `${name} ${host}:${port}`;

export function bindAddress(server: Server, { host, port }: Address): Promise<void> {
  return listening(server, { host, port, backlog: 1024 });
}

async function listenOn(server: Server, { server: handed, early }: Handed): Promise<void> {
  await listening(server, handed);
  for (const socket of early) {
    socket.allowHalfOpen = (server as { allowHalfOpen?: boolean }).allowHalfOpen ?? false;
    server.emit('connection', socket);
  }
}

function listening(server: Server, where: object): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(where, () => {
    server.removeListener('error', reject);
    resolve();
  });
  return promise;
}
