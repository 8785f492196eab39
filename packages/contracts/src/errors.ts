// The one error of the project. Everything a person or a client may be told travels in an AppError; it is
// translated once, at the edge that meets the outside: exit code (CLIs), HTTP status (API), SSH message.

/** What went wrong, seen from whoever asked. Decides exit code and HTTP status; nothing else does. */
export type ErrorKind =
  | 'bad_input' /* the request, file or flag is wrong; the same request will fail again */
  | 'not_found'
  | 'denied' /* understood and refused: who you are does not allow it */
  | 'conflict' /* the thing is in a state, or exists, in a way that excludes this */
  | 'unavailable' /* something we stand on is away or full; the same request may succeed later */
  | 'limit' /* a bound was reached: too many, too long, too fast */
  | 'internal' /* our own bug, or something that cannot happen */
  | 'unsupported' /* this host, kernel or version cannot do it */;

export interface AppErrorOptions {
  /** What the reader can do about it, one sentence. Safe to show. */
  readonly hint?: string | undefined;
  /** The error underneath. For logs; never shown to a peer. */
  readonly cause?: unknown;
}

/**
 * `message` is safe to show to the person who caused the error: no secret, no path of another user.
 * `code` is stable, dotted and lower-case (`audit.disk_full`): tests and docs rely on it, not on the words.
 */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly kind: ErrorKind;
  readonly code: string;
  readonly hint: string | undefined;

  constructor(kind: ErrorKind, code: string, message: string, options: AppErrorOptions = {}) {
    // An absent cause must stay absent: `cause: undefined` would print as a cause.
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.code = code;
    this.hint = options.hint;
  }

  /** Anything thrown → an AppError; what is not one already is our own fault (`internal`). */
  static from(thrown: unknown, code = 'internal.unexpected'): AppError {
    if (thrown instanceof AppError) return thrown;
    return new AppError('internal', code, 'An internal error occurred.', { cause: thrown });
  }
}

/** Exit codes of the CLIs. 0 success; 1 is left to what is not an AppError; 2 is what commander uses too. */
export const exitCodes: Readonly<Record<ErrorKind, number>> = {
  internal: 1,
  bad_input: 2,
  denied: 3,
  not_found: 4,
  conflict: 5,
  unavailable: 6,
  limit: 7,
  unsupported: 8,
};

/** HTTP status of the API and the web. */
export const httpStatuses: Readonly<Record<ErrorKind, number>> = {
  bad_input: 400,
  denied: 403,
  not_found: 404,
  conflict: 409,
  limit: 429,
  internal: 500,
  unsupported: 501,
  unavailable: 503,
};

/** The lines a CLI prints for an error: message, then hint. Never the cause, never a stack. */
export function describeError(error: AppError): string {
  return error.hint === undefined ? error.message : `${error.message}\n${error.hint}`;
}
