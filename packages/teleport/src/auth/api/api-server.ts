// The API over HTTP/1.1: a route table and its handlers, behind mutual TLS 1.3 or behind a socket file that only
// root may open. Owns what is true of every call: who calls, how much, how long, which answer to an error. What a
// call does is its handler's business; which calls there are, the table's.
import type { TlsOptions } from 'node:tls';
import { type ApiLimits, defaultLimits } from './api-limits.ts';
import type { ApiLog } from './api-log.ts';
import type { ApiMetrics } from './api-metrics.ts';
import { endpointsOf, type RefusedCall, type RouteTable } from './call.ts';
import type { Handlers } from './handler.ts';
import { HttpApi } from './http-api.ts';
import {
  type HttpListener,
  type ListeningAt,
  listenOnSocket,
  listenOnTls,
  type SocketListener,
  type TlsListener,
} from './listener.ts';
import type { CallerRules } from './rights.ts';

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

export interface ApiServer {
  readonly address: ListeningAt;
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
  const limits = { ...defaultLimits, ...options.limits };
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
