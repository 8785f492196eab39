// The kernel package's error. It has the shape of the daemon's AppError but not the class: kernel and
// contracts stand on one shelf and do not import each other; the rooms above map it one to one.

export type RecorderErrorKind =
  | 'bad_input'
  | 'not_found'
  | 'denied'
  | 'conflict'
  | 'unavailable'
  | 'limit'
  | 'internal'
  | 'unsupported';

export interface RecorderErrorOptions {
  readonly kind: RecorderErrorKind;
  /** Stable, snake_case: what a program may test for. */
  readonly code: string;
  /** What an operator can do about it. */
  readonly hint?: string;
  readonly cause?: unknown;
}

export class RecorderError extends Error {
  override readonly name = 'RecorderError';
  readonly kind: RecorderErrorKind;
  readonly code: string;
  readonly hint: string | undefined;

  /** The message is safe to show. */
  constructor(message: string, options: RecorderErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = options.kind;
    this.code = options.code;
    this.hint = options.hint;
  }
}
