// One call, whichever way it came: rights, then the request's shape, then the handler with a deadline. Knows
// nothing of HTTP; the listeners and the in-process transport both end here.

import { type RawParts, readParts } from '@sallyport/contracts/api/request-parts.ts';
import type { Route } from '@sallyport/contracts/api/route.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import type { CallContext, Caller, Handlers } from './handler.ts';
import { type CallerRules, refusal } from './rights.ts';

export type RouteTable = Readonly<Record<string, Route>>;
type AnyHandler = (request: RawParts, context: CallContext) => Promise<unknown> | AsyncIterable<unknown>;

/** A route with its handler; what ties their types was checked when the table was joined. */
export interface Endpoint {
  readonly name: string;
  readonly route: Route;
  readonly handler: AnyHandler;
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

export function endpointsOf<Routes extends RouteTable>(
  routes: Routes,
  handlers: Handlers<Routes>,
): Endpoint[] {
  const byName = handlers as unknown as Readonly<Record<string, AnyHandler>>;
  return Object.entries(routes).map(([name, route]) => {
    const handler = byName[name];
    if (handler === undefined) throw new AppError('internal', 'api.no_handler', `${name} has no handler.`);
    // Bound: handlers may be methods.
    return { name, route, handler: handler.bind(handlers) };
  });
}

/** Rejects with AppError `denied`. */
export async function admit({ route }: Endpoint, context: CallContext, rules: CallerRules): Promise<void> {
  const refused = await refusal(route.access, context.caller, rules);
  if (refused !== undefined) throw refused;
}

/**
 * Throws AppError `bad_input`; what `slowLogIn` throws when the person's address does too much of what is part of
 * log-in.
 */
export function readCall(
  { route }: Endpoint,
  raw: RawParts,
  { caller, remoteAddress }: CallContext,
  slowLogIn: (address: string) => void,
): RawParts {
  const request = readParts(route, raw);
  if (route.rate === 'log_in' && caller.kind !== 'admin')
    slowLogIn(personsAddress(request.body) ?? remoteAddress);
  return request;
}

function personsAddress(body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null || !('remote_addr' in body)) return undefined;
  return typeof body.remote_addr === 'string' ? body.remote_addr : undefined;
}

/** The answer of a route that is no stream. */
export async function answerOf(
  { handler }: Endpoint,
  request: RawParts,
  context: CallContext,
  handlerMs: number,
): Promise<unknown> {
  const deadline = new AbortController();
  const signal = AbortSignal.any([context.signal, deadline.signal]);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = new AppError('unavailable', 'api.timeout', 'The call took too long and was given up.');
      deadline.abort(error);
      reject(error);
    }, handlerMs);
  });
  try {
    return await Promise.race([handler(request, { ...context, signal }), late]);
  } finally {
    clearTimeout(timer);
  }
}

export function linesOf(
  { handler }: Endpoint,
  request: RawParts,
  context: CallContext,
): AsyncIterable<unknown> {
  return handler(request, context) as AsyncIterable<unknown>;
}
