// The proxy's HTTP endpoints before there is a certificate: ping, second factor, log-in.
import type { IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { createClient, type HttpAnswer, type HttpRequest } from '@sallyport/contracts/api/client.ts';
import { webRoutes } from '@sallyport/contracts/api/web-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { formatAddress } from '../../config/address.ts';
import { productVersion } from '../version.ts';
import { dialProxy, type ProxyAddress, type Trust } from './proxy-link.ts';

// As in membership/transport.ts: importing node:http loads much that a client never uses.
const { request: httpRequest } = createRequire(import.meta.url)('node:http') as typeof import('node:http');
const answerTimeoutMs = 30_000;
const maxAnswerBytes = 4 * 2 ** 20;

export function webClient(address: ProxyAddress, trust: Trust) {
  return createClient(webRoutes, (request) => send(address, trust, request), {
    'user-agent': `tsh/${productVersion()}`,
    'x-sallyport-version': productVersion(),
  });
}

async function send(address: ProxyAddress, trust: Trust, request: HttpRequest): Promise<HttpAnswer> {
  const socket = await dialProxy(address, 'http/1.1', trust);
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const outgoing = httpRequest(
    {
      createConnection: () => socket,
      method: request.method,
      path: request.path,
      headers: { ...request.headers, host: formatAddress(address), connection: 'close' },
      timeout: answerTimeoutMs,
    },
    resolve,
  );
  outgoing.once('timeout', () => outgoing.destroy(new Error('no answer in time')));
  outgoing.once('error', (cause) =>
    reject(
      new AppError(
        'unavailable',
        'tsh.unreachable',
        `${formatAddress(address)} did not answer: ${cause.message}.`,
        {
          cause,
        },
      ),
    ),
  );
  outgoing.end(request.body);
  const answer = await promise;
  return {
    status: answer.statusCode ?? 500,
    header: (name) => answer.headers[name.toLowerCase()]?.toString(),
    text: () => readAll(answer),
    lines: () => createInterface({ input: answer }),
  };
}

async function readAll(answer: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > maxAnswerBytes) {
      throw new AppError('limit', 'tsh.answer_too_long', 'The answer of the proxy is longer than it may be.');
    }
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}
