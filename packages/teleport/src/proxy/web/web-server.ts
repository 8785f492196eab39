// The HTTPS server of the web port: fastify on connections the mux hands over. Owns what is the same for every page
// and endpoint: request ids, limits by address, headers, errors. The routes themselves are registered by others.
import { randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import { isIPv6, type Socket } from 'node:net';
import rateLimit from '@fastify/rate-limit';
import { asAppError, errorAnswer, noRoute } from '@sallyport/contracts/api/error-answer.ts';
import { versionHeader, versionRefusal } from '@sallyport/contracts/api/versions.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import type { ProxyLog } from '../proxy.ts';
import { handshakeTimeoutMs } from '../tls-endpoint.ts';
import { minVersion, type WebCertificate } from '../web-certificate.ts';

export type WebApp = FastifyInstance<Server>;

export interface WebServerOptions {
  readonly certificate: WebCertificate;
  /** The operator's own certificates: browsers may remember that this name speaks HTTPS only. */
  readonly strictTransport: boolean;
  readonly version: string;
  readonly requestsPerMinute: number;
  readonly attemptsPerMinute: number;
  readonly log: ProxyLog;
  readonly onAnswered?: (route: string, status: number, seconds: number) => void;
  readonly routes: readonly ((app: WebApp) => void)[];
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Checks a secret: few tries in a minute, counted over all such routes together. */
    attempt?: true;
  }
}

export interface WebServer {
  accept(socket: Socket): void;
  /** After the certificate changed. */
  certificateChanged(): void;
  close(): Promise<void>;
}

// A log-in with WebAuthn takes a few KiB.
const bodyLimit = 65_536;
const headersTimeoutMs = 10_000;
const requestTimeoutMs = 30_000;
/** Addresses remembered for limits; the least recently seen are forgotten first. */
const rememberedAddresses = 10_000;
const minuteMs = 60_000;

export async function createWebServer(options: WebServerOptions): Promise<WebServer> {
  const { certificate } = options;
  const { promise, resolve } = Promise.withResolvers<Server>();
  const app = fastify<Server>({
    serverFactory: (handler) => {
      const server = createServer(tlsOptions(certificate), (request, reply) => handler(request, reply));
      resolve(server);
      return server;
    },
    bodyLimit,
    // Ours, never the client's: a log line must name one request.
    requestIdHeader: false,
    genReqId: () => randomUUID(),
    trustProxy: false,
    logger: false,
    routerOptions: { maxParamLength: 512 },
  });
  await app.register(rateLimit, {
    global: false,
    cache: rememberedAddresses,
    keyGenerator: (request) => addressGroup(request.ip),
    errorResponseBuilder: (_, { after }) =>
      new AppError('limit', 'proxy.too_many_requests', 'Too many requests from your address.', {
        hint: `Try again in ${after}.`,
      }),
  });
  addHooks(app, options);
  for (const register of options.routes) register(app);
  await app.ready();
  const server = await promise;
  server.headersTimeout = headersTimeoutMs;
  server.requestTimeout = requestTimeoutMs;
  server.maxHeadersCount = 100;
  return {
    accept: (socket) => void server.emit('connection', socket),
    certificateChanged: () => server.setSecureContext(contextOptions(certificate)),
    close: async () => {
      server.closeAllConnections();
      await app.close();
    },
  };
}

function contextOptions({ default: { key, cert } }: WebCertificate) {
  return { key, cert, minVersion };
}

function tlsOptions(certificate: WebCertificate) {
  return {
    ...contextOptions(certificate),
    SNICallback: (
      name: string,
      done: (error: null, context: ReturnType<WebCertificate['contextFor']>) => void,
    ) => done(null, certificate.contextFor(name)),
    ALPNProtocols: ['http/1.1'],
    handshakeTimeout: handshakeTimeoutMs,
  };
}

function addHooks(app: WebApp, options: WebServerOptions): void {
  const requests = app.rateLimit({ max: options.requestsPerMinute, timeWindow: minuteMs });
  const attempts = app.rateLimit({ max: options.attemptsPerMinute, timeWindow: minuteMs });
  app.addHook('onRequest', async (request, reply) => {
    void reply.headers(headersOf(request, options));
    refuseForeignForms(request);
    // Also for paths that do not exist: whoever guesses them asks too much as well.
    await (request.routeOptions.config.attempt ? attempts : requests).call(app, request, reply);
  });
  app.addHook('onResponse', async (request, reply) => {
    const { method, routeOptions, id, ip } = request;
    // The route's pattern, never the path: it may hold a one-time token.
    const route = routeOptions.url ?? 'none';
    const seconds = reply.elapsedTime / 1_000;
    options.onAnswered?.(route, reply.statusCode, seconds);
    options.log.debug({ requestId: id, method, route, status: reply.statusCode, remote: ip }, 'request');
  });
  app.setErrorHandler((error, request, reply) => {
    const known = asAppError(error);
    if (known.kind === 'internal') {
      const { cause } = known;
      options.log.error({ requestId: request.id, error: String(cause ?? known.message) }, 'a request failed');
    }
    return sendError(known, request, reply);
  });
  app.setNotFoundHandler((request, reply) => sendError(noRoute(), request, reply));
}

function sendError(error: AppError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status, body } = errorAnswer(error, request.id);
  return reply.code(status).type('application/json; charset=utf-8').send(body);
}

function headersOf(request: FastifyRequest, { strictTransport, version }: WebServerOptions) {
  return {
    'x-request-id': request.id,
    [versionHeader]: version,
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    ...(strictTransport ? { 'strict-transport-security': 'max-age=31536000' } : {}),
  };
}

/** Other sites' pages must not post here with a visitor's browser; every current browser sends this header. */
function refuseForeignForms(request: FastifyRequest): void {
  const site = request.headers['sec-fetch-site'];
  if (request.method === 'GET' || site === undefined || site === 'same-origin' || site === 'none') return;
  throw new AppError('denied', 'proxy.cross_site', 'Requests from other sites are not served.');
}

/** Throws when the client says it is more than one major version apart. */
export function checkClientVersion(request: FastifyRequest, ours: string): void {
  const header = request.headers[versionHeader];
  const refusal = versionRefusal(typeof header === 'string' ? header : undefined, ours);
  if (refusal) throw refusal;
}

/** What limits count by: an IPv4 address, or the 64 bits of IPv6 one customer is given. */
export function addressGroup(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined || !isIPv6(address)) return mapped ?? address;
  const [head = '', tail] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length);
  return [...groups, ...Array<string>(missing).fill('0'), ...(tail ?? '').split(':')].slice(0, 4).join(':');
}
