// What the auth service offers to whoever runs it: the handlers of its routes, and the questions the listener asks
// about a caller before a handler runs. Owns the types; create-auth-service.ts joins the parts.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import type { ClusterSettingsDocument } from '@sallyport/contracts/api/resources.ts';
import type { HostRole, RuledResource, Verb } from '@sallyport/contracts/api/route.ts';
import type { AuditEvent, EventDraft } from '@sallyport/contracts/events/event.ts';
import type { Caller, Handlers } from './api/handler.ts';
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

export type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: string };

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

export type SecondFactor = 'off' | 'otp' | 'webauthn' | 'on' | 'optional';

/** From the configuration. */
export interface AuthSettings {
  readonly clusterName: string;
  /** `local`, … */
  readonly type: string;
  /**
   * off: none is asked for. otp, webauthn: exactly that. on: either. optional: either, from users who set one up.
   */
  readonly secondFactor: SecondFactor;
  /** The domain second factors are bound to; needed for webauthn. */
  readonly webauthnRpId: string | undefined;
  /** False: people come by an identity provider only. Default: true. */
  readonly localAuth?: boolean | undefined;
  /** The identity provider `tsh login` uses when it is told none. */
  readonly connectorName?: string | undefined;
  /** A passkey alone is enough, where security keys are taken. Default: true. */
  readonly passwordless?: boolean | undefined;
  /** Of everybody, at every session. Default: false, as roles say. */
  readonly requireSessionMfa?: boolean | undefined;
  readonly staticTokens: readonly { readonly roles: readonly string[]; readonly secret: string }[];
  readonly sessionRecording: ClusterSettingsDocument['spec']['session_recording'];
  /** For every host of the cluster, where no role says anything. undefined: sessions may idle for ever. */
  readonly clientIdleTimeoutMs: number | undefined;
  readonly disconnectExpiredCert: boolean;
  /** host:port of the web listener for links, until a proxy is registered that says better. */
  readonly webAddress: string | undefined;
}

/** As much of the audit log as auth needs. */
export interface AuditSink {
  append(events: readonly AuditEvent[]): Promise<void>;
  stamp(draft: EventDraft): AuditEvent;
  /** Is the event with this id in the log? `since`: not older. Asked after a crash only, to write nothing twice. */
  has?(uid: string, since: Date): Promise<boolean>;
}

export interface AuthLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}
