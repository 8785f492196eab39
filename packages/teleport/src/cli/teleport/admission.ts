// Who may come in: the certificate as the CA verifies it, then the access decision as the roles are now. Joins
// the rooms `ca` and `auth` for the room `ssh`, which knows neither users nor roles.
import type { Auth } from '../../auth/auth.ts';
import { type Identity, permitExtensions } from '../../ca/identity.ts';
import { verifyUserCertificate } from '../../ca/verify.ts';
import type { Grant, Visitor } from '../../ssh/grant.ts';
import type { Verdict } from '../../ssh/ssh-server.ts';
import type { AuthAttempt } from '../../ssh-transport/server.ts';

export interface AdmissionOptions {
  /** SSH blobs of the user CAs. */
  readonly trustedCas: readonly Buffer[];
  /** undefined: this process has no auth service; the certificate alone speaks. */
  readonly auth: Auth | undefined;
  readonly labels: Readonly<Record<string, string>>;
}

export async function admit(options: AdmissionOptions, attempt: AuthAttempt): Promise<Verdict<Visitor>> {
  const verdict = verifyUserCertificate({
    blob: attempt.blob,
    trustedCas: options.trustedCas,
    login: attempt.login,
    now: new Date(),
    remoteAddress: attempt.remote.host,
  });
  if (!verdict.ok) return { ok: false, reason: verdict.reason, claimedUser: verdict.claimedUser };
  const { identity } = verdict;
  if (!options.auth) return { ok: true, value: { identity, grant: certifiedGrant(identity) } };
  const decision = await options.auth.checkAccess(identity.user, attempt.login, { labels: options.labels });
  if (!decision.ok) return { ok: false, reason: decision.reason, claimedUser: identity.user };
  // The roles as they are now win over what the certificate says they were: to record less or more takes effect at once.
  return { ok: true, value: { identity, grant: decision } };
}

/** No role is known here: the certificate's own flags speak, and the node's settings for what it has no word for. */
function certifiedGrant(identity: Identity): Grant {
  const { kinds, lossPolicy, recordSession, extensions } = identity;
  return {
    kinds,
    lossPolicy,
    recordSession,
    portForwarding: extensions.has(permitExtensions.portForwarding),
    forwardAgent: extensions.has(permitExtensions.agentForwarding),
    x11Forwarding: extensions.has(permitExtensions.x11Forwarding),
    sshFileCopy: true,
    maxSessions: undefined,
    clientIdleTimeoutMs: undefined,
    disconnectExpiredCert: undefined,
  };
}
