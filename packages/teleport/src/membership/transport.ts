// How the typed client's requests travel: HTTP/1.1 over mutual TLS 1.3 to an auth server (or to a proxy, which passes
// the bytes on by ALPN), or over the auth host's local socket. Connections are kept and used again.

import { randomUUID } from 'node:crypto';
import type { AgentOptions, ClientRequest, Agent as HttpAgent, IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import { connect as connectSocket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { HttpAnswer, HttpRequest, Transport } from '@sallyport/contracts/api/client.ts';
import { attemptHeader, onceHeader } from '@sallyport/contracts/api/once.ts';
import type { HostRole } from '@sallyport/contracts/api/route.ts';
import { alpnProtocols } from '@sallyport/contracts/api/tunnel.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { clientTlsOptions, type TlsTrust } from '../ca/tls-options.ts';
import { formatAddress } from '../config/address.ts';
import type { Address } from '../config/config.ts';
import { readLines } from './answer-lines.ts';
import { connectTimeoutOf, dialError, dialTls, severalFailed } from './dial.ts';

// Not imported: to name its exports Node would evaluate them all, undici among them, which takes a command line
// client longer (60 ms of CPU) than its whole question.
const { Agent, request: sendRequest } = createRequire(import.meta.url)(
  'node:http',
) as typeof import('node:http');
/** More than the largest page of events; what is longer comes from nobody of ours. */
const maxAnswerBytes = 64 * 2 ** 20;
/**
 * Far longer than any call of ours takes. Over a link that was cut, TCP itself would go on for minutes, and after it
 * has healed wait for a retransmission that is due in one more.
 */
const headTimeoutMs = 30_000;
/** Streams say `alive` every 15 s. */
const silenceMs = 50_000;
/** Of a call whose connection broke. */
const maxAttempts = 5;

export interface MemberTransport extends Transport {
  /** Connections without a call on them are closed: the next call shows a renewed certificate, or meets new trust. */
  renew(): void;
  /** Every call fails, now and later. */
  close(): void;
}

/** PEM. */
export interface TlsKeyPair {
  readonly key: string;
  readonly cert: string;
}

export interface TlsTransportOptions {
  /**
   * Auth servers, or the web port of proxies. Tried in turn; who answered is asked again first. A function is asked for
   * each new connection: what is known of the cluster changes.
   */
  readonly addresses: readonly Address[] | (() => readonly Address[]);
  /** Both are asked for each new connection. Without an identity: an anonymous caller. */
  readonly identity?: () => TlsKeyPair | undefined;
  readonly trust: () => TlsTrust;
  /** Default: an auth server. */
  readonly expect?: readonly HostRole[];
  readonly connectTimeoutMs?: number;
  readonly silenceMs?: number;
}

export function tlsTransport(options: TlsTransportOptions): MemberTransport {
  const { identity, trust, expect = ['auth'] } = options;
  const addressesNow = () =>
    typeof options.addresses === 'function' ? options.addresses() : options.addresses;
  let preferred = '';
  const dial = async (): Promise<Duplex> => {
    const pair = identity?.();
    const tls = clientTlsOptions({
      ...(pair === undefined ? {} : { keyPem: pair.key, certPem: pair.cert }),
      trust: trust(),
      expect,
      alpn: [alpnProtocols.auth],
    });
    const failures: AppError[] = [];
    const addresses = addressesNow();
    const first = addresses.findIndex((address) => formatAddress(address) === preferred);
    const begin = Math.max(0, first);
    const { connectTimeoutMs: timeoutMs = connectTimeoutOf(addresses) } = options;
    for (const address of [...addresses.slice(begin), ...addresses.slice(0, begin)]) {
      try {
        const socket = await dialTls(address, tls, { timeoutMs });
        preferred = formatAddress(address);
        return socket;
      } catch (error) {
        failures.push(AppError.from(error));
      }
    }
    throw severalFailed(failures);
  };
  return httpTransport({
    dial,
    target: () => addressesNow().map(formatAddress).join(', '),
    silenceMs: options.silenceMs,
  });
}

/** The administrator's way in, on the auth host. */
export function socketTransport(path: string): MemberTransport {
  return httpTransport({
    target: () => path,
    silenceMs: undefined,
    dial: () => {
      const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
      const socket = connectSocket(path);
      socket.once('error', (error) => reject(dialError(path, error)));
      socket.once('connect', () => resolve(socket.on('error', () => undefined)));
      return promise;
    },
  });
}

interface Link {
  readonly dial: () => Promise<Duplex>;
  /** For messages. */
  readonly target: () => string;
  readonly silenceMs: number | undefined;
}

/** node's agent with connections from a function of ours: it pools them, keeps them, and hands them out again. */
class DialAgent extends Agent {
  readonly #dial: () => Promise<Duplex>;

  constructor(dial: () => Promise<Duplex>, options: AgentOptions) {
    super(options);
    this.#dial = dial;
  }

  override createConnection(
    _options: object,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    this.#dial().then(
      (stream) => callback?.(null, stream),
      // The type has no place for a failure without a stream; node takes it so.
      (error: Error) => (callback as ((error: Error) => void) | undefined)?.(error),
    );
  }

  closeIdle(): void {
    for (const socket of Object.values(this.freeSockets).flat()) socket?.destroy();
  }
}

function httpTransport(link: Link): MemberTransport {
  // A watch holds a connection for good, calls borrow one for milliseconds; 75 s is what the server keeps them.
  const agent = new DialAgent(link.dial, {
    keepAlive: true,
    maxSockets: 64,
    maxFreeSockets: 8,
    timeout: 60_000,
  });
  let closed = false;
  const transport = async (request: HttpRequest): Promise<HttpAnswer> => {
    const named = request.method === 'GET' ? {} : { [onceHeader]: randomUUID() };
    for (let attempt = 1; ; attempt++) {
      if (closed) throw new AppError('unavailable', 'membership.closed', 'This connection was closed.');
      const again = attempt === 1 ? {} : { [attemptHeader]: String(attempt) };
      const headers = { ...request.headers, ...named, ...again };
      try {
        return await new Exchange(agent, { ...request, headers }, link).answer;
      } catch (error) {
        if (!(error instanceof BrokenConnection)) throw error;
        if (attempt >= maxAttempts || request.signal?.aborted === true) throw error.reason;
      }
      // The first one at once: most often a kept connection that the server closed in the same instant. Then a server
      // that went down: the next connection finds another, or the same one started anew.
      if (attempt > 1) await delay(attempt * 100);
    }
  };
  return Object.assign(transport, {
    renew: () => agent.closeIdle(),
    close: () => {
      closed = true;
      agent.destroy();
    },
  });
}

/**
 * The connection ended before an answer began. Whether the call was carried out nobody knows; it is sent again, by the
 * same name, and carried out once (contracts/api/once.ts). What has no such name changes nothing, or the same again.
 */
class BrokenConnection extends Error {
  readonly reason: AppError;

  constructor(reason: AppError) {
    super(reason.message);
    this.reason = reason;
  }
}

/** One request and its answer. */
class Exchange {
  readonly answer: Promise<HttpAnswer>;
  readonly #request: HttpRequest;
  readonly #link: Link;
  readonly #sent: ClientRequest;
  readonly #reject: (error: unknown) => void;
  #response: IncomingMessage | undefined;
  readonly #onAbort = () => this.#sent.destroy(gaveUp(this.#link.target(), this.#request.signal?.reason));

  constructor(agent: HttpAgent, request: HttpRequest, link: Link) {
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
    this.answer = promise;
    this.#request = request;
    this.#link = link;
    this.#reject = reject;
    const { method, path, headers, body, signal } = request;
    // The Host header is of no meaning to our servers; HTTP/1.1 demands one.
    this.#sent = sendRequest({
      agent,
      method,
      path,
      headers: { ...headers, host: 'auth' },
      timeout: headTimeoutMs,
    });
    this.#sent.once('timeout', () => this.#sent.destroy(new Error('no answer in time')));
    this.#sent.once('error', (error) => this.#failed(error));
    this.#sent.once('close', () => signal?.removeEventListener('abort', this.#onAbort));
    this.#sent.once('response', (response) => resolve(this.#receive(response)));
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted === true) this.#onAbort();
    this.#sent.end(body);
  }

  #receive(response: IncomingMessage): HttpAnswer {
    this.#response = response;
    // An answer that has begun and goes silent is a dead link, whatever TCP thinks.
    this.#sent.setTimeout(this.#link.silenceMs ?? silenceMs);
    // Errors reach whoever reads; while nobody does they must not end the process.
    response.on('error', () => undefined);
    return {
      status: response.statusCode ?? 0,
      header: (name) => {
        const value = response.headers[name.toLowerCase()];
        return Array.isArray(value) ? value.join(', ') : value;
      },
      text: () => this.#text(response),
      lines: () => readLines(response, (error) => this.#broken(error)),
    };
  }

  async #text(response: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of response) {
        bytes += (chunk as Buffer).length;
        if (bytes > maxAnswerBytes) throw new AppError('limit', 'api.too_long', 'The answer is too long.');
        chunks.push(chunk as Buffer);
      }
    } catch (error) {
      throw this.#broken(error);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  #failed(error: Error): void {
    if (this.#response !== undefined) {
      this.#response.destroy(error);
      return;
    }
    const reset = 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
    const reason = this.#broken(error);
    this.#reject(reset ? new BrokenConnection(reason) : reason);
  }

  #broken(error: unknown): AppError {
    return error instanceof AppError ? error : dialError(this.#link.target(), error);
  }
}

function gaveUp(target: string, reason: unknown): AppError {
  return new AppError('unavailable', 'membership.aborted', `The call to ${target} was given up.`, {
    cause: reason,
  });
}
