// One request and its answer, on a connection of an agent's. Knows when to give up: on a server that is silent soon, on
// one that says that it is at work late.
import type { ClientRequest, Agent as HttpAgent, IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import type { Duplex } from 'node:stream';
import type { HttpAnswer, HttpRequest } from '@sallyport/contracts/api/client.ts';
import { aliveHeader } from '@sallyport/contracts/api/signs-of-life.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { readLines } from './answer-lines.ts';
import { dialError } from './dial.ts';

// As in transport.ts.
const { request: sendRequest } = createRequire(import.meta.url)('node:http') as typeof import('node:http');
/** More than the largest page of events; what is longer comes from nobody of ours. */
const maxAnswerBytes = 64 * 2 ** 20;
/** Nothing is heard on the connection: far longer than any call of ours takes. */
export const patienceMs = 30_000;
/** Of a stream that does not say how often it says `alive`. */
const silenceMs = 50_000;
/** As many signs of life may be missed in a stream. */
const missedSigns = 3;
/** Quiet is counted in ticks: when this process itself stood still, what has arrived is read between two of them. */
const tickMs = 250;

export interface Link {
  /** For messages. */
  readonly target: () => string;
  readonly silenceMs: number | undefined;
  /** Nothing came on this connection for as long as was waited. */
  readonly missed: (socket: Duplex) => void;
  readonly heard: (socket: Duplex) => void;
}

/**
 * The connection ended before an answer began. Whether the call was carried out nobody knows; it is sent again, by the
 * same name, and carried out once (contracts/api/once.ts). What has no such name changes nothing, or the same again.
 */
export class BrokenConnection extends Error {
  readonly reason: AppError;
  /** It did not break: nothing was heard on it. */
  readonly isSilent: boolean;

  constructor(reason: AppError, isSilent: boolean) {
    super(reason.message);
    this.reason = reason;
    this.isSilent = isSilent;
  }
}

export class Exchange {
  readonly answer: Promise<HttpAnswer>;
  readonly #request: HttpRequest;
  readonly #link: Link;
  readonly #sent: ClientRequest;
  readonly #reject: (error: unknown) => void;
  #response: IncomingMessage | undefined;
  #ticks: NodeJS.Timeout | undefined;
  #isSilent = false;
  readonly #onAbort = () => this.#sent.destroy(gaveUp(this.#link.target(), this.#request.signal?.reason));

  /** `quietMs`: so long the server may be silent before it answers. */
  constructor(agent: HttpAgent, request: HttpRequest, link: Link, quietMs: number) {
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
      timeout: patienceMs,
    });
    this.#sent.once('timeout', () => this.#sent.destroy(noAnswer()));
    this.#sent.once('socket', (socket) => this.#listen(socket, quietMs));
    this.#sent.once('error', (error) => this.#failed(error));
    this.#sent.once('close', () => {
      clearInterval(this.#ticks);
      signal?.removeEventListener('abort', this.#onAbort);
    });
    this.#sent.once('response', (response) => resolve(this.#receive(response)));
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted === true) this.#onAbort();
    this.#sent.end(body);
  }

  #listen(socket: Duplex, quietMs: number): void {
    let left = quietMs / tickMs;
    this.#sent.on('information', () => {
      left = quietMs / tickMs;
    });
    this.#sent.once('response', () => this.#link.heard(socket));
    this.#ticks = setInterval(() => {
      if (left-- > 0 || this.#response !== undefined) return;
      this.#isSilent = true;
      this.#link.missed(socket);
      this.#sent.destroy(noAnswer());
    }, tickMs);
  }

  #receive(response: IncomingMessage): HttpAnswer {
    this.#response = response;
    clearInterval(this.#ticks);
    // An answer that has begun and goes silent is a dead link, whatever TCP thinks.
    const signsMs = Number(response.headers[aliveHeader]) * 1_000 * missedSigns;
    this.#sent.setTimeout(this.#link.silenceMs ?? (signsMs > 0 ? signsMs : silenceMs));
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
    const reason = this.#broken(error);
    this.#reject(this.#isSilent || isReset(error) ? new BrokenConnection(reason, this.#isSilent) : reason);
  }

  #broken(error: unknown): AppError {
    return error instanceof AppError ? error : dialError(this.#link.target(), error);
  }
}

export function isReset(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
}

function noAnswer(): Error {
  return new Error('no answer in time');
}

function gaveUp(target: string, reason: unknown): AppError {
  return new AppError('unavailable', 'membership.aborted', `The call to ${target} was given up.`, {
    cause: reason,
  });
}
