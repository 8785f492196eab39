// The API for whoever lives in the same process as the auth service: the same route table, checks and errors,
// without a connection. Values go through JSON all the same, so that nobody comes to rely on a shared object.

import { randomUUID } from 'node:crypto';
import type { HttpAnswer, HttpRequest, Transport } from '@sallyport/contracts/api/client.ts';
import { errorAnswer, noRoute } from '@sallyport/contracts/api/error-answer.ts';
import type { RawParts } from '@sallyport/contracts/api/request-parts.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { ApiLog } from './api-log.ts';
import { admit, answerOf, type Endpoint, endpointsOf, linesOf, type RouteTable, readCall } from './call.ts';
import type { CallContext, Caller, Handlers } from './handler.ts';
import type { CallerRules } from './rights.ts';

export interface InProcessOptions<Routes extends RouteTable> {
  readonly routes: Routes;
  readonly handlers: Handlers<Routes>;
  readonly rules: CallerRules;
  /** Who this part of the process is to the API: a host with roles, or the administrator. */
  readonly caller: Caller;
  readonly log: ApiLog;
}

const handlerMs = 60_000;

export function inProcessTransport<Routes extends RouteTable>(options: InProcessOptions<Routes>): Transport {
  const endpoints = endpointsOf(options.routes, options.handlers).map(matcherOf);
  return async (request) => {
    const { signal, release } = linked(request);
    const requestId = randomUUID();
    const context: CallContext = { caller: options.caller, requestId, remoteAddress: '', signal };
    try {
      const answer = await call(endpoints, request, context, options.rules);
      if ('result' in answer) release();
      return 'stream' in answer
        ? { ...textAnswer(200, requestId, ''), lines: () => asText(answer.stream, release) }
        : textAnswer(200, requestId, JSON.stringify(answer.result));
    } catch (thrown) {
      release();
      const error = AppError.from(thrown);
      if (error.kind === 'internal')
        options.log.error({ request_id: requestId, err: error.cause ?? error }, 'a call of the API failed');
      const { status, body } = errorAnswer(error, requestId);
      return textAnswer(status, requestId, JSON.stringify(body));
    }
  };
}

type Answer = { readonly stream: AsyncIterable<unknown> } | { readonly result: unknown };

async function call(
  matchers: readonly Matcher[],
  request: HttpRequest,
  context: CallContext,
  rules: CallerRules,
): Promise<Answer> {
  const { endpoint, raw } = match(matchers, request);
  await admit(endpoint, context, rules);
  // What is slowed is what people's addresses send; the proxy that asks here has slowed them, or its listener.
  const parts = readCall(endpoint, raw, context, () => {});
  if (endpoint.route.stream === true) return { stream: linesOf(endpoint, parts, context) };
  return { result: await answerOf(endpoint, parts, context, handlerMs) };
}

function textAnswer(status: number, requestId: string, text: string): HttpAnswer {
  return {
    status,
    header: (name) => (name.toLowerCase() === 'x-request-id' ? requestId : undefined),
    text: async () => text,
    async *lines() {
      yield* text.split('\n');
    },
  };
}

/** `release` also when the reader leaves early: the source learns that it is not wanted any more. */
async function* asText(source: AsyncIterable<unknown>, release: () => void): AsyncGenerator<string> {
  try {
    for await (const line of source) yield JSON.stringify(line);
  } finally {
    release();
  }
}

/** The caller's signal may outlive thousands of calls: nothing of a call stays behind on it. */
function linked({ signal }: HttpRequest): { signal: AbortSignal; release: () => void } {
  const abort = new AbortController();
  const onAbort = () => abort.abort(signal?.reason);
  if (signal?.aborted === true) onAbort();
  else signal?.addEventListener('abort', onAbort);
  const release = () => {
    signal?.removeEventListener('abort', onAbort);
    abort.abort();
  };
  return { signal: abort.signal, release };
}

interface Matcher {
  readonly endpoint: Endpoint;
  readonly path: RegExp;
}

function matcherOf(endpoint: Endpoint): Matcher {
  const source = endpoint.route.path
    .replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    .replace(/:([A-Za-z]+)/g, '(?<$1>[^/]+)');
  return { endpoint, path: new RegExp(`^${source}$`) };
}

function match(matchers: readonly Matcher[], request: HttpRequest): { endpoint: Endpoint; raw: RawParts } {
  const [path = '', search = ''] = request.path.split('?', 2);
  for (const { endpoint, path: pattern } of matchers) {
    if (endpoint.route.method !== request.method) continue;
    const groups = pattern.exec(path)?.groups;
    if (groups === undefined && !pattern.test(path)) continue;
    return { endpoint, raw: { params: decoded(groups), query: queryOf(search), body: bodyOf(request) } };
  }
  throw noRoute();
}

function decoded(groups: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(groups).map(([name, text]) => [name, decodeURIComponent(text)]));
}

function queryOf(search: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(search));
}

function bodyOf({ body }: HttpRequest): unknown {
  return body === undefined ? undefined : JSON.parse(body);
}
