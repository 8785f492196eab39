// Anything thrown → the error a peer gets. The one place where an error becomes an HTTP status.
import type { ErrorBody } from '@sallyport/contracts/api/route.ts';
import { AppError, httpStatuses } from '@sallyport/contracts/errors.ts';

export interface ErrorAnswer {
  readonly status: number;
  readonly body: ErrorBody;
}

export function errorAnswer(error: AppError, requestId: string | undefined): ErrorAnswer {
  const { message, code, kind, hint } = error;
  return {
    status: httpStatuses[kind],
    body: {
      error: {
        message,
        code,
        kind,
        ...(hint === undefined ? {} : { hint }),
        ...(requestId === undefined ? {} : { request_id: requestId }),
      },
    },
  };
}

/** What the HTTP layer threw while it read the request is the peer's fault (4xx); the rest is ours. */
export function asAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  const { statusCode, code } = thrown as { statusCode?: unknown; code?: unknown };
  if (typeof statusCode !== 'number' || statusCode < 400 || statusCode >= 500) return AppError.from(thrown);
  if (statusCode === 413) {
    return new AppError('limit', 'api.body_too_large', 'The body of the request is too large.', {
      cause: thrown,
    });
  }
  if (statusCode === 404 || code === 'FST_ERR_MAX_PARAM_LENGTH') return noRoute();
  if (statusCode === 415) {
    return new AppError('bad_input', 'api.not_json', 'A body must be of type application/json.', {
      cause: thrown,
    });
  }
  return new AppError('bad_input', 'api.unreadable', 'The request cannot be read: its body must be JSON.', {
    cause: thrown,
  });
}

export function noRoute(): AppError {
  return new AppError('not_found', 'api.no_route', 'There is no such call.', {
    hint: 'docs/reference/api.md lists them.',
  });
}
