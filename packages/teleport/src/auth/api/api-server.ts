// The API over HTTP/1.1: a route table and its handlers, behind mutual TLS 1.3 or behind a socket file that only
// root may open. Owns what is true of every call: who calls, how much, how long, which answer to an error. What a
// call does is its handler's business; which calls there are, the table's.
import type { Server } from 'node:net';
import type { TLSSocket, TlsOptions } from 'node:tls';
import type { AppError } from '@sallyport/contracts/errors.ts';
import type { RelayVerdict } from '../../ssh-transport/ssh-server.ts';
import type { ApiMetrics } from './api-metrics.ts';
import { endpointsOf, type RouteTable } from './call.ts';
import type { Caller, Handlers } from './handler.ts';
import { HttpApi } from './http-api.ts';
import { type HttpListener, listenOnSocket, listenOnTls } from './listener.ts';
import type { CallerRules } from './rights.ts';
import type { Rate } from './token-buckets.ts';

export interface ApiServerOptions<Routes extends RouteTable> {
  readonly routes: Routes;
  readonly handlers: Handlers<Routes>;
  readonly listen: TlsListener | SocketListener;
  /** The auth service fits. */
  readonly rules: CallerRules;
  /** Of this product, `1.2.3`: told in every answer, and held against the caller's. */
  readonly version: string;
  readonly log: ApiLog;
  readonly limits?: Partial<ApiLimits>;
  readonly metrics?: ApiMetrics;
  /** For the audit log: somebody called what they may not, or with a certificate that is not accepted. */
  readonly onRefused?: (refused: RefusedCall) => void;
}

/** The service log; pino fits. */
export interface ApiLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

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

export interface ApiLimits {
  /** Open connections; more are closed at once. */
  readonly connections: number;
  /** Connections whose peer showed no certificate. */
  readonly anonymousConnections: number;
  /** Calls being answered at once, streams not counted. */
  readonly calls: number;
  /** From the first byte of a request to its last. */
  readonly requestMs: number;
  /** A handler that takes longer is given up (its signal aborts). */
  readonly handlerMs: number;
  /** A connection without a call on it. */
  readonly idleMs: number;
  /** A stream whose reader takes nothing for so long is cut. */
  readonly stalledMs: number;
  /** Between `alive` lines of a quiet stream. */
  readonly aliveMs: number;
  /** Between two signs that a call is being carried out. */
  readonly pulseMs: number;
  /** Calls of `anyone`, for each address. */
  readonly anonymousRate: Rate;
  /** Calls of routes that are part of log-in, for each person's address. */
  readonly logInRate: Rate;
}

/** A cluster of some thousand hosts, each with a stream and a call now and then. */
const defaults: ApiLimits = {
  connections: 20_000,
  anonymousConnections: 1_000,
  calls: 2_000,
  requestMs: 30_000,
  handlerMs: 60_000,
  idleMs: 75_000,
  stalledMs: 60_000,
  aliveMs: 4_000,
  pulseMs: 500,
  anonymousRate: { burst: 200, perSecond: 20 },
  logInRate: { burst: 30, perSecond: 1 },
};

export interface RefusedCall {
  /** `POST /v1/tokens`. */
  readonly call: string;
  /** `undefined`: the certificate was not accepted, so nobody is known. */
  readonly caller: Caller | undefined;
  readonly remoteAddress: string;
  readonly requestId: string;
  readonly reason: AppError;
}

export interface ApiServer {
  readonly address: { readonly host: string; readonly port: number } | { readonly socketPath: string };
  /**
   * New connections are met with this; calls and streams go on. A connection of before ends with the answer to its
   * next call, so that clients come back and see it; ending idle ones at once would cut calls on their way here.
   */
  replaceTls(tls: TlsOptions): void;
  /** Streams end, calls have `graceMs` (5,000) to; then connections are cut. */
  close(graceMs?: number): Promise<void>;
}

/** Rejects with AppError when it cannot listen. */
export async function startApiServer<Routes extends RouteTable>(
  options: ApiServerOptions<Routes>,
): Promise<ApiServer> {
  const limits = { ...defaults, ...options.limits };
  const { listen } = options;
  const listener: HttpListener =
    'tls' in listen ? listenOnTls(listen, limits) : listenOnSocket(listen.socketPath, limits);
  const api = new HttpApi({ ...options, limits, listener }, endpointsOf(options.routes, options.handlers));
  await api.ready();
  const address = await listener.start();
  return {
    address,
    replaceTls: (tls) => listener.replaceTls(tls),
    async close(graceMs = 5_000) {
      api.stop();
      await listener.close(graceMs);
      await api.close();
    },
  };
}
