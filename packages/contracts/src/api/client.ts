// The typed client of a route table. It knows shapes and errors; how bytes travel is the transport's business, so
// that mutual TLS, a local socket and a browser's fetch all fit.
import { AppError, type ErrorKind, httpStatuses } from '../errors.ts';
import type { ErrorBody, RequestOf, ResultOf, Route } from './route.ts';

/** As much of AbortSignal as a transport needs: contracts see neither Node nor the DOM. */
export interface Cancellation {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

export interface HttpRequest {
  readonly method: string;
  /** Path with query, beginning with a slash. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly signal: Cancellation | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  readonly header: (name: string) => string | undefined;
  /** The whole body, decoded. Used for everything but streams. */
  text(): Promise<string>;
  /**
   * Lines of a stream as they come. Ends when the peer ends it; rejects when the link breaks. Leaving it early
   * hangs up: the peer must not go on for nobody.
   */
  lines(): AsyncIterable<string>;
}

/** Rejects with AppError `unavailable` when the peer cannot be reached. */
export type Transport = (request: HttpRequest) => Promise<HttpAnswer>;

export interface CallOptions {
  readonly signal?: Cancellation;
}

type Call<R> = R extends { readonly stream: true }
  ? (request: RequestOf<R>, options?: CallOptions) => AsyncIterable<ResultOf<R>>
  : unknown extends RequestOf<R>
    ? (request?: RequestOf<R>, options?: CallOptions) => Promise<ResultOf<R>>
    : (request: RequestOf<R>, options?: CallOptions) => Promise<ResultOf<R>>;

export type Client<Routes> = { readonly [Name in keyof Routes]: Call<Routes[Name]> };

interface Parts {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
}

/** `headers` go with every request (the client's version, for the "too old" answer). */
export function createClient<Routes extends Readonly<Record<string, Route>>>(
  routes: Routes,
  transport: Transport,
  headers: Readonly<Record<string, string>> = {},
): Client<Routes> {
  const calls = Object.entries(routes).map(([name, route]) => {
    const send = (parts: Parts = {}, { signal }: CallOptions = {}) =>
      transport(toRequest(route, parts, headers, signal));
    const call =
      route.stream === true
        ? (parts?: Parts, options?: CallOptions) => readStream(route, send(parts, options))
        : async (parts?: Parts, options?: CallOptions) => readAnswer(route, await send(parts, options));
    return [name, call];
  });
  return Object.fromEntries(calls) as Client<Routes>;
}

/**
 * A GET whose answer nobody has looked at. For who reads a field or two, checks those, and would wait longer for all
 * shapes of the API to be made than for the answer.
 */
export async function ask(
  transport: Transport,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<unknown> {
  const answer = await transport({ method: 'GET', path, headers, body: undefined, signal: undefined });
  const text = await answer.text();
  if (answer.status >= 400) throw errorOf(answer.status, text);
  return parseJson(text);
}

function toRequest(
  route: Route,
  { params = {}, query = {}, body }: Parts,
  headers: Readonly<Record<string, string>>,
  signal: Cancellation | undefined,
): HttpRequest {
  const path = route.path.replace(/:([A-Za-z]+)/g, (_, name: string) =>
    encodeURIComponent(params[name] ?? ''),
  );
  const search = Object.entries(query)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`);
  const tail = search.length === 0 ? '' : `?${search.join('&')}`;
  return {
    method: route.method,
    path: `${path}${tail}`,
    headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
  };
}

async function readAnswer(route: Route, answer: HttpAnswer): Promise<unknown> {
  const text = await answer.text();
  if (answer.status >= 400) throw errorOf(answer.status, text);
  return checked(route, text);
}

async function* readStream(route: Route, pending: Promise<HttpAnswer>): AsyncGenerator<unknown> {
  const answer = await pending;
  if (answer.status >= 400) throw errorOf(answer.status, await answer.text());
  for await (const line of answer.lines()) if (line !== '') yield checked(route, line);
}

function checked(route: Route, text: string): unknown {
  const parsed = route.result.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw badAnswer(`${route.method} ${route.path}`, parsed.error);
}

export function badAnswer(call: string, cause?: unknown): AppError {
  return new AppError('internal', 'api.bad_answer', `${call}: the answer has an unexpected shape.`, {
    cause,
    hint: 'Client and cluster may be too many versions apart.',
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The peer's error as it was thrown there; what is no error of ours is told by its status. */
function errorOf(status: number, text: string): AppError {
  const body = parseJson(text) as Partial<ErrorBody> | undefined;
  const error = body?.error;
  const kind = (Object.keys(httpStatuses) as ErrorKind[]).find((each) => httpStatuses[each] === status);
  if (typeof error?.message !== 'string') {
    return new AppError(kind ?? 'internal', 'api.http_status', `The server answered with status ${status}.`);
  }
  const code = typeof error.code === 'string' ? error.code : 'api.http_status';
  return new AppError(kind ?? 'internal', code, error.message, {
    hint: typeof error.hint === 'string' ? error.hint : undefined,
  });
}
