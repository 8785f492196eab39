// The sockets this daemon listens on, by the name of what listens there. A daemon that takes over from another asks
// that one for each socket and listens on the same; what is not handed down is bound anew. Two daemons may listen on
// one socket at a time: the kernel gives each connection to either, and none is refused.
import type { Server } from 'node:net';
import type { Address } from '../../../config/config.ts';

export type SocketName = 'lock' | 'auth' | 'proxy-web' | 'proxy-ssh' | 'proxy-tunnel' | 'ssh' | 'diagnostics';

/** A server that listens on the socket of that key in the daemon before us; undefined: it has none such. */
export type Inherit = (key: string) => Promise<Server | undefined>;

export type Bind = (server: Server, at: Address) => Promise<void>;

export class Sockets {
  readonly #open = new Map<string, Server>();
  readonly #inherit: Inherit | undefined;

  constructor(inherit?: Inherit) {
    this.#inherit = inherit;
  }

  /** For whoever starts a server. */
  bind(name: SocketName): Bind {
    return async (server, at) => {
      // Port 0 is another one each time it is bound, and the same one when it is handed down.
      await this.#listen(`${name} ${at.host}:${at.port}`, server, () => bindAddress(server, at));
    };
  }

  /** An abstract unix socket. */
  async bindPath(name: SocketName, server: Server, path: string): Promise<void> {
    await this.#listen(`${name} ${path.replace('\0', '@')}`, server, () => listening(server, { path }));
  }

  /** To be handed to the daemon after us. It goes on listening here, too. */
  get(key: string): Server | undefined {
    return this.#open.get(key);
  }

  async #listen(key: string, server: Server, bind: () => Promise<void>): Promise<void> {
    const handed = await this.#inherit?.(key);
    // In the same turn as it came: what it accepts before has nobody to serve it.
    if (handed !== undefined) await listening(server, handed);
    else await bind();
    this.#open.set(key, server);
    server.once('close', () => this.#open.delete(key));
  }
}

export function bindAddress(server: Server, { host, port }: Address): Promise<void> {
  return listening(server, { host, port, backlog: 1024 });
}

function listening(server: Server, where: Parameters<Server['listen']>[0] | object): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(where, () => {
    server.removeListener('error', reject);
    resolve();
  });
  return promise;
}
