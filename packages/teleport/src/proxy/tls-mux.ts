// The web port. Looks at each connection's ClientHello, takes nothing from it, and hands the connection to whoever
// serves that protocol: one port carries the API of auth, the SSH gateway, the tunnels and the web.
import { createServer, type Server, type Socket } from 'node:net';
import { alpnProtocols as protocols } from '@sallyport/contracts/api/tunnel.ts';
import type { Address } from '../config/config.ts';
import type { Bind } from '../ssh-transport/ssh-server.ts';
import { type ClientHello, ClientHelloReader } from './client-hello.ts';
import type { ProxyLog } from './proxy.ts';
import { Quota } from './quota.ts';

export type MuxRoute = 'auth' | 'ssh' | 'tunnel' | 'web';

/** The socket is the route's from here on; the bytes looked at are back in front of it. */
export type RouteHandler = (socket: Socket, hello: ClientHello) => void;

export type MuxRefusal = 'connections' | 'pending' | 'timeout' | 'invalid' | 'plain-http';

export interface TlsMuxOptions {
  readonly listen: Address;
  readonly bind?: Bind | undefined;
  readonly maxConnections: number;
  readonly maxPendingPerAddress: number;
  readonly helloTimeoutMs: number;
  readonly routes: Readonly<Record<MuxRoute, RouteHandler>>;
  readonly onRefused?: (why: MuxRefusal) => void;
  readonly log: ProxyLog;
}

export interface TlsMux {
  readonly address: Address;
  readonly connections: number;
  stopListening(): void;
  /** Ends connections to the API and to the web, in a while: whoever has one dials again and finds who listens now. */
  retire(): void;
  /** Ends every connection, routed or not. */
  close(): Promise<void>;
}

/** Long enough for the sentence to arrive. */
const plainHttpLingerMs = 1_000;
/** Calls that are on their way are over by then. */
const passingMs = 3_000;

/** The first protocol of the client's list that we know: its order is its preference. */
export function routeOf(hello: ClientHello): MuxRoute {
  for (const name of hello.protocols) {
    // The documented system appends a cluster's name in hex (`teleport-auth@636c7573746572`).
    if (name.startsWith(protocols.auth)) return 'auth';
    if (name === protocols.ssh) return 'ssh';
    if (name === protocols.tunnel) return 'tunnel';
  }
  return 'web';
}

class RunningMux implements TlsMux {
  readonly #options: TlsMuxOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Those whose owners lose nothing when they must dial again: calls are short, and watches go on where they were. */
  readonly #passing = new Set<Socket>();
  readonly #pending: Quota;
  /** One address may hold a quarter of the port's connections: behind it may be a whole site, but never all of them. */
  readonly #places: Quota;

  constructor(options: TlsMuxOptions) {
    this.#options = options;
    this.#pending = new Quota(options.maxPendingPerAddress);
    this.#places = new Quota(Math.ceil(options.maxConnections / 4));
    // allowHalfOpen: who splices must be able to pass on the end of one direction only.
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#incoming(socket));
  }

  get address(): Address {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') return { host: '', port: 0 };
    return { host: address.address, port: address.port };
  }

  get connections(): number {
    return this.#sockets.size;
  }

  async listen(): Promise<void> {
    const { listen, bind = bindAddress, log } = this.#options;
    await bind(this.#server, listen);
    // Accepting can fail later too (out of file descriptors): not a reason to fall over.
    this.#server.on('error', (error) => log.warn({ error: String(error) }, 'listener error'));
  }

  stopListening(): void {
    this.#server.close();
  }

  retire(): void {
    setTimeout(() => {
      for (const socket of this.#passing) socket.destroy();
    }, passingMs).unref();
  }

  close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const socket of this.#sockets) socket.destroy();
    return promise;
  }

  #incoming(socket: Socket): void {
    socket.on('error', () => {});
    // No address: it was reset before we came to it.
    const address = socket.remoteAddress ?? '';
    const all = this.#sockets.size < this.#options.maxConnections;
    const place = all ? this.#places.take(address) : undefined;
    if (place) socket.once('close', place);
    const settled = place && this.#pending.take(address);
    if (!place || !settled || address === '') {
      this.#refuse(socket, place ? 'pending' : 'connections');
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    this.#peek(socket, settled);
  }

  #peek(socket: Socket, settled: () => void): void {
    const reader = new ClientHelloReader();
    const timer = setTimeout(() => this.#refuse(socket, 'timeout'), this.#options.helloTimeoutMs);
    const done = () => {
      clearTimeout(timer);
      socket.removeListener('data', onData);
      socket.removeListener('close', done);
      socket.removeListener('end', onEnd);
      settled();
    };
    const onEnd = () => socket.destroy();
    const onData = (chunk: Buffer) => {
      const verdict = reader.push(chunk);
      if (verdict.state === 'more') return;
      done();
      if (verdict.state === 'invalid') {
        this.#refuse(socket, verdict.plainHttp ? 'plain-http' : 'invalid');
        return;
      }
      // Paused before it is given back: whoever serves it decides when to read.
      socket.pause();
      socket.unshift(Buffer.concat(reader.received));
      this.#route(socket, verdict.hello);
    };
    socket.on('data', onData);
    socket.once('end', onEnd);
    socket.once('close', done);
  }

  #route(socket: Socket, hello: ClientHello): void {
    const route = routeOf(hello);
    if (route === 'auth' || route === 'web') {
      this.#passing.add(socket);
      socket.once('close', () => this.#passing.delete(socket));
    }
    try {
      this.#options.routes[route](socket, hello);
    } catch (error) {
      this.#options.log.error({ error: String(error) }, 'a connection could not be served');
      socket.destroy();
    }
  }

  #refuse(socket: Socket, why: MuxRefusal): void {
    this.#options.log.debug(
      { remote: socket.remoteAddress, why },
      'a connection to the web port was refused',
    );
    this.#options.onRefused?.(why);
    if (why !== 'plain-http') {
      socket.destroy();
      return;
    }
    socket.end('HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nThis port speaks HTTPS.\n');
    socket.resume();
    setTimeout(() => socket.destroy(), plainHttpLingerMs).unref();
  }
}

function bindAddress(server: Server, at: Address): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ ...at, backlog: 1024 }, () => {
    server.removeListener('error', reject);
    resolve();
  });
  return promise;
}

export async function startTlsMux(options: TlsMuxOptions): Promise<TlsMux> {
  const mux = new RunningMux(options);
  await mux.listen();
  return mux;
}
