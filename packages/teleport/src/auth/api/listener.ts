// Where calls come in: the TLS port or the socket file. Knows who a connection belongs to; reads no request.

import { constants } from 'node:crypto';
import { chmod, mkdtemp, rename, rm } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, type ServerOptions, type Server as TlsServer } from 'node:https';
import { type AddressInfo, connect, type Server as NetServer, type Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import type { TLSSocket, TlsOptions } from 'node:tls';
import { alpnProtocols } from '@sallyport/contracts/api/tunnel.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { RelayVerdict } from '../../ssh-transport/ssh-server.ts';
import type { ApiLimits } from './api-limits.ts';
import type { Caller } from './handler.ts';
import { RelayedConnections } from './relayed-connections.ts';

/** Resolves when the server listens; rejects as listening does. */
export type Bind = (server: Server, at: { readonly host: string; readonly port: number }) => Promise<void>;

export interface TlsListener {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** How it comes to listen; default: the address is bound. */
  readonly bind?: Bind | undefined;
  /**
   * Key, certificate and client CAs. The server itself sees to TLS 1.3, to asking for a client certificate and to
   * going on without one.
   */
  readonly tls: TlsOptions;
  /**
   * Asked at every call, not once a connection: expiry and locks bite on connections that live on. Throws
   * AppError (`denied`) for a certificate that is not accepted; without any the caller is `anyone`.
   */
  readonly callerOf: (socket: TLSSocket) => Caller | Promise<Caller>;
  /** Judges the signed line of a proxy that hands over a connection: whose it is. Without it such lines are refused. */
  readonly relayed?: (line: string) => Promise<RelayVerdict>;
  readonly onRelayRefused?: (reason: string, remote: string) => void;
}

export interface SocketListener {
  /** Mode 0600. Whoever can open it is the administrator; the header X-Sallyport-Operator may name the person. */
  readonly socketPath: string;
}

export type ListeningAt = { readonly host: string; readonly port: number } | { readonly socketPath: string };

export interface HttpListener {
  /** Made when the HTTP layer asks, once. */
  server(onRequest: RequestListener): Server;
  start(): Promise<ListeningAt>;
  /** Throws AppError `denied`. */
  callerOf(socket: Socket, operator: string | undefined): Caller | Promise<Caller>;
  replaceTls(tls: TlsOptions): void;
  /** Of before the last replaceTls. */
  isStale(socket: Socket): boolean;
  /** Address of the person's machine, as far as it is known. */
  remoteOf(socket: Socket): string;
  close(graceMs: number): Promise<void>;
}

/** From the first packet to a caller; as long for the first byte of a relay or of TLS. */
const handshakeMs = 10_000;
/** ALPN of the API behind a proxy's port, see the proxy's mux. */
const alpn = [alpnProtocols.auth, 'http/1.1'];

export function listenOnTls(listen: TlsListener, limits: ApiLimits): HttpListener {
  let server: TlsServer | undefined;
  let current = new WeakSet<Socket>();
  const made = () => server ?? unmade();
  const relayed = new RelayedConnections({
    judge: listen.relayed ?? (async () => ({ refuse: 'no relay is known here' })),
    onRefused: listen.onRelayRefused ?? (() => undefined),
    timeoutMs: handshakeMs,
  });
  return {
    server(onRequest) {
      server = createTlsServer({ ...httpOptions(limits), ...tlsOptions(listen.tls) }, onRequest);
      lookFirst(server, relayed);
      boundAnonymous(server, limits.anonymousConnections);
      server.on('secureConnection', (socket: TLSSocket) => current.add(socket));
      return withLimits(server, limits);
    },
    async start() {
      const { host, port: wanted, bind = listening } = listen;
      await bind(made(), { host, port: wanted });
      const { address, port } = made().address() as AddressInfo;
      return { host: address, port };
    },
    callerOf: (socket) => listen.callerOf(socket as TLSSocket),
    replaceTls(tls) {
      made().setSecureContext(tlsOptions(tls));
      current = new WeakSet();
    },
    isStale: (socket) => !current.has(socket),
    remoteOf: (socket) => relayed.remoteOf(socket),
    async close(graceMs) {
      const closed = closeServer(made(), graceMs);
      relayed.close();
      await closed;
    },
  };
}

export function listenOnSocket(socketPath: string, limits: ApiLimits): HttpListener {
  let server: Server | undefined;
  const made = () => server ?? unmade();
  return {
    server: (onRequest) => {
      server = createServer(httpOptions(limits), onRequest);
      return withLimits(server, limits);
    },
    async start() {
      await listenPrivately(made(), socketPath);
      return { socketPath };
    },
    callerOf: (_socket, operator) => ({ kind: 'admin', user: operator ?? 'root' }),
    replaceTls() {},
    isStale: () => false,
    remoteOf: (socket) => socket.remoteAddress ?? '',
    async close(graceMs) {
      await rm(socketPath, { force: true });
      await closeServer(made(), graceMs);
    },
  };
}

function tlsOptions(tls: TlsOptions): ServerOptions {
  return {
    ALPNProtocols: alpn,
    handshakeTimeout: handshakeMs,
    ...tls,
    minVersion: 'TLSv1.3',
    requestCert: true,
    // Who shows none is `anyone`; who shows a bad one is told why, which a failed handshake could not.
    rejectUnauthorized: false,
    // No resumption: a resumed session brings a certificate that nobody checks again.
    secureOptions: (tls.secureOptions ?? 0) | constants.SSL_OP_NO_TICKET,
  };
}

function httpOptions(limits: ApiLimits): ServerOptions {
  return {
    headersTimeout: Math.min(limits.requestMs, 15_000),
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.idleMs,
    // The two above are looked at so often.
    connectionsCheckingInterval: Math.min(5_000, limits.requestMs),
    maxHeaderSize: 16 * 1024,
    noDelay: true,
  };
}

function withLimits<S extends Server>(server: S, limits: ApiLimits): S {
  server.maxConnections = limits.connections;
  // Neither reads nor writes: a reader of an answer that stopped reading. Streams have a shorter bound of their own.
  server.timeout = 2 * Math.max(limits.handlerMs, limits.idleMs);
  return server;
}

/** TLS gets each connection once its first bytes were looked at, and as if they had not been. */
function lookFirst(server: TlsServer, relayed: RelayedConnections): void {
  const serve = server.listeners('connection');
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) =>
    relayed.accept(socket, (opened) => {
      for (const listener of serve) listener.call(server, opened);
    }),
  );
}

function boundAnonymous(server: TlsServer, max: number): void {
  let anonymous = 0;
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.getPeerX509Certificate() !== undefined) return;
    if (++anonymous > max) socket.destroy();
    socket.once('close', () => anonymous--);
  });
}

/**
 * A socket file that nobody else could open, not for a moment: it is bound in a folder of its own, narrowed, and
 * then moved to its name, where it replaces what a killed daemon left.
 */
async function listenPrivately(server: Server, socketPath: string): Promise<void> {
  if (await answers(socketPath)) {
    throw new AppError('conflict', 'api.socket_in_use', `Another process serves ${socketPath}.`);
  }
  const folder = await mkdtemp(join(dirname(socketPath), '.api-'));
  try {
    const bound = join(folder, basename(socketPath));
    await listening(server, { path: bound });
    await chmod(bound, 0o600);
    await rename(bound, socketPath);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

function listening(
  server: NetServer,
  where: { host: string; port: number } | { path: string },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      const place = 'path' in where ? where.path : `${where.host}:${where.port}`;
      reject(new AppError('unavailable', 'api.listen', `The API cannot listen on ${place}.`, { cause }));
    });
    server.listen({ ...where, backlog: 1024 }, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });
}

async function closeServer(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const cut = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(cut);
}

function unmade(): never {
  throw new AppError('internal', 'api.no_server', 'The listener was used before its server was made.');
}
