// Requests to identity providers: https with the provider's own CA where one is configured, short, small, and never
// redirected. What it takes and gives are those of `fetch`, because the OpenID library speaks that.
import type { IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import { getCACertificates } from 'node:tls';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { CustomFetch } from 'openid-client';

// As in membership/transport.ts: importing these loads much that most commands never use.
const require = createRequire(import.meta.url);
const { request: requestHttps } = require('node:https') as typeof import('node:https');
const { request: requestHttp } = require('node:http') as typeof import('node:http');

/** Keys of a large provider are some KiB, a page of teams some hundred. */
const maxAnswerBytes = 2 * 2 ** 20;
const timeoutMs = 10_000;

export interface ProviderFetchOptions {
  /** PEM. */
  readonly ca: string | undefined;
  /** As people know the provider, for messages. */
  readonly provider: string;
}

export function providerFetch({ ca, provider }: ProviderFetchOptions): CustomFetch {
  const trusted = ca === undefined ? undefined : [...getCACertificates('default'), ca];
  return async (address, { method, headers, body, signal }) => {
    const url = new URL(address);
    const plain = url.protocol === 'http:';
    if (plain && !isLoopback(url.hostname)) throw unreachable(provider, `${url.origin} is not https`);
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const sent = (plain ? requestHttp : requestHttps)(
      url,
      {
        method,
        headers: { 'user-agent': 'sallyport', ...headers },
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal === undefined ? [] : [signal])]),
        ...(plain ? {} : { ca: trusted, minVersion: 'TLSv1.2' as const }),
        agent: false,
      },
      resolve,
    );
    sent.once('error', (error) => reject(unreachable(provider, reasonOf(error), error)));
    sent.end(textOf(body));
    return readAnswer(await promise, provider);
  };
}

async function readAnswer(answer: IncomingMessage, provider: string): Promise<Response> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of answer as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > maxAnswerBytes) throw unreachable(provider, 'its answer is longer than 2 MiB');
      parts.push(part);
    }
  } catch (error) {
    throw error instanceof AppError ? error : unreachable(provider, reasonOf(error), error);
  }
  const status = answer.statusCode ?? 502;
  const headers = Object.entries(answer.headers).map(
    ([name, value]) => [name, String(value)] as [string, string],
  );
  // These statuses have no body, and the constructor insists.
  const body = status === 204 || status === 304 ? null : new Uint8Array(Buffer.concat(parts));
  return new Response(body, { status, headers });
}

function textOf(body: unknown): string | Uint8Array | undefined {
  if (body === undefined || body === null) return undefined;
  if (typeof body === 'string' || body instanceof Uint8Array) return body;
  if (body instanceof URLSearchParams) return body.toString();
  throw new Error('the OpenID library sent a body of a kind that is not known here');
}

function isLoopback(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(host);
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'AbortError' || error.name === 'TimeoutError') return 'it did not answer within 10 s';
  const code = 'code' in error ? String(error.code) : '';
  return code === '' || error.message.includes(code) ? error.message : `${error.message} (${code})`;
}

export function unreachable(provider: string, why: string, cause?: unknown): AppError {
  return new AppError('unavailable', 'auth.provider_away', `${provider} cannot be reached: ${why}.`, {
    cause,
    hint: 'Try again in a while; an administrator can check it with `tctl sso test`.',
  });
}
