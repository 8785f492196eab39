// What the auth service offers to whoever runs it: the handlers of its routes, and the questions the listener asks
// about a caller before a handler runs. Owns the types; create-auth-service.ts joins the parts.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { HostRole, RuledResource, Verb } from '@sallyport/contracts/api/route.ts';
import type { Caller, Handlers } from './api/handler.ts';
import type { Verdict } from './directory.ts';
import type { Refusal } from './refusals.ts';

/** The two that belong to the audit log are the listener's: see api/. */
export type AuthHandlers = Omit<Handlers<AuthRoutes>, 'emitEvents' | 'searchEvents'>;

export interface AuthService {
  readonly handlers: AuthHandlers;
  /** May this user's roles, as they are now, do that? For `access: { user: { resource, verb } }` of a route. */
  permits(caller: Caller, resource: RuledResource, verb: Verb): Promise<Verdict>;
  /**
   * Is the holder of this certificate still somebody? Refused: a user or host that was deleted, or is locked.
   * Every handler asks this by itself; the listener asks for the routes whose handlers it has.
   */
  admits(caller: Caller): Promise<Verdict>;
  /** Into the audit log, for a call the listener refused; handlers tell of their own. Never rejects. */
  tellRefused(refusal: Refusal): Promise<void>;
  /** Certificates for the auth host itself, which needs no token: the process that calls holds the CA. */
  enrolLocalHost(host: LocalHost): Promise<EnrolledHost>;
  /** Alike on auth servers whose configuration says the same for the cluster. Tells nothing else of it. */
  readonly settingsDigest: string;
  /** Stops sweeping and watching; what waits for the audit log is written first. The store stays open. */
  close(): Promise<void>;
}

export interface LocalHost {
  readonly hostUuid: string;
  readonly nodename: string;
  readonly roles: readonly HostRole[];
  /** SSH blob. */
  readonly sshPublicKey: Buffer;
  /** SubjectPublicKeyInfo, PEM. */
  readonly tlsPublicKey: string;
  readonly principals: readonly string[];
}

export interface EnrolledHost {
  /** SSH blob. */
  readonly sshCertificate: Buffer;
  /** PEM. */
  readonly tlsCertificate: string;
  readonly validBefore: Date;
}
