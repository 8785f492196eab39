// Calls as HTTP: fastify routes and reads them; this file says who calls, keeps the bounds and writes the answers.
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, OutgoingHttpHeaders, Server } from 'node:http';
import type { Socket } from 'node:net';
import { asAppError, errorAnswer, noRoute } from '@sallyport/contracts/api/error-answer.ts';
import { attemptHeader, onceHeader } from '@sallyport/contracts/api/once.ts';
import type { RawParts } from '@sallyport/contracts/api/request-parts.ts';
import { aliveHeader } from '@sallyport/contracts/api/signs-of-life.ts';
import { versionHeader, versionRefusal } from '@sallyport/contracts/api/versions.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { ApiLimits } from './api-limits.ts';
import type { ApiLog } from './api-log.ts';
import type { ApiMetrics } from './api-metrics.ts';
import { admit, answerOf, type Endpoint, linesOf, type RefusedCall, readCall } from './call.ts';
import type { CallContext, Caller } from './handler.ts';
import type { HttpListener } from './listener.ts';
import { Pulse } from './pulse.ts';
import type { CallerRules } from './rights.ts';
import { aliveLineOf, writeStream } from './stream-answer.ts';
import { addressKey, TokenBuckets } from './token-buckets.ts';

export interface HttpApiOptions {
  readonly rules: CallerRules;
  readonly version: string;
  readonly log: ApiLog;
  readonly metrics?: ApiMetrics;
  readonly onRefused?: (refused: RefusedCall) => void;
  readonly limits: ApiLimits;
  readonly listener: HttpListener;
}

/** A call on its way, from its head to the end of its answer. */
interface Call {
  readonly context: CallContext;
  readonly abort: AbortController;
}

export class HttpApi {
  readonly #options: HttpApiOptions;
  readonly #log: ApiLog;
  readonly #metrics: ApiMetrics | undefined;
  readonly #fastify: FastifyInstance;
  readonly #calls = new WeakMap<FastifyRequest, Call>();
  /** Calls being answered, streams not counted. */
  #running = 0;
  readonly #streams = new Set<AbortController>();
  readonly #anonymous: TokenBuckets;
  readonly #logIns: TokenBuckets;
  readonly #pulse: Pulse;

  constructor(options: HttpApiOptions, endpoints: readonly Endpoint[]) {
    this.#options = options;
    this.#log = options.log;
    this.#metrics = options.metrics;
    this.#anonymous = new TokenBuckets(options.limits.anonymousRate);
    this.#logIns = new TokenBuckets(options.limits.logInRate);
    this.#pulse = new Pulse(options.limits.pulseMs);
    this.#fastify = this.#build(endpoints);
  }

  async ready(): Promise<void> {
    await this.#fastify.ready();
  }

  /** Ends the streams: they would go on for ever. */
  stop(): void {
    for (const abort of this.#streams) abort.abort();
  }

  async close(): Promise<void> {
    this.#pulse.close();
    await this.#fastify.close();
  }

  #build(endpoints: readonly Endpoint[]): FastifyInstance {
    const fastify = Fastify({
      logger: false,
      requestIdHeader: false,
      genReqId: (request: IncomingMessage) => requestId(request.headers['x-request-id']),
      exposeHeadRoutes: false,
      bodyLimit: 2 ** 20,
      return503OnClosing: false,
      // Names of resources and tokens are up to 256 characters, each up to three when escaped.
      routerOptions: { maxParamLength: 1024 },
      serverFactory: (onRequest): Server => this.#options.listener.server(onRequest),
      frameworkErrors: (error, request, reply) => this.#fail(request, reply, asAppError(error)),
      clientErrorHandler: (error, socket) => refuseUnreadable(error, socket as Socket),
    });
    fastify.addHook('onRequest', (request, reply) => this.#begin(request, reply));
    fastify.setErrorHandler((error, request, reply) => this.#fail(request, reply, asAppError(error)));
    fastify.setNotFoundHandler((request, reply) => this.#fail(request, reply, noRoute()));
    for (const endpoint of endpoints) {
      const { method, path, bodyLimit } = endpoint.route;
      fastify.route({
        method,
        url: path,
        config: { endpoint },
        ...(bodyLimit === undefined ? {} : { bodyLimit }),
        handler: (request, reply) => this.#answer(endpoint, request, reply),
      });
    }
    return fastify;
  }

  /** Before the body is read: nobody makes us read what they may not send. */
  async #begin(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    if (this.#pulse.wasOut) {
      reply.hijack();
      request.raw.socket.destroy();
      return;
    }
    const endpoint = endpointOf(request);
    this.#account(request, reply, endpoint);
    reply.headers({
      'x-request-id': request.id,
      [versionHeader]: this.#options.version,
      'cache-control': 'no-store',
    });
    if (this.#options.listener.isStale(request.raw.socket)) reply.header('connection', 'close');
    this.#refuseIfBusy();
    const caller = await this.#callerOf(request, reply, endpoint);
    const remoteAddress = this.#options.listener.remoteOf(request.raw.socket);
    if (caller.kind === 'anyone') this.#slow(this.#anonymous, remoteAddress, reply);
    if (endpoint === undefined) return;
    const abort = new AbortController();
    reply.raw.once('close', () => {
      // Unfinished: the caller hung up.
      if (!reply.raw.writableFinished) abort.abort();
    });
    const once = onceOf(request);
    const context = { caller, requestId: request.id, once, remoteAddress, signal: abort.signal };
    this.#calls.set(request, { context, abort });
    this.#refuseVersion(request, endpoint);
    await admit(endpoint, context, this.#options.rules).catch((thrown: unknown) => {
      const reason = AppError.from(thrown);
      if (reason.kind === 'denied')
        this.#refused('rights', request, endpoint, { caller, remoteAddress, reason });
      throw reason;
    });
  }

  async #callerOf(
    request: FastifyRequest,
    reply: FastifyReply,
    endpoint: Endpoint | undefined,
  ): Promise<Caller> {
    try {
      return await this.#options.listener.callerOf(request.raw.socket, operator(request));
    } catch (thrown) {
      const reason = AppError.from(thrown);
      // Whoever has a certificate that ended must still be able to learn so, and to log in or join again.
      if (reason.kind === 'denied' && endpoint?.route.access === 'anyone') return { kind: 'anyone' };
      const remoteAddress = this.#options.listener.remoteOf(request.raw.socket);
      if (reason.kind === 'denied') {
        this.#slow(this.#anonymous, remoteAddress, reply);
        this.#refused('certificate', request, endpoint, { caller: undefined, remoteAddress, reason });
      }
      throw reason;
    }
  }

  #refuseIfBusy(): void {
    if (this.#running <= this.#options.limits.calls) return;
    this.#metrics?.refused('busy');
    throw new AppError('unavailable', 'api.busy', 'Too many calls are being answered. Try again later.');
  }

  #refuseVersion(request: FastifyRequest, { route }: Endpoint): void {
    // What anyone may read says which version the cluster is: that must be readable with any.
    if (route.access === 'anyone' && route.method === 'GET') return;
    const theirs = request.headers[versionHeader];
    const refused = versionRefusal(typeof theirs === 'string' ? theirs : undefined, this.#options.version);
    if (refused === undefined) return;
    this.#metrics?.refused('version');
    throw refused;
  }

  #slow(buckets: TokenBuckets, address: string, reply: FastifyReply): void {
    const waitMs = buckets.take(addressKey(address), performance.now());
    if (waitMs === 0) return;
    this.#metrics?.refused('rate');
    const seconds = Math.ceil(waitMs / 1000);
    reply.header('retry-after', String(seconds));
    throw new AppError('limit', 'api.too_fast', 'Too many calls from this address.', {
      hint: `Try again in ${seconds} s.`,
    });
  }

  #refused(
    why: 'rights' | 'certificate',
    request: FastifyRequest,
    endpoint: Endpoint | undefined,
    what: Pick<RefusedCall, 'caller' | 'remoteAddress' | 'reason'>,
  ): void {
    this.#metrics?.refused(why);
    const call = `${request.method} ${endpoint?.route.path ?? 'unknown'}`;
    this.#options.onRefused?.({ ...what, call, requestId: request.id });
  }

  async #answer(endpoint: Endpoint, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const call = this.#calls.get(request);
    if (call === undefined) throw new AppError('internal', 'api.no_call', 'The call was not admitted.');
    const raw = { params: request.params, query: request.query, body: request.body };
    const parts = readCall(endpoint, raw, call.context, (address) =>
      this.#slow(this.#logIns, address, reply),
    );
    if (endpoint.route.stream === true) return await this.#stream(endpoint, parts, call, request, reply);
    return await answerOf(endpoint, parts, call.context, this.#options.limits.handlerMs);
  }

  async #stream(
    endpoint: Endpoint,
    parts: RawParts,
    { context, abort }: Call,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<unknown> {
    const { aliveMs, stalledMs } = this.#options.limits;
    this.#running--; // it goes on for days
    this.#streams.add(abort);
    this.#metrics?.streams(1);
    const writeHead = () => {
      reply.hijack();
      const headers = {
        ...reply.getHeaders(),
        'content-type': 'application/x-ndjson',
        [aliveHeader]: String(aliveMs / 1000),
      };
      reply.raw.writeHead(200, headers as OutgoingHttpHeaders).flushHeaders();
    };
    try {
      const source = linesOf(endpoint, parts, context);
      const aliveLine = aliveLineOf(endpoint.route);
      const { signal } = context;
      await writeStream(source, reply.raw, { aliveLine, aliveMs, stalledMs, signal, writeHead });
      if (!reply.sent) throw new AppError('unavailable', 'api.closing', 'The API is closing.');
    } catch (thrown) {
      if (!reply.sent) throw thrown;
      this.#logFailure(request, endpoint, AppError.from(thrown));
      reply.raw.destroy(); // the reader must not take it for a whole stream
    } finally {
      this.#running++;
      this.#streams.delete(abort);
      this.#metrics?.streams(-1);
      // Ended by the server: whoever reads is told so by the end of the answer.
      if (reply.sent && !reply.raw.writableEnded) reply.raw.end();
    }
    return reply;
  }

  #fail(request: FastifyRequest, reply: FastifyReply, error: AppError): void {
    if (reply.sent || reply.raw.headersSent) return;
    if (error.kind === 'internal') this.#logFailure(request, endpointOf(request), error);
    const { status, body } = errorAnswer(error, request.id);
    void reply.code(status).send(body);
  }

  #logFailure(request: FastifyRequest, endpoint: Endpoint | undefined, error: AppError): void {
    const fields = { request_id: request.id, route: endpoint?.name, err: error.cause ?? error };
    if (error.kind === 'internal') this.#log.error(fields, 'a call of the API failed');
    else this.#log.warn(fields, 'a stream of the API was cut');
  }

  /** Counts the call in, and out when its answer has ended, however it ends. */
  #account(request: FastifyRequest, reply: FastifyReply, endpoint: Endpoint | undefined): void {
    this.#running++;
    this.#pulse.accompany(reply.raw);
    reply.raw.once('close', () => {
      this.#running--;
      const route = endpoint?.name ?? 'none';
      const { statusCode } = reply.raw;
      const ms = reply.elapsedTime;
      if (endpoint?.route.stream !== true) this.#metrics?.answered(route, statusCode, ms / 1000);
      const caller = this.#calls.get(request)?.context.caller;
      this.#log.debug(
        { request_id: request.id, route, status: statusCode, ms: Math.round(ms), caller: nameOf(caller) },
        'answered a call',
      );
    });
  }
}

function endpointOf(request: FastifyRequest): Endpoint | undefined {
  return (request.routeOptions.config as { readonly endpoint?: Endpoint } | undefined)?.endpoint;
}

/** A caller may bring the id under which its own log knows the call. */
function requestId(given: string | string[] | undefined): string {
  return typeof given === 'string' && /^[\w.:-]{8,64}$/.test(given) ? given : randomUUID();
}

function onceOf({ headers }: FastifyRequest): CallContext['once'] {
  const id = headers[onceHeader];
  if (typeof id !== 'string' || !/^[\w-]{16,64}$/.test(id)) return undefined;
  return { id, repeated: headers[attemptHeader] !== undefined };
}

/** The person behind sudo, as `tctl` says it; believed because only root can reach the socket. */
function operator(request: FastifyRequest): string | undefined {
  const given = request.headers['x-sallyport-operator'];
  return typeof given === 'string' && /^[\w.@-]{1,128}$/.test(given) ? given : undefined;
}

function nameOf(caller: Caller | undefined): string {
  if (caller === undefined || caller.kind === 'anyone') return 'anyone';
  return caller.kind === 'host' ? caller.hostUuid : caller.user;
}

/** What the HTTP parser gave up on: no request, so no hooks. Answered by hand, and hung up. */
function refuseUnreadable(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const reason = late
    ? new AppError('limit', 'api.request_timeout', 'The request took too long to arrive.')
    : new AppError('bad_input', 'api.no_http', 'This is no HTTP request that the API can read.');
  const body = JSON.stringify(errorAnswer(reason, undefined).body);
  socket.end(
    `HTTP/1.1 ${late ? '408 Request Timeout' : '400 Bad Request'}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
