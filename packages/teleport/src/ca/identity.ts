// Who a certificate says its holder is, and the names of the extensions that carry it.
// Owns: the vocabulary shared by the issuer (auth) and the verifier (ssh). Decides nothing.

/** What the kernel side may record of a session. The same words as in roles and in the kernel package. */
export type RecordedKind = 'command' | 'disk' | 'network';
export const recordedKinds: readonly RecordedKind[] = ['command', 'disk', 'network'];

/**
 * What to do when kernel events cannot be kept: declare the loss, make the offender wait, or end the session.
 * Ordered from the most lenient to the strictest: where roles differ, the strictest wins.
 */
export type LossPolicy = 'best_effort' | 'throttle' | 'strict';
export const lossPolicies: readonly LossPolicy[] = ['best_effort', 'throttle', 'strict'];

/** Whether a session may start (or go on) when it cannot be recorded. `strict`: it may not. */
export type RecordSession = 'best_effort' | 'strict';

/** A verified certificate, in our own terms. Everything here was signed by a trusted CA. */
export interface Identity {
  /** The Sallyport user: the certificate's key id. */
  readonly user: string;
  readonly roles: readonly string[];
  /** The certificate's principals: the host accounts it may log in to. */
  readonly logins: readonly string[];
  readonly kinds: readonly RecordedKind[];
  readonly lossPolicy: LossPolicy;
  readonly recordSession: RecordSession;
  readonly traits: Readonly<Record<string, readonly string[]>>;
  /** Uuid of the second factor it was made with. */
  readonly mfaDevice: string | undefined;
  readonly certSerial: bigint;
  readonly keyId: string;
  readonly validAfter: Date;
  /** When the certificate ends. `undefined`: it never does (we never issue such a certificate). */
  readonly validBefore: Date | undefined;
  /** Name → data as on the wire; flags (permit-pty and so on) are empty. */
  readonly extensions: ReadonlyMap<string, Buffer>;
}

/** Extension names of ours. PROTOCOL.certkeys asks vendors for `name@domain`. */
export const identityExtensions = {
  roles: 'roles@sallyport',
  kinds: 'enhanced-recording@sallyport',
  lossPolicy: 'loss-policy@sallyport',
  recordSession: 'record-session@sallyport',
  traits: 'traits@sallyport',
  mfaDevice: 'mfa-device@sallyport',
} as const;

/** The flags OpenSSH knows; a session feature whose flag is absent is not granted. */
export const permitExtensions = {
  pty: 'permit-pty',
  portForwarding: 'permit-port-forwarding',
  agentForwarding: 'permit-agent-forwarding',
  x11Forwarding: 'permit-X11-forwarding',
  userRc: 'permit-user-rc',
} as const;
