// Refused calls in the audit log: somebody did what they may not. Tells; decides nothing.
import { AppError } from '@sallyport/contracts/errors.ts';
import type { Caller } from './api/handler.ts';
import { actorOf, type Parts } from './parts.ts';

/** What the listener hands to its `onRefused` fits. */
export interface Refusal {
  /** `POST /v1/tokens`. */
  readonly call: string;
  /** `undefined`: nobody is known, the certificate was not accepted. */
  readonly caller: Caller | undefined;
  readonly remoteAddress: string;
  readonly requestId: string;
  readonly reason: AppError;
}

/** Never rejects: a log that is away changes nothing about the refusal. */
export async function tellRefusal({ journal, log }: Parts, refusal: Refusal): Promise<void> {
  const { caller, call, remoteAddress, requestId, reason } = refusal;
  const known = caller !== undefined && caller.kind !== 'anyone';
  try {
    await journal.commit(
      [],
      [
        {
          event: 'api.refused',
          code: 'TAP00W',
          ...(known ? actorOf(caller) : {}),
          ...(remoteAddress === '' ? {} : { 'addr.remote': remoteAddress }),
          call,
          request_id: requestId,
          proto: 'https',
          success: false,
          error: reason.message,
        },
      ],
    );
  } catch (error) {
    log.warn({ call, error: AppError.from(error).message }, 'a refused call is not in the audit log');
  }
}
