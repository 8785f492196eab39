// What stands behind a route: a function of the parsed request and of who asks. Services are written against
// these types; which listener the request came through (TLS, local socket, this process) they never learn.
import type { ArrivedOf, HostRole, ResultOf } from '@sallyport/contracts/api/route.ts';

/** Proven by the listener before any handler runs: a TLS certificate of ours, or the local socket's permissions. */
export type Caller =
  /** The administrator of the auth host. `user` names the person for the log (`alice@host`). */
  | { readonly kind: 'admin'; readonly user: string }
  | { readonly kind: 'host'; readonly hostUuid: string; readonly roles: readonly HostRole[] }
  | {
      readonly kind: 'user';
      readonly user: string;
      readonly roles: readonly string[];
      readonly traits: Readonly<Record<string, readonly string[]>>;
      /** End of the certificate. Absent: not known. */
      readonly validBefore?: Date;
      /** Uuid of the second factor the certificate was made with. */
      readonly mfaDevice?: string | undefined;
      /** When the certificate was made. */
      readonly issued?: Date | undefined;
    }
  | { readonly kind: 'anyone' };

export interface CallContext {
  readonly caller: Caller;
  /** Also in the answer's X-Request-Id and in every log line about this call. */
  readonly requestId: string;
  /** The client's name for this call, if it gave one, and whether it was sent before: see repeats.ts. */
  readonly once?: { readonly id: string; readonly repeated: boolean } | undefined;
  /** Of the connection; a proxy names the person's own address in the body. Empty for local calls. */
  readonly remoteAddress: string;
  /** Aborts when the caller hangs up: streams end. */
  readonly signal: AbortSignal;
}

/** Rejects with AppError; anything else becomes `internal` and is logged with the request id. */
export type Handler<R> = (
  request: ArrivedOf<R>,
  context: CallContext,
) => R extends { readonly stream: true } ? AsyncIterable<ResultOf<R>> : Promise<ResultOf<R>>;

export type Handlers<Routes> = { readonly [Name in keyof Routes]: Handler<Routes[Name]> };
