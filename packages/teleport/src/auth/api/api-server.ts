// The API over HTTP/1.1: a route table and its handlers, behind mutual TLS 1.3 or behind a socket file that only
// root may open. Owns what is true of every call: who calls, how much, how long, which answer to an error. What a
// call does is its handler's business; which calls there are, the table's.
import type { TLSSocket, TlsOptions } from 'node:tls';
import type { Route } from '@sallyport/contracts/api/route.ts';
import type { AppError } from '@sallyport/contracts/errors.ts';
import type { Logger } from 'pino';
import type { ApiMetrics } from './api-metrics.ts';
import type { Caller, Handlers } from './handler.ts';
import type { Allows } from './rights.ts';

export type RouteTable = Readonly<Record<string, Route>>;

export interface ApiServerOptions<Routes extends RouteTable> {
  readonly routes: Routes;
  readonly handlers: Handlers<Routes>;
  readonly listen: TlsListener | SocketListener;
  /** Of users; hosts and the administrator are decided by the route alone. */
  readonly allows: Allows;
  /** Of this product, `1.2.3`: told in every answer, and held against the caller's. */
  readonly version: string;
  readonly log: Logger;
  readonly limits?: Partial<ApiLimits>;
  readonly metrics?: ApiMetrics;
  /** For the audit log: somebody called what they may not, or with a certificate that is not accepted. */
  readonly onRefused?: (refused: RefusedCall) => void;
}

export interface TlsListener {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Key, certificate and client CAs. TLS 1.3, asking for a client certificate and ending no handshake for the lack of one are the server's doing. */
  readonly tls: TlsOptions;
  /**
   * Asked at every call, not once a connection: expiry and locks bite on connections that live on. Throws
   * AppError (`denied`) for a certificate that is not accepted; without any the caller is `anyone`.
   */
  readonly callerOf: (socket: TLSSocket) => Caller | Promise<Caller>;
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
  /** A connection without a request on its way. */
  readonly idleMs: number;
  /** A stream whose reader takes nothing for so long is cut. */
  readonly stalledMs: number;
  /** Between `alive` lines of a quiet stream. */
  readonly aliveMs: number;
  /** Calls of `anyone`, for each address. */
  readonly anonymousRate: Rate;
  /** Calls of routes that are part of log-in, for each person's address. */
  readonly logInRate: Rate;
}

export interface Rate {
  /** At once. */
  readonly burst: number;
  /** From then on. */
  readonly perSecond: number;
}

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
  /** The port or the path that it listens on. */
  readonly address: { readonly host: string; readonly port: number } | { readonly socketPath: string };
  /**
   * New connections are met with this; open ones go on. Keep-alive connections without a call on them are closed, so that
   * clients come back and see it.
   */
  replaceTls(tls: TlsOptions): void;
  /** Streams end, calls have `graceMs` (5,000) to; then connections are cut. */
  close(graceMs?: number): Promise<void>;
}
