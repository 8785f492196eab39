// Why a provider did not vouch, in words that may be shown to the person and kept in the log: never a token, a code or
// a secret, and of the provider's own words a bounded, printable part.
import { AppError } from '@sallyport/contracts/errors.ts';
import { AuthorizationResponseError, ClientError, ResponseBodyError } from 'openid-client';
import { unreachable } from './provider-fetch.ts';

export function denied(reason: string, cause?: unknown): AppError {
  return new AppError('denied', 'auth.not_vouched', `The log-in is refused: ${reason}.`, { cause });
}

/** Whatever failed between the browser's return and the provider's word. */
export function exchangeFailed(display: string, error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof AuthorizationResponseError)
    return denied(`${display} says ${words(error.error, error.error_description)}`, error);
  if (error instanceof ResponseBodyError) {
    if (error.status >= 500) return unreachable(display, `it answers with status ${error.status}`, error);
    return denied(`${display} does not take the code: ${words(error.error, error.error_description)}`, error);
  }
  const cause = causeOf(error);
  if (cause instanceof AppError) return cause;
  if (error instanceof ClientError || error instanceof Error)
    return denied(`what ${display} sent does not hold (${shorten(error.message)}${detail(cause)})`, error);
  return denied(`what ${display} sent does not hold`, error);
}

/** The library wraps what its fetch threw, sometimes twice. */
function causeOf(error: unknown): unknown {
  let cause = error;
  for (let depth = 0; depth < 4 && cause instanceof Error && !(cause instanceof AppError); depth++)
    cause = cause.cause ?? undefined;
  return cause instanceof AppError ? cause : error instanceof Error ? error.cause : undefined;
}

/** The library's generic errors name the claim in their cause. */
function detail(cause: unknown): string {
  if (typeof cause !== 'object' || cause === null) return '';
  if (cause instanceof Error) return `: ${shorten(cause.message)}`;
  const { claim, expected } = cause as { claim?: unknown; expected?: unknown };
  if (typeof claim === 'string') return `: ${shorten(claim)}`;
  return typeof expected === 'string' ? ': not what was expected' : '';
}

function words(code: string, description: string | undefined): string {
  return description === undefined ? shorten(code) : `${shorten(code)} (${shorten(description)})`;
}

function shorten(text: string): string {
  const plain = text.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, '?').replace(/[.\s]+$/, '');
  return plain.length > 200 ? `${plain.slice(0, 200)}…` : plain;
}
